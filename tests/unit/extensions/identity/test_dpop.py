"""A bound token is of use to nobody but who has its key, and a proof for one request only."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from tests.proving import Prover, b64, public
from tidegate.domain.errors import IdentityUnavailable, Unauthenticated
from tidegate.extensions.identity import dpop
from tidegate.extensions.identity.binding import binding, thumbprint
from tidegate.extensions.identity.confirmation import Confirmation, Presented
from tidegate.extensions.identity.dpop import Nonces, Proofs, Seen, Terms, same_url, token_hash
from tidegate.ports.identity import Credentials
from tidegate.testing.clock import VirtualClock

URL = "https://gw.example/claims"
TOKEN = "the.token.itself"
ALICE, MALLORY = Prover(), Prover()


class Checking:
    """Proofs at a time, and what is sent with Alice's token."""

    def __init__(self, clock: VirtualClock, *, nonces: bool = False, **terms: Any) -> None:
        self.clock = clock
        self.nonces = Nonces(b"k" * 32, clock) if nonces else None
        self.proofs = Proofs(Terms(**terms), clock, self.nonces)

    def send(self, proof: str | bytes | None, method: str = "POST", resource: str = URL) -> None:
        sent = proof.encode() if isinstance(proof, str) else proof
        given = Credentials(b"DPoP x", "10.0.0.1", resource, proof=sent, method=method)
        self.proofs.check(given, ALICE.thumbprint, token_hash(TOKEN))

    def refused(self, proof: str | bytes | None, **more: str) -> str:
        with pytest.raises(Unauthenticated) as refused:
            self.send(proof, **more)
        assert refused.value.error == "invalid_dpop_proof"
        return str(refused.value)

    def made(self, by: Prover = ALICE, url: str = URL, **more: Any) -> str:
        return by.proof(url, more.pop("token", TOKEN), **{"iat": self.clock(), **more})


@pytest.fixture
def checking() -> Checking:
    return Checking(VirtualClock())


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ECKey.generate_key("P-256"), "ES256"), (ECKey.generate_key("P-384"), "ES384"),
        (OKPKey.generate_key("Ed25519"), "EdDSA"), (OKPKey.generate_key("Ed25519"), "Ed25519"),
        (RSAKey.generate_key(2048), "PS256"), (RSAKey.generate_key(2048), "RS256"),
    ],
)  # fmt: skip
def test_a_proof_for_the_request_is_taken(checking: Checking, key: Any, algorithm: str) -> None:
    prover = Prover(key, algorithm)
    for _ in range(2):
        sent = prover.proof(URL, TOKEN, iat=checking.clock()).encode()
        given = Credentials(b"DPoP x", "10.0.0.1", URL, proof=sent)
        checking.proofs.check(given, prover.thumbprint, token_hash(TOKEN))


def test_a_proof_is_good_once(checking: Checking) -> None:
    proof = checking.made()
    checking.send(proof)
    assert "used before" in checking.refused(proof)
    checking.clock.advance(59)
    assert "used before" in checking.refused(proof)
    checking.send(checking.made())


def test_a_proof_for_another_request_is_refused(checking: Checking) -> None:
    assert "method" in checking.refused(checking.made(method="GET"))
    assert "method" in checking.refused(checking.made(), method="DELETE")
    assert "method" in checking.refused(checking.made(method="post"))
    for url in (
        "https://gw.example/other",
        "https://evil.example/claims",
        "http://gw.example/claims",
        "",
        "claims",
    ):
        assert "URL" in checking.refused(checking.made(url=url))
    assert "URL" in checking.refused(checking.made(), resource="https://gw.example/pay")
    assert "token" in checking.refused(checking.made(token="another.token"))
    for claim in ("htm", "htu", "ath", "jti", "iat"):
        checking.refused(checking.made(**{claim: None}))


def test_urls_are_one_by_what_they_mean(checking: Checking) -> None:
    for url in ("HTTPS://GW.example:443/claims", f"{URL}?a=1", f"{URL}#x"):
        checking.send(checking.made(url=url))
    assert same_url("http://a:80", "http://a/")
    assert same_url("http://a/%7e", "http://a/%7E")
    for wrong in (
        "https://me@gw.example/claims",
        f"{URL}/",
        "https://gw.example:444/claims",
        "https://[x/claims",
    ):
        assert not same_url(wrong, URL)


def test_a_proof_of_another_key_is_refused(checking: Checking) -> None:
    assert "another key" in checking.refused(checking.made(by=MALLORY))
    assert "not signed" in checking.refused(checking.made(by=MALLORY, header={"jwk": public(ALICE.key)}))
    for _ in range(2):  # also where the key is known already
        whole = checking.made()
        checking.send(whole)
        header, _, signature = checking.made().split(".")
        payload = checking.made().split(".")[1]
        assert "not signed" in checking.refused(f"{header}.{payload}.{signature}")


def test_half_a_character_in_a_key_is_refused(checking: Checking) -> None:
    for key in ("\ud800", 10**400):
        assert "cannot be used" in checking.refused(
            checking.made(header={"jwk": {**public(ALICE.key), "kid": key}})
        )


def test_a_proof_that_says_how_it_is_to_be_verified_is_held_to_what_is_taken(checking: Checking) -> None:
    jwk = public(ALICE.key)
    secret = {"kty": "oct", "k": b64(b"secret" * 6)}
    for header in ({"alg": "none"}, {"alg": "HS256", "jwk": secret}, {"alg": "HS256", "jwk": jwk}):
        head = b64(json.dumps({"typ": "dpop+jwt", "jwk": jwk, **header}).encode())
        payload = checking.made().split(".")[1]
        mac = hmac.digest(json.dumps(jwk).encode(), f"{head}.{payload}".encode(), "sha256")
        for signature in ("", b64(mac)):
            checking.refused(f"{head}.{payload}.{signature}")
    for header in (
        {"typ": "jwt"}, {"typ": "at+jwt"}, {"typ": None}, {"jwk": None}, {"jwk": "x"}, {"crit": ["b64"]}, {"b64": False},
        {"jwk": ALICE.key.as_dict(private=True)}, {"jwk": {**jwk, "x": "AAAA"}},
    ):  # fmt: skip
        checking.refused(checking.made(header=header))
    assert "not taken" in Checking(checking.clock, algorithms=frozenset({"EdDSA"})).refused(checking.made())


def test_a_proof_is_good_for_its_time_only(checking: Checking) -> None:
    now = checking.clock()
    checking.send(checking.made(iat=now - 60))
    checking.send(checking.made(iat=now + 5))
    for wrong in (now - 61, now + 6, -1, 10**400, "now", True):
        checking.refused(checking.made(iat=wrong))


@pytest.mark.parametrize(
    "sent", [None, b"", b"a.b", b"a.b.c", b"....", b"\xff.\xff.\xff", b"x" * 10_000, b"e30.e30.e30"]
)
def test_what_is_no_proof_is_refused(checking: Checking, sent: bytes | None) -> None:
    checking.refused(sent)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8)
    | st.sampled_from(["\ud800", 10**400, "P-256", "EC", "RSA", "OKP", "AAAA", "Ed25519", "dpop+jwt", "ES256"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["kty", "crv", "x", "y", "n", "e", "kid", "alg", "use"]), inner, max_size=6),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["typ", "alg", "jwk", "kid", "crit"]), _JSON), st.booleans())
@settings(max_examples=150, deadline=None)
def test_whatever_a_header_holds_it_is_taken_or_refused(header: dict[str, Any], whole: bool) -> None:
    checking = Checking(VirtualClock())
    head = {"typ": "dpop+jwt", "alg": "ES256", "jwk": public(ALICE.key), **header} if whole else header
    _, payload, signature = checking.made().split(".")
    with contextlib.suppress(Unauthenticated):
        checking.send(f"{b64(json.dumps(head).encode())}.{payload}.{signature}")


@given(
    st.dictionaries(st.sampled_from(["jti", "htm", "htu", "iat", "ath", "nonce"]), _JSON, min_size=1)
    | st.binary(max_size=40)
)
@settings(max_examples=150, deadline=None)
def test_whatever_signed_claims_hold_they_are_taken_or_refused(claims: dict[str, Any] | bytes) -> None:
    checking = Checking(VirtualClock())
    header, payload, _ = checking.made().split(".")
    if isinstance(claims, bytes):
        said = claims
    else:
        good = json.loads(base64.urlsafe_b64decode(payload + "=="))
        said = json.dumps({**good, **claims}).encode()
    signed = f"{header}.{b64(said)}"
    signature = JWSRegistry.algorithms["ES256"].sign(signed.encode(), ALICE.key)
    with contextlib.suppress(Unauthenticated):
        checking.send(f"{signed}.{b64(signature)}")


def test_two_proofs_in_one_header_are_none(checking: Checking) -> None:
    checking.refused(f"{checking.made()}, {checking.made()}")


def test_a_nonce_is_asked_for_taken_for_a_while_and_then_another() -> None:
    clock = VirtualClock()
    checking = Checking(clock, nonces=True)
    for nonce in (None, "", "made-up", "ä"):
        with pytest.raises(Unauthenticated) as asked:
            checking.send(checking.made(nonce=nonce))
        assert asked.value.error == "use_dpop_nonce"
        assert asked.value.nonce is not None
    checking.send(checking.made(nonce=asked.value.nonce))
    clock.advance(dpop.TURN)
    checking.send(checking.made(nonce=asked.value.nonce))
    clock.advance(dpop.TURN)
    with pytest.raises(Unauthenticated, match="nonce"):
        checking.send(checking.made(nonce=asked.value.nonce))
    other = Nonces(b"another key" * 4, clock)
    assert checking.nonces is not None
    assert not other.takes(checking.nonces.now())


def test_a_proof_that_is_told_the_nonce_is_not_used_up_by_it() -> None:
    checking = Checking(VirtualClock(), nonces=True)
    with pytest.raises(Unauthenticated) as asked:
        checking.send(checking.made(jti="one"))
    checking.send(checking.made(jti="one", nonce=asked.value.nonce))


def test_proofs_are_remembered_while_they_are_good_and_no_longer() -> None:
    clock = VirtualClock()
    seen = Seen(65.0, clock)
    for step in range(200):
        assert seen.add("key", f"{step}")
        for back in range(min(step, 6)):
            assert not seen.add("key", f"{step - back}")
        clock.advance(10)
    held = len(seen._now) + len(seen._before)  # pyright: ignore[reportPrivateUsage] - what it holds is what is asked
    assert held < 20


def test_one_client_cannot_fill_what_is_remembered() -> None:
    clock = VirtualClock()
    seen = Seen(65.0, clock, most=40)
    for number in range(10):
        assert seen.add("greedy", f"{number}")
    with pytest.raises(IdentityUnavailable):
        seen.add("greedy", "more")
    assert seen.add("modest", "1")
    assert not seen.add("greedy", "1")
    clock.advance(65)
    assert seen.add("greedy", "more")


class Showing:
    """A token that is bound, and how it is sent."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.proofs = Proofs(Terms(), self.clock)

    def send(
        self, confirmation: Confirmation | None, scheme: str, *, required: bool = False, **sent: Any
    ) -> bool:
        prove = binding(self.proofs, required=required)(Presented(TOKEN, scheme, confirmation))
        if prove is None:
            return False
        prove(Credentials(b"", "", URL, **sent))
        return True


CERTIFICATE = b"the certificate, in DER"
OF_CERTIFICATE = Confirmation(certificate=thumbprint(CERTIFICATE))
OF_KEY = Confirmation(key=ALICE.thumbprint)


def test_a_plain_token_is_sent_plainly_unless_all_have_to_be_bound() -> None:
    showing = Showing()
    assert not showing.send(None, "bearer")
    for sent in ({}, {"proof": ALICE.proof(URL, TOKEN, iat=showing.clock()).encode()}):
        with pytest.raises(Unauthenticated, match="bound to no key"):
            showing.send(None, "dpop", **sent)
    for confirmation in (None, OF_CERTIFICATE):
        with pytest.raises(Unauthenticated, match="only those"):
            showing.send(confirmation, "bearer", required=True)


def test_a_bound_token_called_a_plain_one_is_refused() -> None:
    showing = Showing()
    proof = ALICE.proof(URL, TOKEN, iat=showing.clock()).encode()
    with pytest.raises(Unauthenticated, match="scheme DPoP"):
        showing.send(OF_KEY, "bearer", proof=proof)
    assert showing.send(OF_KEY, "dpop", proof=proof)
    with pytest.raises(Unauthenticated, match="missing"):
        showing.send(OF_KEY, "dpop")


def test_a_token_of_a_certificate_is_good_with_that_alone() -> None:
    showing = Showing()
    assert thumbprint(CERTIFICATE) == b64(hashlib.sha256(CERTIFICATE).digest())
    assert len(base64.urlsafe_b64decode(thumbprint(CERTIFICATE) + "=")) == 32
    assert showing.send(OF_CERTIFICATE, "bearer", certificate=CERTIFICATE)
    for certificate in (None, b"", CERTIFICATE + b"x"):
        with pytest.raises(Unauthenticated, match="certificate"):
            showing.send(OF_CERTIFICATE, "bearer", certificate=certificate)


def test_a_token_of_both_needs_both() -> None:
    showing = Showing()
    both = Confirmation(certificate=thumbprint(CERTIFICATE), key=ALICE.thumbprint)

    def proof() -> bytes:
        return ALICE.proof(URL, TOKEN, iat=showing.clock()).encode()

    assert showing.send(both, "dpop", certificate=CERTIFICATE, proof=proof())
    for sent in ({"certificate": CERTIFICATE}, {"proof": proof()}):
        with pytest.raises(Unauthenticated):
            showing.send(both, "dpop", **sent)
