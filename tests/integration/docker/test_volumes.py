"""Volumes on a real engine: kept over all that ends, each principal's apart, bounded, carried out and in."""

from __future__ import annotations

import io
import re
import secrets
import tarfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.docker.base import SETTINGS, docker_bench, engine, python_base, python_spec
from tests.integration.docker.data import beside, database, left, named, start
from tests.integration.docker.guarded import guarded
from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Limits, ServerSpec, Sharing, Volume
from tidegate.extensions.runtimes.docker import DOCKER
from tidegate.extensions.runtimes.docker.volumes import Volumes
from tidegate.ports.extension import Surroundings
from tidegate.ports.runtime import KeepsVolumes
from tidegate.testing.runtime_contract import Bench, Heard, nothing_said

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

NOTES = """
import os, sys
for line in sys.stdin:
    what, _, word = line.strip().partition(" ")
    try:
        if what == "write":
            open("/data/" + word, "w").write("kept"); print("wrote", flush=True)
        elif what == "fill":
            open("/data/much", "wb").write(bytes(int(word))); print("filled", flush=True)
        else:
            print(",".join(sorted(os.listdir("/data"))) or "nothing", flush=True)
    except OSError as error:
        print(error.strerror, flush=True)
"""
DATA = Volume("data", "/data")


async def notes(**changes: object) -> ServerSpec:
    return python_spec(
        await python_base(), NOTES, **{"volumes": (DATA,), "sharing": Sharing.SHARED, **changes}
    )


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    instance = secrets.token_hex(8)
    async with docker_bench(tmp_path / "state", instance) as bench:
        yield bench
        await bench.clean()
        runtime = bench.runtime
        assert isinstance(runtime, KeepsVolumes)
        for volume in await runtime.volumes():
            await runtime.remove_volume(volume.name)
    assert await left(instance) == []


def keeper(bench: Bench) -> KeepsVolumes:
    assert isinstance(bench.runtime, KeepsVolumes)
    return bench.runtime


async def test_what_a_server_keeps_outlives_its_workloads_and_its_versions(bench: Bench) -> None:
    talk = await start(bench, await notes())
    assert await talk.ask("write one") == "wrote"
    await bench.runtime.stop(talk.identity, 0)
    again = await start(bench, await notes(env={"VERSION": "2"}))
    assert await again.ask("list") == "one"
    (kept,) = await keeper(bench).volumes()
    assert (kept.name, kept.size, kept.used_by) == ("tested/data", None, (again.identity.id,))
    with pytest.raises(RuntimeFailure, match=f"volume tested/data is used by {again.identity.id}"):
        await keeper(bench).remove_volume("tested/data")


async def test_each_principal_has_a_volume_of_its_own_and_one_that_is_nobodys_only_memory(
    bench: Bench,
) -> None:
    spec = await notes(volumes=(replace(DATA, each=True),), sharing=Sharing.PRINCIPAL)
    first, second = await start(bench, spec, "aa"), await start(bench, spec, "bb")
    warm = await start(bench, spec, "unclaimed")
    for talk, word in ((first, "one"), (second, "two"), (warm, "three")):
        assert await talk.ask(f"write {word}") == "wrote"
    offering = await start(bench, spec, "aa+form")
    assert await offering.ask("list") == "one"
    assert await second.ask("list") == "two"
    assert len(await keeper(bench).volumes()) == 2
    assert spec.keyed


async def test_a_volume_is_carried_out_of_a_running_server_and_in_again(bench: Bench) -> None:
    talk = await start(bench, await notes(user="1234:2345"))
    assert await talk.ask("write one") == "wrote"
    saved = io.BytesIO()
    assert await keeper(bench).backup("tested/data", saved) == saved.tell()
    assert await talk.ask("write two") == "wrote"
    saved.seek(0)
    with pytest.raises(RuntimeFailure, match="is used by"):
        await keeper(bench).restore("tested/data", saved)
    await bench.runtime.stop(talk.identity, 0)
    await keeper(bench).restore("tested/data", saved)
    again = await start(bench, await notes(user="1234:2345"))
    assert await again.ask("list") == "one"
    assert await again.ask("write three") == "wrote"
    saved.seek(0)
    with tarfile.open(fileobj=saved) as tar:
        assert {(one.name, one.uid, one.gid) for one in tar} == {
            ("volume", 1234, 2345),
            ("volume/one", 1234, 2345),
        }


@pytest.mark.parametrize("name", ["elsewhere/one", "volume/../one", "/volume/one"])
async def test_a_file_that_is_no_volumes_changes_nothing(bench: Bench, name: str) -> None:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(name))
    written.seek(0)
    with pytest.raises(RuntimeFailure, match="an entry outside volume/"):
        await keeper(bench).restore("tested/data", written)
    with pytest.raises(RuntimeFailure, match="no tar of a volume"):
        await keeper(bench).restore("tested/data", io.BytesIO(b"x" * 1024))
    assert await keeper(bench).volumes() == []


async def test_a_volume_over_its_size_costs_the_workload_and_the_reason_says_so(bench: Bench) -> None:
    spec = await notes(volumes=(replace(DATA, size=1 << 20),))
    talk = await start(bench, spec)
    running = await bench.found(talk.identity)
    assert running is not None
    if running.facts["volumes"].endswith("(held by the engine)"):
        assert await talk.ask(f"fill {2 << 20}") in ("No space left on device", "Disk quota exceeded")
        return
    assert running.facts["volumes"] == "data 1048576 bytes (measured)"
    assert await talk.ask(f"fill {2 << 20}") == "filled"
    await talk.heard.until(lambda h: bool(h.reasons))
    assert re.fullmatch(
        r"volume data holds 2\d{6} bytes, more than its size of 1048576", talk.heard.reasons[0]
    )
    await bench.runtime.stop(talk.identity, 0)
    with pytest.raises(RuntimeFailure, match="is not started: volume data holds 2"):
        await bench.runtime.start(spec, named(bench, spec), Heard())
    larger = await start(bench, await notes(volumes=(replace(DATA, size=4 << 20),)))
    assert await larger.ask("list") == "much"


async def test_what_the_volumes_of_a_container_hold_together_is_bounded_by_its_disk(bench: Bench) -> None:
    volumes = (Volume("kept", "/kept", each=True),)
    spec = await beside(await database(volumes=volumes, limits=Limits(disk=1 << 20)))
    talk = await start(bench, spec, "aa")
    await talk.ask(f"db fill{2 << 20}")
    await talk.heard.until(lambda h: bool(h.reasons))
    assert talk.heard.reasons[0].endswith("more than limits.disk of 1048576")


async def test_a_gateway_that_may_not_look_into_a_volume_has_the_engine_measure_it(bench: Bench) -> None:
    talk = await start(bench, await notes())
    assert await talk.ask(f"fill {1 << 20}") == "filled"
    async with engine() as opened:
        volumes = Volumes(opened, bench.instance)
        (kept,) = await volumes.kept()
        held = await volumes.measure([replace(kept, place="/nowhere")])
    assert held[kept.name] >= 1 << 20


async def test_a_size_that_nobody_can_measure_is_refused_and_one_that_is_measured_no_more_costs_the_workload(
    bench: Bench, tmp_path: Path
) -> None:
    spec = await notes(volumes=(replace(DATA, size=8 << 20),))
    async with guarded(tmp_path) as (guard, url):
        settings = SETTINGS.model_copy(update={"socket": url})
        async with DOCKER.open(settings, Surroundings(tmp_path / "other", bench.instance)) as apart:
            other = Bench(apart, bench.instance, bench.spec_of, reattaches=True, started=bench.started)
            guard.accounts = False
            with pytest.raises(
                RuntimeFailure, match=r"server tested: volumes\.data\.size cannot be held here: the engine"
            ):
                await apart.prepare(spec, nothing_said)
            guard.accounts = True
            talk = await start(other, spec)
            assert await talk.ask("write one") == "wrote"
            guard.accounts = False
            await talk.heard.until(lambda h: bool(h.reasons), 30)
            assert (
                "data cannot be measured, so that its size of 8388608 does not hold" in talk.heard.reasons[0]
            )
            await apart.stop(talk.identity, 0)
            with pytest.raises(RuntimeFailure, match="is not started: volume data cannot be measured"):
                await apart.start(spec, named(other, spec), Heard())
            without = await start(other, await notes())
            assert await without.ask("list") == "one"
            await apart.stop(without.identity, 0)
