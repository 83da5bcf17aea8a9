"""A short run of the trial of faults: `scripts/trial faults` goes on for as long as one likes."""

from __future__ import annotations

import shutil

import pytest

from tests.trials.faults import trial

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.timeout(300)]


async def test_whatever_befalls_the_fleet_every_call_is_accounted_for_and_nothing_is_left() -> None:
    for program in ("dockerd", "unshare"):
        if shutil.which(program) is None:
            pytest.skip(f"an engine of the test's own needs {program}")
    _, wrong = await trial(0.6, (0.5, 1.5), judged=False)
    assert wrong == []
