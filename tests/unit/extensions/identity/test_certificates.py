"""A client is who its certificate says, as long as that is good and nobody took it back."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tidegate.assemble.issuers import certificates
from tidegate.domain.errors import IdentityUnavailable, SettingsError, Unauthenticated
from tidegate.extensions.identity.certificates import RevokedFile
from tidegate.ports.identity import Credentials, Vouched
from tidegate.settings.identity import CertificateModel

NOW = time.time()
KEY = ec.generate_private_key(ec.SECP256R1())
CA = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority")])
DAY = 86400.0


def at(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def issue(
    *names: x509.GeneralName,
    cn: Sequence[str] = ("alice",),
    ou: Sequence[str] = (),
    serial: int = 7,
    begins: float = NOW - DAY,
    ends: float = NOW + DAY,
) -> bytes:
    """Give a certificate (DER)."""
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, each) for each in cn]
    subject += [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, each) for each in ou]
    builder = (
        x509.CertificateBuilder().subject_name(x509.Name(subject)).issuer_name(CA).serial_number(serial)
        .public_key(KEY.public_key()).not_valid_before(at(begins)).not_valid_after(at(ends))
    )  # fmt: skip
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def revoke(path: Path, *serials: int, until: float = NOW + DAY, stamp: int = 1) -> None:
    """Write the list of what was revoked."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(CA)
    builder = builder.last_update(at(NOW - DAY * 2)).next_update(at(until))
    for serial in serials:
        one = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at(NOW - DAY)).build()
        builder = builder.add_revoked_certificate(one)
    signed = builder.sign(KEY, hashes.SHA256())
    path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    os.utime(path, (stamp, stamp))


def uri(text: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(text)


@dataclass
class Told:
    events: list[str] = field(default_factory=list)

    def __call__(self, event: str, /, **fields: object) -> None:
        self.events.append(event)


async def vouch(shown: bytes | None, header: bytes | None = None, **settings: Any) -> Vouched | None:
    model = CertificateModel.model_validate({"type": "certificate", **settings})
    (identity,), work = await certificates(model, lambda: NOW, Told())
    for each in work:
        each.close()
    return await identity.authenticate(Credentials(header, "10.0.0.1", certificate=shown))


async def test_who_it_is_is_the_name_that_the_settings_ask_for() -> None:
    shown = issue(
        uri("spiffe://example.org/a"),
        x509.DNSName("a.example"),
        x509.RFC822Name("a@example.org"),
        ou=["desk"],
    )
    for kind, name in (
        ("san-uri", "spiffe://example.org/a"), ("san-dns", "a.example"), ("san-email", "a@example.org"), ("cn", "alice"),
    ):  # fmt: skip
        vouched = await vouch(shown, subject=kind)
        assert vouched is not None
        assert (vouched.principal.issuer, vouched.principal.subject) == ("certificate", name)
        assert vouched.expires == int(NOW + DAY)
        assert vouched.scopes is None


async def test_roles_groups_and_tenant_are_of_what_it_says() -> None:
    shown = issue(uri("spiffe://example.org/a"), ou=["desk", "night"])
    vouched = await vouch(
        shown, roles={"claims": ["ou", "subject"], "map": {"desk": "user", "spiffe://example.org/*": "agent"}},
        groups={"claim": "ou"}, tenant={"claim": "cn"},
    )  # fmt: skip
    assert vouched is not None
    assert vouched.principal.roles == {"user", "agent"}
    assert vouched.principal.groups == {"desk", "night"}
    assert vouched.principal.tenant == "alice"
    plain = await vouch(issue(uri("adjuster")))
    assert plain is not None
    assert plain.principal.roles == frozenset()  # a name that happens to be a role's is none
    mapped = await vouch(issue(uri("a")), roles={"map": {"a": "user"}, "default": ["known"]})
    assert mapped is not None
    assert mapped.principal.roles == {"user", "known"}


async def test_a_token_beside_it_is_what_is_asked_about() -> None:
    assert await vouch(issue(uri("a")), header=b"Bearer x") is None
    assert await vouch(None) is None


async def test_a_certificate_that_names_nobody_or_two_is_refused() -> None:
    for shown, settings in (
        (issue(), {}),
        (issue(uri("a"), uri("b")), {}),
        (issue(x509.DNSName("a")), {"subject": "san-email"}),
        (issue(cn=("alice", "bob")), {"subject": "cn"}),
        (issue(cn=()), {"subject": "cn"}),
    ):
        with pytest.raises(Unauthenticated, match="names of the kind"):
            await vouch(shown, **settings)


async def test_a_certificate_is_good_for_its_time_only() -> None:
    for begins, ends in ((NOW - DAY * 2, NOW - 1), (NOW + 60, NOW + DAY)):
        with pytest.raises(Unauthenticated, match="not good now"):
            await vouch(issue(uri("a"), begins=begins, ends=ends))


@pytest.mark.parametrize("shown", [b"", b"x", b"\x30\x03\x02\x01\x01"])
async def test_what_is_no_certificate_is_refused(shown: bytes) -> None:
    with pytest.raises(Unauthenticated):
        await vouch(shown)


async def test_a_revoked_certificate_is_refused_and_an_old_list_refuses_all(tmp_path: Path) -> None:
    path = tmp_path / "revoked.pem"
    revoke(path, 7)
    with pytest.raises(Unauthenticated, match="revoked"):
        await vouch(issue(uri("a")), crl=path)
    other = await vouch(issue(uri("a"), serial=8), crl=path)
    assert other is not None
    revoke(path, until=NOW - 1)
    with pytest.raises(IdentityUnavailable, match="out of date"):
        await vouch(issue(uri("a"), serial=8), crl=path)
    path.write_text("nothing of the kind")
    with pytest.raises(SettingsError, match=r"revoked\.pem"):
        await vouch(issue(uri("a")), crl=path)


async def test_what_is_revoked_meanwhile_is_known_and_a_broken_list_changes_nothing(tmp_path: Path) -> None:
    path, told = tmp_path / "revoked.pem", Told()
    revoke(path)
    revoked = RevokedFile(path, told)
    issuer = CA.public_bytes()
    assert not revoked.has(issuer, 7)
    before = revoked.version
    revoke(path, 7, stamp=2)
    await revoked.look()
    assert revoked.has(issuer, 7)
    assert revoked.version > before
    for text, stamp in (("broken", 3), (None, 0)):
        if text is None:
            path.unlink()
        else:
            path.write_text(text)
            os.utime(path, (stamp, stamp))
        await revoked.look()
        assert revoked.has(issuer, 7)
    assert told.events == ["identity.unavailable"]
