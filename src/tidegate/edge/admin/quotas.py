"""Quotas as administrators see them: what is declared, and what is used now. Changed in the settings only."""

from __future__ import annotations

from tidegate.access.quotas import InForce, Quotas
from tidegate.edge.admin.shapes import QuotaShape, QuotasShape, QuotaUseShape
from tidegate.edge.admin.sight import Sight

_MOST = 100
"""Of each quota, those that use most."""


def all_quotas(quotas: Quotas, sight: Sight) -> QuotasShape:
    """Give the quotas in force that whoever asks has to do with."""
    told = [(each, uses) for each, uses in quotas.told(_MOST) if sight.knows(each.quota)]
    return {"quotas": [_quota(quotas, each, uses) for each, uses in told]}


def _quota(quotas: Quotas, each: InForce, told: list[tuple[str, float, float]]) -> QuotaShape:
    quota = each.quota
    uses: list[QuotaUseShape] = [
        {"of": of, "used": round(used, 3), "seconds": round(seconds, 3)} for of, used, seconds in told
    ]
    only = {
        "roles": sorted(quota.roles),
        "tenants": list(quota.tenants),
        "endpoints": list(quota.endpoints),
        "servers": list(quota.servers),
        "tools": list(quota.tools),
    }
    return {
        "name": quota.name,
        "per": [part.value for part in quota.per],
        "limit": quota.words,
        "calls": quota.calls,
        "period": quota.period,
        "burst": quota.burst,
        "at_once": quota.at_once,
        "zone": quota.zone if quota.daily else "",
        "when_unknown": "refuse" if quota.closed else "allow",
        "only": {key: patterns for key, patterns in only.items() if patterns},
        "unknown": None if each.budget is None else each.budget.unknown,
        "refused": quotas.refused[quota.name],
        "keys": len(each.uses),
        "uses": uses,
    }
