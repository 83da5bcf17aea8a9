"""How volumes are looked at: each at its own pace, and what nobody can measure counts as held by nothing."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tidegate.domain.errors import EngineUnavailable
from tidegate.extensions.runtimes.docker.engine import open_engine
from tidegate.extensions.runtimes.docker.scales import Scales, Weighed
from tidegate.extensions.runtimes.docker.settings import DockerSettings
from tidegate.extensions.runtimes.docker.volumes import Kept
from tidegate.extensions.runtimes.docker.watch import Bounded, Look, over

NOWHERE = DockerSettings(socket="unix:///nowhere/engine.sock")
ONE = Kept("tg-1.notes.one", "notes", "one", "", 1000, "", "/nowhere")
TWO = Kept("tg-1.notes.two", "notes", "two", "", None, "", "/nowhere")
HELD = Kept("tg-1.notes.held", "notes", "held", "", 1000, "quota", "/nowhere")


def looks(*volumes: Kept) -> dict[str, Look]:
    return {volume.name: Look(volume, 0.0) for volume in volumes}


def test_what_could_not_be_measured_three_times_in_a_row_costs_the_workload() -> None:
    bounded, seen = [Bounded((ONE,), None)], looks(ONE)
    look = seen[ONE.name]
    for _ in range(2):
        look.saw_nothing("the engine cannot measure it", 10.0)
        assert over(bounded, seen) is None
    look.saw(Weighed(999, 0.1), 10.0)
    for _ in range(2):
        look.saw_nothing("the engine cannot measure it", 10.0)
    assert over(bounded, seen) is None
    look.saw_nothing("the engine cannot measure it", 10.0)
    assert over(bounded, seen) == (
        "volume one cannot be measured, so that its size of 1000 does not hold: "
        "the engine cannot measure it (3 times in a row)"
    )


def test_a_volume_that_cannot_be_measured_does_not_hide_in_what_several_hold_together() -> None:
    bounded, seen = [Bounded((ONE, TWO), 5000)], looks(ONE, TWO)
    seen[ONE.name].saw(Weighed(900, 0.1), 0.0)
    seen[TWO.name].saw(Weighed(4000, 0.1), 0.0)
    assert over(bounded, seen) is None
    seen[TWO.name].saw(Weighed(4200, 0.1), 0.0)
    assert over(bounded, seen) == "its volumes hold 5100 bytes, more than limits.disk of 5000"
    seen[TWO.name].saw(Weighed(0, 0.1), 0.0)
    for _ in range(3):
        seen[TWO.name].saw_nothing("gone", 0.0)
    assert "two cannot be measured, so that limits.disk does not hold" in (over(bounded, seen) or "")


def test_what_the_engine_holds_to_its_size_needs_no_look() -> None:
    assert Bounded((ONE, HELD), None).measured() == (ONE,)
    assert Bounded((ONE, HELD), 10).measured() == (ONE, HELD)


def test_a_look_that_takes_long_makes_those_at_its_own_volume_rarer_and_no_others() -> None:
    seen = looks(ONE, TWO)
    seen[ONE.name].saw(Weighed(1, 30.0), 100.0)
    seen[TWO.name].saw(Weighed(1, 0.001), 100.0)
    assert (seen[ONE.name].due, seen[TWO.name].due) == (700.0, 102.0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees into every directory of a volume")
async def test_a_volume_with_many_files_does_not_hold_up_one_with_few(tmp_path: Path) -> None:
    many, few = tmp_path / "many", tmp_path / "few"
    many.mkdir()
    few.mkdir()
    (many / "one").touch()
    for number in range(40_000):
        os.link(many / "one", many / str(number))
    done: list[str] = []
    async with open_engine(NOWHERE) as engine:
        scales = Scales(engine)

        async def weigh(place: Path) -> float:
            took = (await scales.weigh(place.name, str(place))).took
            done.append(place.name)
            return took

        long, short = await asyncio.gather(weigh(many), weigh(few))
    assert done == ["few", "many"]
    assert short < long


async def test_what_only_an_engine_could_tell_that_is_not_there_is_no_size() -> None:
    async with open_engine(NOWHERE) as engine:
        with pytest.raises(EngineUnavailable):
            await Scales(engine).weigh("one", "")
