"""Discovery: an issuer's own word about where its keys are, and what somebody in its place could make of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.servers.issuer import issuing, key, sign
from tests.unit.extensions.identity.setting import AROUND, refusal, vouching
from tidegate.extensions.identity.discovery import discover, places
from tidegate.extensions.identity.jwks import COOLDOWN
from tidegate.extensions.identity.web import Unreachable, open_web, safe_url


@pytest.mark.parametrize(
    ("issuer", "found"),
    [
        (
            "https://a.example",
            [
                "https://a.example/.well-known/openid-configuration",
                "https://a.example/.well-known/oauth-authorization-server",
            ],
        ),
        (
            "https://a.example:8443/realms/x/",
            [
                "https://a.example:8443/realms/x/.well-known/openid-configuration",
                "https://a.example:8443/.well-known/oauth-authorization-server/realms/x",
                "https://a.example:8443/.well-known/openid-configuration/realms/x",
            ],
        ),
    ],
)
def test_the_document_is_looked_for_where_the_standards_say(issuer: str, found: list[str]) -> None:
    assert list(places(issuer)) == found


async def test_an_issuer_with_a_document_of_rfc_8414_alone_is_found() -> None:
    async with issuing() as issuer, open_web(AROUND) as web:
        issuer.documents = {"/.well-known/oauth-authorization-server/tenant"}
        issuer.name = f"{issuer.url}/tenant"
        found = await discover(web, issuer.name)
        assert found.jwks_uri == f"{issuer.url}/jwks"
        assert found.introspection_endpoint == f"{issuer.url}/introspect"


@pytest.mark.parametrize("other", ["https://evil.example", None, 7, "{url}/", "{upper}"])
async def test_a_document_of_another_issuer_is_not_believed(other: Any) -> None:
    async with issuing() as issuer:
        said = other.format(url=issuer.url, upper=issuer.url.upper()) if isinstance(other, str) else other
        issuer.metadata = {"issuer": said}
        async with vouching(issuer) as vouch:
            assert (await refusal(vouch, issuer.token())).startswith("IdentityUnavailable")
            assert issuer.times("/jwks") == 0
            assert "is the metadata of another" in str(vouch.told.events)


async def test_a_replaced_document_does_not_replace_the_keys() -> None:
    evil = key("evil")
    async with issuing() as issuer, issuing(key=evil) as attacker, vouching(issuer) as vouch:
        assert await vouch(issuer.token()) is not None
        issuer.status = 500  # so that the place of the keys is looked up again
        vouch.clock.ahead = COOLDOWN
        await refusal(vouch, sign(issuer.claims(), evil))
        issuer.status = 200
        issuer.metadata = {"issuer": attacker.url, "jwks_uri": f"{attacker.url}/jwks"}
        vouch.clock.ahead = 2 * COOLDOWN
        assert (await refusal(vouch, sign(issuer.claims(), evil))).startswith("IdentityUnavailable")
        assert attacker.asked == []
        assert await vouch(issuer.token()) is not None, "the last good keys are still used"


@pytest.mark.parametrize(
    "uri", ["http://keys.example/jwks", "ftp://a.example/", "file:///etc/passwd", "//x/y", "", 7]
)
async def test_keys_are_not_fetched_from_where_they_could_be_replaced_on_their_way(uri: object) -> None:
    async with issuing() as issuer:
        issuer.metadata = {"jwks_uri": uri}
        async with vouching(issuer) as vouch:
            assert (await refusal(vouch, issuer.token())).startswith("IdentityUnavailable")


async def test_keys_that_have_moved_are_found_by_the_document() -> None:
    async with issuing() as issuer, vouching(issuer) as vouch:
        assert await vouch(issuer.token()) is not None
        new = key("k2")
        issuer.keys, issuer.jwks_path = [new], "/new"
        issuer.metadata = {"jwks_uri": f"{issuer.url}/new"}
        vouch.clock.ahead = COOLDOWN
        await refusal(vouch, sign(issuer.claims(), new))  # they are not where they were
        vouch.clock.ahead = 2 * COOLDOWN
        assert await vouch(sign(issuer.claims(), new)) is not None


async def test_a_stated_place_is_asked_without_discovery() -> None:
    async with issuing() as issuer, vouching(issuer, jwks_uri=f"{issuer.url}/jwks") as vouch:
        assert await vouch(issuer.token()) is not None
        assert issuer.asked == ["/jwks"]


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example/", "http://127.0.0.1.a.example/", "https://user@a.example/", "https://a.example/#x",
        "https:///x", "gopher://a.example/", "a.example", "", "https://[::1", "https://a.example:99999/",
    ],
)  # fmt: skip
def test_urls_that_are_not_safe_are_not_asked(url: str) -> None:
    with pytest.raises(Unreachable):
        safe_url(url, plain=True)


def test_plain_http_on_this_machine_has_to_be_meant() -> None:
    assert safe_url("http://127.0.0.1:9/", plain=True)
    assert safe_url("http://[::1]:9/", plain=True)
    with pytest.raises(Unreachable, match="over http and not https"):
        safe_url("http://127.0.0.1:9/", plain=False)


async def test_an_issuer_over_tls_is_believed_by_the_authority_that_is_given(tmp_path: Path) -> None:
    import trustme

    authority = trustme.CA()
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    async with issuing(tls=authority.issue_cert("127.0.0.1")) as issuer:
        assert issuer.url.startswith("https:")
        async with vouching(issuer, ca=str(bundle)) as vouch:
            assert await vouch(issuer.token()) is not None
        async with vouching(issuer) as vouch:
            assert (await refusal(vouch, issuer.token())).startswith("IdentityUnavailable")
            assert "cannot be reached" in str(vouch.told.events) or "no TLS" in str(vouch.told.events)


async def test_an_issuer_that_nobody_is_at_is_one_that_is_down() -> None:
    async with issuing() as gone:
        pass
    async with vouching(gone) as vouch:
        assert (await refusal(vouch, gone.token())).startswith("IdentityUnavailable")
