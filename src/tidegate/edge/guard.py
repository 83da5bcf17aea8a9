"""Guard: which Host and Origin a listener serves, and who a request really comes from.

A browser that was talked into calling a loopback address sends the attacker's name as Host or Origin
(DNS rebinding): both are checked before anything else is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from tidegate.domain.errors import Forbidden

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Guard:
    """Checks Host, Origin and forwarded addresses."""

    def __init__(
        self,
        *,
        listen_host: str,
        public_url: str | None = None,
        hosts: Iterable[str] = (),
        origins: Iterable[str] = (),
        proxies: Iterable[str] = (),
    ) -> None:
        public = urlsplit(public_url) if public_url else None
        self._loopback = listen_host in _LOOPBACK
        self._hosts = {host.lower() for host in hosts} | set(_LOOPBACK)
        if listen_host not in ("0.0.0.0", "::"):  # noqa: S104 - compared with, not bound to
            self._hosts.add(listen_host.lower())
        self._origins = {origin.lower().rstrip("/") for origin in origins}
        if public is not None and public.hostname:
            self._hosts.add(public.hostname.lower())
            self._origins.add(f"{public.scheme}://{public.netloc}".lower())
        self._proxies: list[IPv4Network | IPv6Network] = [
            ip_network(proxy, strict=False) for proxy in proxies
        ]
        self._known: dict[bytes, None] = {}

    def check(self, headers: Mapping[bytes, bytes]) -> None:
        """Check Host and Origin.

        Raises:
            Forbidden: one of them is not served here.
        """
        self.check_host(headers)
        origin = headers.get(b"origin")
        if origin is not None:
            self._check_origin(origin.decode("latin-1").lower())

    def check_host(self, headers: Mapping[bytes, bytes]) -> None:
        """Check Host alone, for what every page may be told.

        Raises:
            Forbidden: it is not served here.
        """
        host = headers.get(b"host", b"")
        if host not in self._known:
            if _hostname(host.decode("latin-1")) not in self._hosts:
                raise Forbidden("this Host is not served here: add it to allowed_hosts")
            if len(self._known) < 64:
                self._known[host] = None

    def _check_origin(self, origin: str) -> None:
        if origin in self._origins:
            return
        if self._loopback and _origin_host(origin) in _LOOPBACK:
            return
        raise Forbidden("this Origin is not served here: add it to allowed_origins")

    def peer(self, client: str, headers: Mapping[bytes, bytes]) -> str:
        """Give the address of the client: the last one that a trusted proxy does not vouch away."""
        if not self._proxies or not self._trusted(client):
            return client
        forwarded = headers.get(b"x-forwarded-for", b"").decode("latin-1")
        for hop in reversed([part.strip() for part in forwarded.split(",") if part.strip()][-32:]):
            client = hop
            if not self._trusted(hop):
                break
        return client[:64]

    def trusts(self, client: str) -> bool:
        """Tell whether an address is a proxy's that is believed."""
        return bool(self._proxies) and self._trusted(client)

    def _trusted(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._proxies)


def _hostname(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _origin_host(origin: str) -> str | None:
    try:
        return urlsplit(origin).hostname
    except ValueError:
        return None
