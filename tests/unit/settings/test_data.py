"""Volumes and companions in the settings file."""

from __future__ import annotations

import pytest

from tests.unit.settings.given import only_mistake, read
from tidegate.domain.server import Companion, Limits, Secret, ServerSpec, Volume

WHOLE = """
    servers:
      notes:
        image: notes:1
        sharing: shared
        limits: {disk: 1GiB, bandwidth: 1MiB}
        volumes:
          files: {target: /files, size: 10MiB}
        companions:
          db:
            image: postgres:16
            user: "999:999"
            env: {POSTGRES_PASSWORD: "${env:PASSWORD}"}
            volumes: {data: {target: /var/lib/postgresql/data, size: 5GiB}}
            probe: [pg_isready]
            limits: {memory: 512MiB}
          cache: {image: redis:7, port: 6379}
"""


def server(text: str, **environment: str) -> ServerSpec:
    return read(text, **environment).servers[0]


def test_volumes_and_companions_are_read_in_their_order() -> None:
    spec = server(WHOLE, PASSWORD="quiet")
    assert spec.limits == Limits(disk=1 << 30, bandwidth=1 << 20)
    assert spec.volumes == (Volume("files", "/files", 10 << 20),)
    db, cache = spec.companions
    assert db == Companion(
        "db",
        "postgres:16",
        env={"POSTGRES_PASSWORD": Secret("quiet")},
        volumes=(Volume("data", "/var/lib/postgresql/data", 5 << 30),),
        limits=Limits(memory=512 << 20),
        user="999:999",
        probe=("pg_isready",),
    )
    assert (cache.name, cache.port, cache.probe) == ("cache", 6379, None)
    assert "quiet" not in repr(spec)


def test_a_server_without_data_has_the_digest_that_it_had_before_there_was_such() -> None:
    assert server("servers: {a: {image: notes:1}}").digest() == "ae5f702e23e9bf3a"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("volumes: {A: {target: /a}}", "volumes: holds a name that is not at most 24"),
        ("volumes: {a: {target: a}}", "volumes.a.target: should be an absolute path"),
        ("volumes: {a: {target: /a, size: big}}", "volumes.a.size: should be a size"),
        ("volumes: {a: {target: /a}, b: {target: /a}}", "volumes.b.target: is the target of another"),
        ("mounts: [{source: x, target: /a}], volumes: {a: {target: /a}}", "volumes.a.target: is the target"),
        ("sharing: session, volumes: {a: {target: /a, each: true}}", "volumes.a.each: goes with sharing: principal"),
        ("companions: {localhost: {image: db}}", "holds the name localhost"),
        ("companions: {db: {}}", "companions.db.image: is needed"),
        ("companions: {db: {image: db, user: root}}", "companions.db.user: should be"),
        ("companions: {db: {image: db, port: 1, probe: [x]}}", "companions.db.port: goes without probe"),
        ("companions: {db: {image: db, volumes: {d: {target: /d}}}}", "volumes.d: is a companion's, of which each"),
        (
            "sharing: call, companions: {db: {image: db, volumes: {d: {target: /d}}}}",
            "volumes.d: is a companion's and would be left behind by each call",
        ),
        (
            "sharing: shared, volumes: {d: {target: /d}}, companions: {db: {image: db, volumes: {d: {target: /d}}}}",
            "companions.db.volumes.d: is the name of another volume",
        ),
        ("limits: {bandwidth: 12}", "limits.bandwidth: should be greater than or equal to 1024"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_said_where_it_stands(keys: str, said: str) -> None:
    assert said in only_mistake(f"servers: {{a: {{image: notes, {keys}}}}}")


def test_a_program_on_this_machine_has_no_volumes() -> None:
    assert "volumes" in only_mistake("servers: {a: {command: [x], volumes: {d: {target: /d}}}}")
