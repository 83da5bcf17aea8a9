"""Addresses of origins and proxies, read out of URLs. No secret of a URL ever gets into an error."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

from tidegate.domain.errors import SettingsError

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """Where an origin is."""

    scheme: str
    host: str
    """As it is looked up: ASCII, without brackets."""
    port: int
    path: bytes = b"/"
    """The URL's path with its query, for whoever asked for it; no part of the origin."""

    @property
    def secure(self) -> bool:
        """Whether it is spoken to over TLS."""
        return self.scheme == "https"

    @property
    def where(self) -> str:
        """Host and port, for a proxy and for people."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def authority(self) -> bytes:
        """What stands in `Host`: without the port where it is the scheme's own."""
        usual = self.port == _PORTS[self.scheme]
        return (self.where.rpartition(":")[0] if usual else self.where).encode("ascii")

    def same_origin(self, other: Address) -> bool:
        """Whether both are one origin (RFC 6454)."""
        return (self.scheme, self.host, self.port) == (other.scheme, other.host, other.port)


@dataclass(frozen=True, slots=True)
class Proxy:
    """An outbound HTTP proxy."""

    host: str
    port: int
    credentials: bytes | None = field(default=None, repr=False)
    """Value of `Proxy-Authorization`. Never logged."""

    @property
    def where(self) -> str:
        """Host and port, for people."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def header(self) -> bytes:
        """Give the header line that authenticates us, or nothing."""
        return b"" if self.credentials is None else b"Proxy-Authorization: %b\r\n" % self.credentials


def read_address(url: str) -> Address:
    """Read an `http` or `https` URL.

    Raises:
        SettingsError: it is none, or holds credentials (they belong in headers).
    """
    parts = _split(url, "server URL")
    if parts.scheme not in _PORTS:
        raise SettingsError(f"server URL must begin with http:// or https://, not {parts.scheme[:16]!r}")
    if parts.username is not None or parts.password is not None:
        raise SettingsError("server URL must not hold credentials: put them into headers")
    path = parts.path or "/"
    whole = f"{path}?{parts.query}" if parts.query else path
    if not whole.isascii() or not whole.isprintable() or " " in whole:
        raise SettingsError("path of the server URL must be percent-encoded")
    return Address(parts.scheme, _host(parts), _port(parts), whole.encode("ascii"))


def read_proxy(url: str) -> Proxy:
    """Read the URL of an outbound proxy, with credentials where it has them.

    Raises:
        SettingsError: it is no `http` URL. What it holds is not repeated.
    """
    parts = _split(url, "proxy URL")
    if parts.scheme != "http":
        raise SettingsError("proxy URL must begin with http://")
    credentials = None
    if parts.username is not None:
        pair = unquote_to_bytes(parts.username) + b":" + unquote_to_bytes(parts.password or "")
        credentials = b"Basic " + base64.b64encode(pair)
    return Proxy(_host(parts), _port(parts), credentials)


def _split(url: str, what: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        # without the cause: it holds a part of the URL, maybe of its credentials
        raise SettingsError(f"{what} cannot be read") from None
    if not parts.hostname:
        raise SettingsError(f"{what} names no host")
    return parts


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    try:
        ascii_host = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise SettingsError("host of a URL cannot be looked up") from error
    labels = ascii_host.split(".")
    if any(len(label) > 63 for label in labels) or not ascii_host.isprintable() or " " in ascii_host:
        raise SettingsError("host of a URL cannot be looked up")
    return ascii_host


def _port(parts: SplitResult) -> int:
    return parts.port or _PORTS[parts.scheme]
