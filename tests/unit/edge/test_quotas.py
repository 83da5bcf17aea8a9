"""Quotas as the admin API, the control socket and the metrics show them."""

from __future__ import annotations

from tests.unit.edge.conftest import Listen
from tests.unit.edge.test_admin import ask
from tidegate.domain.quota import Per, Quota

HOURLY = Quota("hourly", (Per.PRINCIPAL, Per.TOOL), 2, "h", 2, tools=("one__e*",))
DAILY = Quota("daily", (), 9, "day", zone="Europe/Berlin", closed=False)


async def test_quotas_are_shown_with_what_is_used_and_refused(listen: Listen) -> None:
    edge = await listen()
    edge.gateway.quotas.change([HOURLY, DAILY, Quota("few", (Per.SERVER,), at_once=3)])
    for _ in range(3):
        await edge.gateway.tool("one__echo")
    hourly, daily, few = (await ask(edge, "/quotas")).json["quotas"]
    (use,) = hourly.pop("uses")
    assert use["of"] == "ann (test), one__echo"
    assert 1.9 < use["used"] <= 2
    assert 1700 < use["seconds"] <= 1800
    assert hourly == {
        "name": "hourly", "per": ["principal", "tool"], "limit": "2/h", "calls": 2, "period": "h", "burst": 2,
        "at_once": 0, "zone": "", "when_unknown": "refuse", "only": {"tools": ["one__e*"]}, "unknown": None,
        "refused": 1, "keys": 1,
    }  # fmt: skip
    assert daily["uses"] == [{"of": "all", "used": 2, "seconds": 0}]
    assert (daily["limit"], daily["zone"], daily["when_unknown"]) == (
        "9/day (Europe/Berlin)", "Europe/Berlin", "allow",
    )  # fmt: skip
    assert (few["limit"], few["at_once"], few["uses"], few["keys"]) == ("3 at once", 3, [], 1)


async def test_what_quotas_refuse_is_counted_by_their_names(listen: Listen) -> None:
    edge = await listen()
    edge.gateway.quotas.change([Quota("one", (), 1, "h", 1)])
    for _ in range(3):
        await edge.gateway.tool("one__echo")
    wire = await edge.connect()
    text = (await wire.get("/metrics")).body.decode()
    assert 'tidegate_quota_refusals_total{limit="one"} 2.0' in text
    assert 'tidegate_refusals_total{reason="limit_exceeded"} 2.0' in text
    await wire.close()
    assert [each["data"]["limit"] for each in edge.gateway.records("refused")] == ["one", "one"]
