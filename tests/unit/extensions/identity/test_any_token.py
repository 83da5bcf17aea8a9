"""Whatever is sent as a token, the answer is a refusal in general words, or none of our business; never a fault."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.servers.issuer import b64, key, sign
from tidegate.domain.errors import Unauthenticated
from tidegate.extensions.identity.claims import ClaimMapping, RoleMapping, TenantMapping
from tidegate.extensions.identity.jwks import VerifyKey, for_signatures, read
from tidegate.extensions.identity.jwt import JwtIdentity, Trust
from tidegate.ports.identity import Credentials, Vouched

ISSUER = "https://id.example"
RESOURCE = "https://gw.example/mcp"
KEY = key("k1")
OTHER = key("k1")
GOOD: dict[str, Any] = {"iss": ISSUER, "sub": "alice", "aud": RESOURCE, "exp": int(time.time()) + 3600}
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
CLAIMS = st.sampled_from(
    ["iss", "sub", "aud", "exp", "nbf", "iat", "cnf", "scope", "scp", "groups", "roles", "tid", "limit",
     "client_id", "jti", "events", "_claim_names", "hasgroups"]
)  # fmt: skip
HEADERS = st.sampled_from(["alg", "kid", "typ", "crit", "jwk", "jku", "x5u", "b64", "zip", "x"])


class OneKey:
    """The keys of an issuer that has one."""

    version = 0
    last = float("inf")

    def __init__(self) -> None:
        [self.key] = read(json.dumps({"keys": [KEY.as_dict(private=False)]}).encode(), for_signatures)

    async def find(self, kid: str | None, algorithm: str) -> tuple[VerifyKey, ...]:
        return (self.key,) if kid in (None, "k1") and algorithm in self.key.algorithms else ()


IDENTITY = JwtIdentity(
    Trust(issuers=frozenset({ISSUER}), name=ISSUER, algorithms=frozenset({"ES256", "RS256"})),
    OneKey(),
    ClaimMapping(
        tenant=TenantMapping(claim=("tid",)),
        roles=RoleMapping((("roles",), ("groups", "a"))),
        groups=(("groups",),),
        attributes={"limit": ("limit",)},
    ),
    clock=time.time,
)


def judged(token: str | bytes) -> Vouched | str | None:
    sent = token if isinstance(token, bytes) else token.encode("utf-8", "surrogatepass")
    try:
        return asyncio.run(IDENTITY.authenticate(Credentials(b"Bearer " + sent, "", RESOURCE)))
    except Unauthenticated as error:
        return str(error)


def test_the_good_one_is_taken() -> None:
    assert isinstance(judged(sign({**GOOD, "tid": "marine"}, KEY)), Vouched)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_are_no_token(token: bytes) -> None:
    assert not isinstance(judged(token), Vouched)


@given(JSON, JSON, st.binary(max_size=80))
def test_any_json_in_the_form_of_a_token_is_none(header: Any, claims: Any, signature: bytes) -> None:
    parts = [b64(json.dumps(header).encode()), b64(json.dumps(claims).encode()), b64(signature)]
    assert judged(".".join(parts)) is None


@given(st.dictionaries(CLAIMS, JSON, max_size=6))
def test_any_claims_that_are_signed_are_taken_whole_or_refused(claims: dict[str, Any]) -> None:
    found = judged(sign({**GOOD, "tid": "marine", **claims}, KEY))
    if isinstance(found, Vouched):
        assert {**GOOD, **claims}["iss"] == ISSUER
        assert found.expires is not None
        assert len(found.principal.roles) + len(found.principal.groups) <= 24
        assert all(role not in ("admin", "user") for role in found.principal.roles)


@given(st.dictionaries(HEADERS, JSON, max_size=4))
def test_no_header_makes_a_signature_of_somebody_else_good(header: dict[str, Any]) -> None:
    good = sign({**GOOD, "tid": "marine"}, OTHER)
    claims, signature = good.split(".")[1:]
    head = b64({"alg": "ES256", "kid": "k1", "typ": "at+jwt", **header})
    assert not isinstance(judged(f"{head}.{claims}.{signature}"), Vouched)


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_a_token_with_any_byte_changed_is_refused_or_says_the_same(at: int, change: int) -> None:
    good = sign({**GOOD, "tid": "marine"}, KEY).encode()
    at %= len(good)
    changed = good[:at] + bytes([good[at] ^ change]) + good[at + 1 :]
    found = judged(changed)
    if isinstance(found, Vouched):  # bits at the end of a part that base64url has and nothing reads
        assert changed.split(b".")[:2] == good.split(b".")[:2]
        assert found.principal.subject == "alice"
