"""Certificates: clients that are who their certificate says, with no token beside it (mutual TLS).

That an authority signed it and that the client has its key was seen by the listener, or by a proxy that is trusted.
Here it is read; whoever has one and sends a token as well is asked about by the token.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from tidegate.domain.errors import IdentityUnavailable, SettingsError, Unauthenticated
from tidegate.extensions.identity.jwks import Tell
from tidegate.extensions.identity.jwt import Mapped
from tidegate.ports.identity import Credentials, Vouched

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, CertificateRevocationList

ISSUER = "certificate"
"""What principals have as their issuer: the authorities of one listener vouch for one set of names."""
LOOK = 1.0
"""Seconds between looks at the file of what was revoked."""
LARGEST_LIST = 64 * 1024 * 1024
"""Bytes of that file."""
_PEM = b"-----BEGIN"

Subject: TypeAlias = Literal["san-uri", "san-dns", "san-email", "cn"]
_NAMED: Mapping[Subject, str] = {"san-uri": "uri", "san-dns": "dns", "san-email": "email", "cn": "cn"}


class Revoked(Protocol):
    """Says what was revoked."""

    @property
    def version(self) -> int:
        """Changes when anything else was."""
        ...

    @property
    def last(self) -> float:
        """Until when it can be told (Unix seconds)."""
        ...

    def has(self, issuer: bytes, serial: int) -> bool:
        """Tell whether the certificate of an issuer (its name, DER) was revoked."""
        ...


class CertificateIdentity:
    """Vouches for clients by their certificates."""

    def __init__(
        self,
        subject: Subject,
        mapping: Mapped,
        *,
        clock: Callable[[], float],
        revoked: Revoked | None = None,
    ) -> None:
        self._subject = _NAMED[subject]
        self._mapping = mapping
        self._clock = clock
        self._revoked = revoked

    @property
    def version(self) -> int:
        """Changes when another certificate was revoked."""
        return 0 if self._revoked is None else self._revoked.version

    async def authenticate(self, credentials: Credentials) -> Vouched | None:
        """Vouch for whom a certificate names; None where none was shown, or something else was sent beside it.

        Raises:
            Unauthenticated: it is over, was revoked, or names nobody.
            IdentityUnavailable: it cannot be told whether it was revoked.
        """
        shown = credentials.certificate
        if shown is None or credentials.authorization is not None:
            return None
        from cryptography import x509

        try:
            certificate = x509.load_der_x509_certificate(shown)
            claims = read(certificate)
            begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        except (ValueError, x509.InvalidVersion):
            raise Unauthenticated("the certificate cannot be read") from None
        now = self._clock()
        if not begins.timestamp() <= now < ends.timestamp():
            raise Unauthenticated("the certificate is not good now: it has ended, or has not begun")
        until = min(ends.timestamp(), self._check_revoked(certificate, now))
        names = claims[self._subject]
        if len(names) != 1:
            raise Unauthenticated(
                f"the certificate has {len(names) or 'no'} names of the kind that is asked for"
            )
        told = {name: values[0] if len(values) == 1 else values for name, values in claims.items() if values}
        principal = self._mapping.principal(ISSUER, {**told, "subject": names[0]})
        return Vouched(principal, until, hashlib.sha256(shown).hexdigest()[:16])

    def _check_revoked(self, certificate: Certificate, now: float) -> float:
        revoked = self._revoked
        if revoked is None:
            return float("inf")
        if now >= revoked.last:
            raise IdentityUnavailable("the list of revoked certificates is out of date")
        if revoked.has(certificate.issuer.public_bytes(), certificate.serial_number):
            raise Unauthenticated("the certificate was revoked")
        return revoked.last


def read(certificate: Certificate) -> dict[str, list[str]]:
    """Give the names in a certificate, by what the settings call them.

    Raises:
        ValueError: they cannot be read.
    """
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    found: dict[str, list[str]] = {"uri": [], "dns": [], "email": []}
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        pass
    except (x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise ValueError("its extensions cannot be read") from error
    else:
        found["uri"] = names.get_values_for_type(x509.UniformResourceIdentifier)
        found["dns"] = names.get_values_for_type(x509.DNSName)
        found["email"] = names.get_values_for_type(x509.RFC822Name)
    for name, oid in (
        ("cn", NameOID.COMMON_NAME),
        ("o", NameOID.ORGANIZATION_NAME),
        ("ou", NameOID.ORGANIZATIONAL_UNIT_NAME),
    ):
        values = [each.value for each in certificate.subject.get_attributes_for_oid(oid)]
        found[name] = [each for each in values if isinstance(each, str)]
    return found


class RevokedFile:
    """What was revoked, by a file. `follow` must run as long as it is used."""

    def __init__(self, path: Path, tell: Tell) -> None:
        """Read it.

        Raises:
            SettingsError: it cannot be read, or is no list.
        """
        self._path = path
        self._tell = tell
        self._stamp = self._look()
        self.version = 0
        self.last = 0.0
        self._serials: Mapping[bytes, frozenset[int]] = {}
        self._take(self._read())

    def has(self, issuer: bytes, serial: int) -> bool:
        """Tell whether a certificate was revoked."""
        return serial in self._serials.get(issuer, ())

    async def follow(self) -> None:
        """Look whether the file is another one, until cancelled. One that cannot be read changes nothing."""
        while True:
            await asyncio.sleep(LOOK)
            await self.look()

    async def look(self) -> None:
        """Look once."""
        stamp = self._look()
        if stamp is None or stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._take(await asyncio.to_thread(self._read))
        except SettingsError as error:
            self._tell("identity.unavailable", issuer=ISSUER, reason=str(error), attempts=1)

    def _take(self, lists: Sequence[CertificateRevocationList]) -> None:
        serials: dict[bytes, set[int]] = {}
        for each in lists:
            serials.setdefault(each.issuer.public_bytes(), set()).update(one.serial_number for one in each)
        ends = [each.next_update_utc or datetime.max.replace(tzinfo=UTC) for each in lists]
        self._serials = {issuer: frozenset(found) for issuer, found in serials.items()}
        self.last = min(each.timestamp() for each in ends)
        self.version += 1

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> Sequence[CertificateRevocationList]:
        from cryptography import x509

        try:
            with self._path.open("rb") as file:
                data = file.read(LARGEST_LIST + 1)
            if len(data) > LARGEST_LIST:
                raise ValueError(f"larger than {LARGEST_LIST} bytes")
            if _PEM not in data:
                return [x509.load_der_x509_crl(data)]
            parts = [_PEM + part for part in data.split(_PEM)[1:]]
            return [x509.load_pem_x509_crl(part) for part in parts]
        except OSError as error:
            raise SettingsError(f"crl: {self._path} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise SettingsError(f"crl: {self._path} is no list of revoked certificates") from error
