"""The advice pages and the metrics say what was seen of servers and what follows; advice is applied when asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping
from typing import Any

import pytest

from tests.unit.edge.setting import Settled
from tests.unit.fleet.conftest import Open, fleet, time
from tests.unit.fleet.setting import Setting, spec
from tidegate.domain.principal import Principal
from tidegate.domain.server import Limits, Replicas, Sharing
from tidegate.edge.admin.door import Actor
from tidegate.edge.admin.feed import Feed
from tidegate.edge.admin.operations import Operations
from tidegate.edge.advice import AdvicePages
from tidegate.edge.probes import Probes
from tidegate.fleet.usage import EVERY
from tidegate.ports.runtime import Usage
from tidegate.testing.loop_time import LoopTime

__all__ = ["fleet", "time"]
Json = dict[str, Any]
MIB = 1024 * 1024


class Changes:
    """Changes that were recorded."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, object]] = []

    def changed(self, principal: Principal, fields: Mapping[str, object]) -> None:
        self.kept.append((principal.subject, fields["event"]))


def pages_of(setting: Setting, changes: Changes) -> AdvicePages:
    """Give the pages of a fleet."""
    operations = Operations(setting.fleet, changes, Feed("b", setting.now), Settled())
    return AdvicePages(operations, Actor(Principal("t", "test", "ops", frozenset({"admin"})), "control"))


async def asked(pages: AdvicePages, method: str, path: str) -> tuple[int, Json]:
    """Ask for a page."""
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await pages({"type": "http", "method": method, "path": path, "headers": []}, receive, send)
    told: Json = json.loads(b"".join(each.get("body", b"") for each in sent[1:]))
    return sent[0]["status"], told


async def test_advice_is_given_for_every_server_and_applied_to_what_runs(fleet: Open, time: LoopTime) -> None:
    setting = await fleet(spec("a", limits=Limits(memory=512 * MIB)), spec("b"))
    setting.runtime.uses = Usage(1.0, 40 * MIB)
    changes = Changes()
    pages = pages_of(setting, changes)
    assert (await asked(pages, "POST", "/v1/advice/a"))[0] == 409
    await time.advance(EVERY * 25, 1.0)
    status, told = await asked(pages, "GET", "/v1/advice")
    assert status == 200
    rows = {str(each["server"]): each for each in told["advice"]}
    assert rows["a"]["memory_advised"] == 64 * MIB
    assert rows["a"]["changes"] is True
    assert set(rows) == {"a", "b"}
    status, done = await asked(pages, "POST", "/v1/advice/a")
    assert status == 200
    assert [each["live"] for each in done["applied"]] == [True]
    assert [limits.memory for limits in setting.runtime.limits.values()] == [64 * MIB]
    assert changes.kept == [("ops", "advice")]


async def test_metrics_say_how_many_there_are_to_be_what_was_changed_and_what_they_use(
    fleet: Open, time: LoopTime
) -> None:
    setting = await fleet(spec("a", sharing=Sharing.SHARED, replicas=Replicas(1, 2)))
    setting.runtime.uses = Usage(3.0, 40 * MIB)
    setting.metrics.scalings["a", "up"] += 1
    setting.metrics.starts_refused["a"] += 2
    await time.advance(EVERY * 2 + 1, 0.5)
    probes = Probes(setting.fleet, setting.metrics, dict, lambda: None)
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for each in probes.collect()
        for sample in each.samples
    }
    assert found["tidegate_replicas_wanted", "a"] == 1
    assert found["tidegate_scalings_total", "a", "up"] == 1
    assert found["tidegate_starts_refused_total", "a"] == 2
    assert found["tidegate_workload_memory_bytes", "a"] == 40 * MIB
    assert found["tidegate_workload_cpus", "a"] == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/advice/nobody"), ("DELETE", "/v1/advice"), ("GET", "/v1/advice/a")]
)
async def test_what_is_not_there_is_404(fleet: Open, method: str, path: str) -> None:
    setting = await fleet(spec("a"))
    status, told = await asked(pages_of(setting, Changes()), method, path)
    assert status == 404
    assert "error" in told
