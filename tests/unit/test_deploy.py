"""What the Dockerfile and the Compose file must not lose: hashes, an unprivileged user, a closed port."""

from __future__ import annotations

import fnmatch
import json
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def instructions() -> list[tuple[str, str]]:
    """Give the Dockerfile as (instruction, the rest), lines that go on joined."""
    text = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    return [
        (line.split()[0], line.partition(" ")[2].strip())
        for line in lines
        if line and not line.startswith("#")
    ]


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    begin = max(number for number, (word, _) in enumerate(found) if word == "FROM")
    return found[begin:]


@pytest.fixture
def service() -> dict[str, object]:
    return yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text("utf-8"))["services"]["gateway"]


def test_dependencies_are_installed_by_hash_from_the_lock() -> None:
    steps = [step for word, rest in instructions() if word == "RUN" for step in rest.split("&&")]
    runs = [step.partition("/bin/pip ")[2].strip() for step in steps if "/bin/pip " in step]
    assert "install --require-hashes -r locks/runtime.txt" in runs
    assert "install --require-hashes -r locks/build.txt" in runs
    for run in runs:
        from_index = "--no-index" not in run
        assert not from_index or "--require-hashes" in run, run
        assert not run.startswith("wheel") or "--no-build-isolation" in run, run


def test_the_base_is_an_argument_and_every_stage_is_built_on_it() -> None:
    found = instructions()
    assert found[0] == ("ARG", "BASE=python:3.12-slim")
    assert {rest.split()[0] for word, rest in found if word == "FROM"} == {"${BASE}"}


def test_the_gateway_runs_as_a_user_without_rights_and_its_health_is_asked_for() -> None:
    words = dict(last_stage())
    assert words["USER"] == "${UID}:${UID}"
    assert words["ARG"] == "UID=65532"
    assert "/healthz" in words["HEALTHCHECK"]
    assert json.loads(words["ENTRYPOINT"]) == ["tidegate"]


def test_all_that_is_copied_is_there_and_reaches_the_engine() -> None:
    sent = [
        line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")
    ]
    for word, rest in instructions():
        if word != "COPY" or rest.startswith("--from"):
            continue
        for source in rest.split()[:-1]:
            assert (ROOT / source).exists()
            assert any(fnmatch.fnmatch(source, allowed) for allowed in sent), (
                f"{source} is left out of the context"
            )


def test_the_container_has_no_more_rights_than_it_needs(service: dict[str, object]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "user", "devices"} & set(service)
    assert {"mem_limit", "pids_limit"} <= set(service)


def test_the_port_is_published_on_loopback_alone(service: dict[str, object]) -> None:
    ports = service["ports"]
    assert isinstance(ports, list)
    assert all(str(port).startswith("127.0.0.1:") for port in ports)
    settings = yaml.safe_load((ROOT / "deploy" / "tidegate.yaml").read_text("utf-8"))
    assert settings["auth"] == {"type": "keys"}
