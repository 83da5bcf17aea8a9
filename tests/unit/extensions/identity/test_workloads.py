"""Workloads: pods of Kubernetes by their service accounts, and whatever SPIFFE gives an identity."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.issuer import Issuer, issuing, key, sign
from tests.unit.extensions.identity.setting import Vouching, refusal, vouching
from tidegate.extensions.identity.jwks import COOLDOWN
from tidegate.extensions.identity.spiffe import FILE_FRESH

ACCOUNT = "system:serviceaccount:agents:desk"
TOLD = {
    "namespace": "agents",
    "serviceaccount": {"name": "desk", "uid": "u"},
    "pod": {"name": "desk-7f", "uid": "p"},
}
SVID = "spiffe://example.org/ns/agents/sa/desk"


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with issuing() as found:
        yield found


@pytest.fixture
async def cluster(issuer: Issuer) -> AsyncIterator[Vouching]:
    settings = {"type": "kubernetes", "roles": {"map": {"agents/*": "agent", "agents/desk": ["desk"]}}}
    async with vouching(issuer, **settings) as found:
        yield found


def pod(issuer: Issuer, **claims: Any) -> str:
    own = {"sub": ACCOUNT, "kubernetes.io": TOLD, "scope": None, "client_id": None, "jti": None}
    return sign(issuer.claims(**{**own, **claims}), issuer.key, typ=None)


async def test_a_pod_is_its_service_account(issuer: Issuer, cluster: Vouching) -> None:
    vouched = await cluster(pod(issuer))
    assert vouched is not None
    principal = vouched.principal
    assert (principal.issuer, principal.subject) == (issuer.url, ACCOUNT)
    assert principal.roles == {"agent", "desk"}
    assert principal.groups == {"system:serviceaccounts:agents"}
    assert dict(principal.attributes) == {"namespace": "agents", "service_account": "desk", "pod": "desk-7f"}
    assert vouched.scopes is None


@pytest.mark.parametrize(
    "sub",
    ["alice", "system:serviceaccount:agents", "system:serviceaccount:agents:desk:x", "system:serviceaccount::desk",
     "system:serviceaccount:agents/x:desk", "system:serviceaccount:AGENTS:desk", "system:node:desk", 7],
)  # fmt: skip
async def test_what_is_no_service_account_is_refused(issuer: Issuer, cluster: Vouching, sub: object) -> None:
    assert "not of a service account" in await refusal(cluster, pod(issuer, sub=sub))


async def test_a_token_that_names_two_accounts_is_refused(issuer: Issuer, cluster: Vouching) -> None:
    for told in ({**TOLD, "namespace": "kube-system"}, {**TOLD, "serviceaccount": {"name": "root"}}):
        assert "names two service accounts" in await refusal(cluster, pod(issuer, **{"kubernetes.io": told}))


async def test_a_token_for_the_cluster_itself_is_refused(issuer: Issuer, cluster: Vouching) -> None:
    assert "not issued for this resource" in await refusal(cluster, pod(issuer, aud=[issuer.url]))


async def test_a_token_without_an_end_is_refused(issuer: Issuer, cluster: Vouching) -> None:
    assert "has no end" in await refusal(cluster, pod(issuer, exp=None))


async def test_the_gateways_own_token_is_shown_to_the_cluster_alone(issuer: Issuer, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("gateways-own\n")
    async with issuing(key=issuer.key) as elsewhere:
        issuer.metadata = {"jwks_uri": f"{elsewhere.url}/jwks"}
        async with vouching(issuer, type="kubernetes", token_file=str(token)) as vouch:
            assert await vouch(pod(issuer)) is not None
        assert [each.get("Authorization") for each in issuer.headers] == ["Bearer gateways-own"]
        assert [each.get("Authorization") for each in elsewhere.headers] == [None]
        stated = f"{elsewhere.url}/jwks"
        async with vouching(issuer, type="kubernetes", token_file=str(token), jwks_uri=stated) as vouch:
            assert await vouch(pod(issuer)) is not None
        assert elsewhere.headers[-1].get("Authorization") == "Bearer gateways-own"


async def test_a_missing_token_of_the_gateways_own_is_an_issuer_that_is_down(
    issuer: Issuer, tmp_path: Path
) -> None:
    async with vouching(issuer, type="kubernetes", token_file=str(tmp_path / "none")) as vouch:
        assert (await refusal(vouch, pod(issuer))).startswith("IdentityUnavailable")


async def test_the_tenant_may_be_the_namespace(issuer: Issuer) -> None:
    tenant = {"claim": r"kubernetes\.io.namespace", "map": {"agents": "marine"}}
    async with vouching(issuer, type="kubernetes", tenant=tenant) as vouch:
        vouched = await vouch(pod(issuer))
        assert vouched is not None
        assert vouched.principal.tenant == "marine"


# -- SPIFFE -----------------------------------------------------------------------------------------


def svid(by: Any, issuer: Issuer, **claims: Any) -> str:
    own = {"sub": SVID, "iss": None, "iat": None, "jti": None, "scope": None, "client_id": None}
    return sign(issuer.claims(**{**own, **claims}), by, typ="JWT")


def bundle(*keys: Any, use: str = "jwt-svid", **more: Any) -> bytes:
    published = [{**each.as_dict(private=False), "use": use} for each in keys]
    return json.dumps({"keys": published, "spiffe_sequence": 1, **more}).encode()


def domain(bundle: Path | str, **settings: Any) -> dict[str, Any]:
    roles = {"map": {"spiffe://example.org/ns/agents/sa/*": "agent"}}
    return {
        "type": "spiffe",
        "trust_domain": "example.org",
        "bundle": str(bundle),
        "roles": roles,
        **settings,
    }


async def test_a_workload_is_its_spiffe_id(issuer: Issuer, tmp_path: Path) -> None:
    path = tmp_path / "bundle.json"
    path.write_bytes(bundle(issuer.key))
    async with vouching(**domain(path)) as vouch:
        vouched = await vouch(svid(issuer.key, issuer))
        assert vouched is not None
        principal = vouched.principal
        assert (principal.issuer, principal.subject) == ("spiffe://example.org", SVID)
        assert (principal.roles, vouched.scopes) == ({"agent"}, None)


@pytest.mark.parametrize(
    "sub",
    ["spiffe://example.org/a/../b", "spiffe://example.org//a", "spiffe://example.org/a/", "spiffe://example.org/a%2fb",
     "spiffe://example.org/a?x", "spiffe://example.org/" + "a" * 2048],
)  # fmt: skip
async def test_odd_names_of_the_domain_are_refused(issuer: Issuer, tmp_path: Path, sub: str) -> None:
    path = tmp_path / "bundle.json"
    path.write_bytes(bundle(issuer.key))
    async with vouching(**domain(path)) as vouch:
        assert "does not name a workload" in await refusal(vouch, svid(issuer.key, issuer, sub=sub))


async def test_workloads_of_other_domains_are_left_to_others(issuer: Issuer, tmp_path: Path) -> None:
    path = tmp_path / "bundle.json"
    path.write_bytes(bundle(issuer.key))
    async with vouching(**domain(path)) as vouch:
        for sub in (
            "spiffe://other.example/a",
            "spiffe://example.org.evil/a",
            "spiffe://example.org",
            "alice",
        ):
            assert await vouch(svid(issuer.key, issuer, sub=sub)) is None


async def test_keys_of_a_bundle_for_another_use_verify_nothing(issuer: Issuer, tmp_path: Path) -> None:
    path = tmp_path / "bundle.json"
    for use in ("x509-svid", "sig", ""):
        path.write_bytes(bundle(issuer.key, use=use))
        async with vouching(**domain(path)) as vouch:
            assert "does not have" in await refusal(vouch, svid(issuer.key, issuer))


async def test_a_plain_key_set_is_taken_where_it_is_called_one(issuer: Issuer) -> None:
    settings = domain("x", jwks=f"{issuer.url}/jwks")
    del settings["bundle"]
    async with vouching(**settings) as vouch:
        assert await vouch(svid(issuer.key, issuer)) is not None


async def test_a_bundle_is_fetched_from_a_url_and_says_when_to_look_again(issuer: Issuer) -> None:
    issuer.jwks = bundle(issuer.key, spiffe_refresh_hint=300)
    async with vouching(**domain(f"{issuer.url}/jwks")) as vouch:
        assert await vouch(svid(issuer.key, issuer)) is not None


async def test_a_file_with_several_domains_gives_the_keys_of_ours(issuer: Issuer, tmp_path: Path) -> None:
    path = tmp_path / "bundle.json"
    evil = key("evil")
    both = {"other.example": json.loads(bundle(evil)), "example.org": json.loads(bundle(issuer.key))}
    path.write_text(json.dumps({"trust_domains": both}))
    async with vouching(**domain(path)) as vouch:
        assert await vouch(svid(issuer.key, issuer)) is not None
        assert "does not have" in await refusal(vouch, svid(evil, issuer))


async def test_a_changed_file_is_looked_at_again(issuer: Issuer, tmp_path: Path) -> None:
    path = tmp_path / "bundle.json"
    path.write_bytes(bundle(issuer.key))
    async with vouching(**domain(path)) as vouch:
        assert await vouch(svid(issuer.key, issuer)) is not None
        new = key("k2")
        path.write_bytes(bundle(new))
        vouch.clock.ahead = max(COOLDOWN, FILE_FRESH)
        assert await vouch(svid(new, issuer)) is not None
        assert "does not have" in await refusal(vouch, svid(issuer.key, issuer))


@pytest.mark.parametrize(
    "text", ["", "[]", '{"trust_domains": {"other.example": {"keys": []}}}', '{"trust_domains": 7}']
)
async def test_what_is_no_bundle_is_an_issuer_that_is_down(issuer: Issuer, tmp_path: Path, text: str) -> None:
    path = tmp_path / "bundle.json"
    path.write_text(text)
    async with vouching(**domain(path)) as vouch:
        assert (await refusal(vouch, svid(issuer.key, issuer))).startswith("IdentityUnavailable")
