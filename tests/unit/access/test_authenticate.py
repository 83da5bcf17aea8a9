"""An identity is asked as seldom as is safe, and never once too seldom."""

import base64
from dataclasses import replace

import pytest

from tidegate.access import attempts, authenticate
from tidegate.access.authenticate import Authenticator
from tidegate.domain.errors import IdentityUnavailable, Unauthenticated
from tidegate.domain.principal import Principal
from tidegate.ports.identity import Credentials, Vouched
from tidegate.testing.clock import VirtualClock


class Tokens:
    """An identity that knows `Bearer <name>`, refuses `Bearer bad…` and counts how often it is asked."""

    def __init__(self, scheme: bytes = b"Bearer ", expires: float | None = None) -> None:
        self.version = 0
        self.asked = 0
        self.revoked: set[bytes] = set()
        self._scheme = scheme
        self._expires = expires

    async def authenticate(self, credentials: Credentials) -> Vouched | None:
        self.asked += 1
        header = credentials.authorization
        if header is None or not header.startswith(self._scheme):
            return None
        name = header[len(self._scheme) :]
        if name.startswith(b"bad") or name in self.revoked:
            raise Unauthenticated("the token is not known")
        return Vouched(Principal("default", "test", name.decode()), self._expires)


def credentials(header: str | None, peer: str = "10.0.0.1") -> Credentials:
    return Credentials(None if header is None else header.encode(), peer)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


async def test_the_second_time_nobody_is_asked(clock: VirtualClock) -> None:
    tokens = Tokens()
    access = Authenticator([tokens], clock)
    given = credentials("Bearer alice")
    assert access.cached(given) is None
    vouched = await access.authenticate(given)
    assert vouched.principal.subject == "alice"
    assert access.cached(credentials("Bearer alice")) is vouched
    assert await access.authenticate(given) is vouched
    assert tokens.asked == 1


async def test_an_answer_holds_for_its_credentials_and_address_alone(clock: VirtualClock) -> None:
    access = Authenticator([Tokens()], clock)
    await access.authenticate(credentials("Bearer alice"))
    assert access.cached(credentials("Bearer alicf")) is None
    assert access.cached(credentials("Bearer alice", "10.0.0.2")) is None
    assert access.cached(credentials(None)) is None


async def test_an_answer_falls_when_the_identity_changes(clock: VirtualClock) -> None:
    tokens = Tokens()
    access = Authenticator([tokens], clock)
    await access.authenticate(credentials("Bearer alice"))
    tokens.revoked.add(b"alice")
    tokens.version += 1
    assert access.cached(credentials("Bearer alice")) is None
    with pytest.raises(Unauthenticated):
        await access.authenticate(credentials("Bearer alice"))


async def test_a_change_while_it_was_asked_is_not_missed(clock: VirtualClock) -> None:
    class Changing(Tokens):
        async def authenticate(self, credentials: Credentials) -> Vouched | None:
            vouched = await super().authenticate(credentials)
            self.version += 1
            return vouched

    access = Authenticator([Changing()], clock)
    await access.authenticate(credentials("Bearer alice"))
    assert access.cached(credentials("Bearer alice")) is None


async def test_an_answer_falls_when_any_of_several_identities_changes(clock: VirtualClock) -> None:
    first, second = Tokens(b"Key "), Tokens()
    access = Authenticator([first, second], clock)
    assert (await access.authenticate(credentials("Bearer alice"))).principal.subject == "alice"
    assert access.cached(credentials("Bearer alice")) is not None
    first.version += 1
    assert access.cached(credentials("Bearer alice")) is None


async def test_an_answer_ends_when_it_expires(clock: VirtualClock) -> None:
    access = Authenticator([Tokens(expires=clock() + 10)], clock)
    await access.authenticate(credentials("Bearer alice"))
    clock.advance(9.9)
    assert access.cached(credentials("Bearer alice")) is not None
    clock.advance(0.1)
    assert access.cached(credentials("Bearer alice")) is None


async def test_an_answer_without_end_is_asked_for_again_in_time(clock: VirtualClock) -> None:
    access = Authenticator([Tokens()], clock)
    await access.authenticate(credentials("Bearer alice"))
    clock.advance(authenticate.MAX_AGE)
    assert access.cached(credentials("Bearer alice")) is None


async def test_the_token_itself_is_kept_nowhere(clock: VirtualClock) -> None:
    access = Authenticator([Tokens()], clock)
    await access.authenticate(credentials("Bearer alice-secret"))
    with pytest.raises(Unauthenticated):
        await access.authenticate(credentials("Bearer bad-secret"))
    kept = repr([getattr(access, name) for name in ("_kept", "_refused", "_known")])
    kept += repr(vars(vars(access)["_attempts"]))
    assert "bad-secret" not in kept
    assert "Bearer" not in kept


async def test_a_refusal_is_remembered_for_a_moment_only(clock: VirtualClock) -> None:
    tokens = Tokens()
    tokens.revoked.add(b"alice")
    access = Authenticator([tokens], clock)
    for _ in range(5):
        with pytest.raises(Unauthenticated, match="not known"):
            await access.authenticate(credentials("Bearer alice"))
    assert tokens.asked == 1
    tokens.revoked.clear()
    clock.advance(authenticate.REFUSED_AGE)
    await access.authenticate(credentials("Bearer alice"))


async def test_a_key_that_was_just_made_is_not_held_against_an_earlier_refusal(clock: VirtualClock) -> None:
    tokens = Tokens()
    tokens.revoked.add(b"alice")
    access = Authenticator([tokens], clock)
    with pytest.raises(Unauthenticated):
        await access.authenticate(credentials("Bearer alice"))
    tokens.revoked.clear()
    tokens.version += 1
    await access.authenticate(credentials("Bearer alice"))


async def test_no_credentials_and_credentials_of_no_known_kind_are_told_apart(clock: VirtualClock) -> None:
    access = Authenticator([Tokens()], clock)
    with pytest.raises(Unauthenticated, match="no credentials"):
        await access.authenticate(credentials(None))
    with pytest.raises(Unauthenticated, match="no kind"):
        await access.authenticate(credentials("Basic dTpw"))


async def test_an_address_that_guesses_is_stopped_and_others_go_on(clock: VirtualClock) -> None:
    tokens = Tokens()
    access = Authenticator([tokens], clock)
    await access.authenticate(credentials("Bearer alice"))
    for number in range(attempts.GUESSES):
        with pytest.raises(Unauthenticated, match="not known"):
            await access.authenticate(credentials(f"Bearer bad{number}"))
    asked = tokens.asked
    with pytest.raises(Unauthenticated, match="too many failed attempts"):
        await access.authenticate(credentials("Bearer bad-one-more"))
    assert tokens.asked == asked
    assert access.cached(credentials("Bearer alice")) is not None
    await access.authenticate(credentials("Bearer bob", "10.0.0.2"))
    clock.advance(60)
    await access.authenticate(credentials("Bearer bob"))


async def test_what_is_kept_is_bounded_and_guesses_push_out_no_good_answer(clock: VirtualClock) -> None:
    access = Authenticator([Tokens()], clock)
    await access.authenticate(credentials("Bearer alice"))
    for number in range(authenticate.MAX_REFUSED * 2):
        with pytest.raises(Unauthenticated):
            await access.authenticate(credentials(f"Bearer bad{number}", f"peer-{number}"))
    assert access.cached(credentials("Bearer alice")) is not None
    for number in range(authenticate.MAX_VOUCHED):
        await access.authenticate(credentials(f"Bearer user{number}"))
    assert access.cached(credentials("Bearer alice")) is None
    assert access.cached(credentials("Bearer user0")) is not None


async def test_an_overlong_header_is_not_even_looked_at(clock: VirtualClock) -> None:
    tokens = Tokens()
    access = Authenticator([tokens], clock)
    with pytest.raises(Unauthenticated, match="too long"):
        await access.authenticate(credentials("Bearer " + "x" * authenticate.MAX_HEADER))
    assert tokens.asked == 0


async def test_guesses_do_not_shut_out_who_was_known_at_that_address(clock: VirtualClock) -> None:
    """Everybody behind one proxy or one wall may have one address."""
    tokens = Tokens()
    access = Authenticator([tokens], clock)
    await access.authenticate(credentials("Bearer alice"))
    for number in range(attempts.GUESSES + 5):
        with pytest.raises(Unauthenticated):
            await access.authenticate(credentials(f"Bearer bad{number}"))
    tokens.version += 1  # somebody made a key: everyone is asked for again
    assert (await access.authenticate(credentials("Bearer alice"))).principal.subject == "alice"
    with pytest.raises(Unauthenticated, match="too many"):
        await access.authenticate(credentials("Bearer bob"))
    tokens.revoked.add(b"alice")
    tokens.version += 1
    for expected in ("not known", "not known", "too many"):
        with pytest.raises(Unauthenticated, match=expected):
            await access.authenticate(credentials("Bearer alice"))
        clock.advance(authenticate.REFUSED_AGE * (expected == "not known") / 1.5)


def signed(name: str) -> bytes:
    """Give a header with what has the form of a signed token."""
    head = base64.urlsafe_b64encode(b'{"alg":"ES256"}').rstrip(b"=")
    return b"Bearer %b.%b.c2ln" % (head, name.encode())


class Signed(Tokens):
    """Tokens that are signed by their issuer but for `forged…`, and `old…` that have expired."""

    async def authenticate(self, credentials: Credentials) -> Vouched | None:
        self.asked += 1
        name = (credentials.authorization or b"").split(b".")[1].decode()
        if name.startswith("forged"):
            raise Unauthenticated("the token's signature is not its issuer's")
        if name.startswith("old"):
            raise Unauthenticated("the token has expired", counts=False)
        return Vouched(Principal("default", "test", name))


def from_there(header: bytes) -> Credentials:
    return Credentials(header, "10.0.0.1")


async def test_tokens_that_have_expired_shut_nobody_out_however_many_come_from_one_address(
    clock: VirtualClock,
) -> None:
    access = Authenticator([Signed()], clock)
    for number in range(10 * attempts.SIGNED):
        with pytest.raises(Unauthenticated, match="has expired"):
            await access.authenticate(from_there(signed(f"old{number}")))
    assert (await access.authenticate(from_there(signed("alice")))).principal.subject == "alice"


async def test_forged_tokens_are_bounded_in_a_second_and_a_good_one_is_not_called_bad(
    clock: VirtualClock,
) -> None:
    tokens = Signed()
    access = Authenticator([tokens], clock)
    await access.authenticate(from_there(signed("alice")))
    for number in range(attempts.SIGNED):
        with pytest.raises(Unauthenticated, match="signature"):
            await access.authenticate(from_there(signed(f"forged{number}")))
    tokens.version += 1
    asked = tokens.asked
    with pytest.raises(IdentityUnavailable, match="in a second"):
        await access.authenticate(from_there(signed("bob")))
    assert tokens.asked == asked, "no signature was looked at"
    await access.authenticate(from_there(signed("alice")))
    await access.authenticate(Credentials(signed("bob"), "10.0.0.2"))
    clock.advance(1)
    await access.authenticate(from_there(signed("bob")))


async def test_forged_tokens_do_not_shut_out_keys_nor_wrong_keys_tokens(clock: VirtualClock) -> None:
    access = Authenticator([Tokens()], clock)
    for number in range(attempts.GUESSES):
        with pytest.raises(Unauthenticated):
            await access.authenticate(credentials(f"Bearer bad{number}"))
    await access.authenticate(from_there(signed("ann")))
    with pytest.raises(Unauthenticated, match="too many"):
        await access.authenticate(credentials("Bearer bob"))


class Opaque(Tokens):
    """Tokens that their issuer is asked about, whatever they look like; `bad…` are none, `known…` are known without."""

    async def authenticate(self, credentials: Credentials) -> Vouched | None:
        name = (credentials.authorization or b"").split(b".")[1].decode()
        if not name.startswith("known"):
            if credentials.may_guess is not None:
                credentials.may_guess()
            self.asked += 1
            if name.startswith("bad"):
                raise Unauthenticated("the token is not active", guess=True)
        return Vouched(Principal("default", "test", name))


async def test_secrets_that_are_made_to_look_signed_are_guesses_all_the_same(clock: VirtualClock) -> None:
    tokens = Opaque()
    access = Authenticator([tokens], clock)
    await access.authenticate(from_there(signed("alice")))
    for number in range(3 * attempts.GUESSES):
        with pytest.raises(Unauthenticated, match="not active" if number < attempts.GUESSES else "too many"):
            await access.authenticate(from_there(signed(f"bad{number}")))
    assert tokens.asked == 1 + attempts.GUESSES, "nobody is asked about the others"
    await access.authenticate(from_there(signed("known")))
    await access.authenticate(Credentials(signed("bob"), "10.0.0.2"))
    tokens.version += 1
    await access.authenticate(from_there(signed("alice")))
    clock.advance(attempts.GUESSES_IN)
    await access.authenticate(from_there(signed("bob")))


async def test_one_bad_token_written_in_many_ways_is_looked_at_once(clock: VirtualClock) -> None:
    tokens = Signed()
    access = Authenticator([tokens], clock)
    token = signed("old").removeprefix(b"Bearer ")
    for scheme in (b"Bearer ", b"bearer ", b"BEARER   ", b"Bearer \t "):
        with pytest.raises(Unauthenticated, match="has expired"):
            await access.authenticate(from_there(scheme + token + b" "))
    assert tokens.asked == 1


@pytest.mark.parametrize(
    ("header", "is_one"),
    [
        (b"Bearer eyJhbGciOiJFUzI1NiJ9.e30.c2ln", True),
        (b"DPoP ewogICJhbGciOiJFUzI1NiJ9.e30.c2ln", True),
        (b"Bearer tg_abc.def.ghi", False),
        (b"Bearer eyJhbGciOiJFUzI1NiJ9", False),
        (b"Basic dTpw", False),
        (b"", False),
        (None, True),
    ],
)
def test_what_is_signed_is_told_by_its_form(header: bytes | None, is_one: bool) -> None:
    assert attempts.is_signed(header) is is_one


class Bound(Tokens):
    """Tokens whose senders have to bring a proof that was not there before, `good-…`."""

    def __init__(self) -> None:
        super().__init__()
        self.proofs: list[bytes | None] = []

    async def authenticate(self, credentials: Credentials) -> Vouched | None:
        vouched = await super().authenticate(credentials)
        return None if vouched is None else replace(vouched, prove=self._prove)

    def _prove(self, credentials: Credentials) -> None:
        proof = credentials.proof
        if proof == b"first":
            raise Unauthenticated("a nonce is needed", error="use_dpop_nonce", nonce="n1")
        if proof is None or not proof.startswith(b"good") or proof in self.proofs:
            raise Unauthenticated("the proof is not good", error="invalid_dpop_proof")
        self.proofs.append(proof)


def proving(proof: bytes | None, header: bytes = b"Bearer alice") -> Credentials:
    return Credentials(header, "10.0.0.1", proof=proof)


async def test_an_answer_for_one_resource_or_certificate_is_good_for_no_other(clock: VirtualClock) -> None:
    access = Authenticator([Tokens()], clock)

    def asking(resource: str, certificate: bytes | None = None) -> Credentials:
        return Credentials(b"Bearer alice", "10.0.0.1", resource, certificate)

    await access.authenticate(asking("https://gw.example/a"))
    assert access.cached(asking("https://gw.example/a")) is not None
    assert access.cached(asking("https://gw.example/b")) is None
    assert access.cached(asking("https://gw.example/a", b"certificate")) is None
    await access.authenticate(asking("https://gw.example/a", b"certificate"))
    assert access.cached(asking("https://gw.example/a", b"another")) is None


async def test_each_request_is_proved_once_however_often_it_is_looked_at(clock: VirtualClock) -> None:
    tokens = Bound()
    access = Authenticator([tokens], clock)
    first, second = proving(b"good-1"), proving(b"good-2")
    await access.authenticate(first)
    assert access.cached(first) is not None
    assert access.cached(second) is not None
    tokens.version += 1  # asked for anew, with the same request
    await access.authenticate(second)
    assert tokens.proofs == [b"good-1", b"good-2"]
    for proof in (b"good-2", b"forged", None):
        with pytest.raises(Unauthenticated) as refused:
            access.cached(proving(proof))
        assert refused.value.error == "invalid_dpop_proof"


async def test_a_token_without_its_proof_is_refused_and_stays_good_where_the_proof_is(
    clock: VirtualClock,
) -> None:
    access = Authenticator([Bound()], clock)
    with pytest.raises(Unauthenticated, match="proof is not good"):
        await access.authenticate(proving(None))
    await access.authenticate(proving(b"good-1"))


async def test_proofs_that_fail_count_against_an_address_and_being_told_a_nonce_does_not(
    clock: VirtualClock,
) -> None:
    access = Authenticator([Bound()], clock)
    for number in range(attempts.GUESSES * 2):
        with pytest.raises(Unauthenticated) as told:
            await access.authenticate(proving(b"first", b"Bearer user%d" % number))
        assert told.value.nonce == "n1"
    for number in range(attempts.SIGNED):
        with pytest.raises(Unauthenticated, match="proof is not good"):
            await access.authenticate(proving(b"forged", b"Bearer user%d" % number))
    with pytest.raises(IdentityUnavailable, match="too many"):
        await access.authenticate(proving(b"good-1", signed("alice")))
    assert (await access.authenticate(proving(b"good-1"))).principal.subject == "alice", "it is no guess"


async def test_a_certificate_that_nobody_goes_by_is_no_failed_attempt(clock: VirtualClock) -> None:
    access = Authenticator([Tokens()], clock)
    for _ in range(attempts.GUESSES + 1):
        with pytest.raises(Unauthenticated, match="no credentials") as refused:
            await access.authenticate(Credentials(None, "10.0.0.1", certificate=b"certificate"))
        assert refused.value.error == ""
    await access.authenticate(credentials("Bearer alice"))
