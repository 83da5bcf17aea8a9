"""Stops that administrators of tenants make: however many of them, and however fast, the operator can stop more."""

from __future__ import annotations

import asyncio

from tests.unit.edge.conftest import Listen
from tests.unit.edge.test_admin import ask
from tests.unit.fleet.setting import spec
from tidegate.access.authorize import Grants
from tidegate.access.stop_store import MOST
from tidegate.domain.principal import Principal
from tidegate.domain.stop import Stop, StopScope
from tidegate.domain.tenant import Tenant, Tenants


async def test_tenants_leave_the_operator_room_for_stops_however_fast_they_make_them(listen: Listen) -> None:
    tenants = Tenants((Tenant("marine"), Tenant("motor")))
    edge = await listen(spec("tides"), grants=Grants(tenants=tenants))
    edge.gateway.identity.principals = {
        name: Principal(name, "test", f"olga-{name}", frozenset({"admin"}))
        for name in ("marine", "motor", "default")
    }

    async def stop(number: int) -> int:
        body = {"scope": "principal", "name": f"nobody-{number}", "reason": "r"}
        return (await ask(edge, "/stops", body, "marine")).status

    assert (await ask(edge, "/stops", who="marine")).status == 200  # it is imported at the first request
    made = await asyncio.gather(*map(stop, range(40)))
    assert (made.count(201), made.count(409)) == (32, 8)
    others = [
        Stop(f"s{number}", StopScope.PRINCIPAL, "x", "r", "max", 1.0, tenant=f"other-{number // 32}")
        for number in range(MOST // 2)
    ]
    edge.gateway.stops.turn(others)
    got = await ask(edge, "/stops", {"scope": "principal", "name": "ann", "reason": "r"}, "motor")
    assert (got.status, got.json["reason"]) == (409, "refused")
    assert b"other-" not in got.body
    operators = await ask(edge, "/stops", {"scope": "server", "name": "tides", "reason": "r"}, "default")
    assert operators.status == 201


async def test_a_stop_that_another_tenant_made_of_a_server_is_seen_without_whose_it_is(
    listen: Listen,
) -> None:
    edge = await listen(spec("tides"), grants=Grants(tenants=Tenants((Tenant("motor", ("tides",)),))))
    edge.gateway.identity.principals = {
        name: Principal(name, "test", f"olga-{name}", frozenset({"admin"})) for name in ("motor", "default")
    }
    edge.gateway.stops.turn(
        [
            Stop("s1", StopScope.SERVER, "tides", "leaks", "ann (api)", 1.0, tenant="marine"),
            Stop("s2", StopScope.SERVER, "tides", "leaks", "max (api)", 1.0, tenant="motor"),
        ]
    )
    told = await ask(edge, "/stops", who="motor")
    assert [each["by"] for each in told.json["stops"]] == ["another administrator", "max (api)"]
    assert b"marine" not in told.body
    assert b"ann" not in told.body
    assert b"marine" in (await ask(edge, "/stops", who="default")).body
