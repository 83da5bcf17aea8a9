"""Place: where an HTTP server is reached, and with what. Settings in, an origin and headers out."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

from tidegate.channels.http.address import Address, read_address, read_proxy
from tidegate.channels.http.messages import HttpBounds
from tidegate.channels.http.origin import HttpOrigin
from tidegate.domain.errors import SettingsError
from tidegate.domain.server import Secret
from tidegate.protocol.client import header_line

_OURS = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade", "expect",
     "accept", "accept-encoding", "content-type", "proxy-authorization", "last-event-id"}
)  # fmt: skip
"""Headers that settings must not set, since the framing or the protocol hangs on them; `mcp-*` beside."""


@dataclass(frozen=True, slots=True)
class HttpPlace:
    """An HTTP server's URL, and what every request to it carries."""

    url: str
    headers: Mapping[str, Secret] = field(default_factory=dict[str, Secret])
    tls: ssl.SSLContext | None = None
    """`http.dial.tls_context()` where None."""
    proxy: str | None = field(default=None, repr=False)
    """URL of the outbound proxy. May hold credentials."""
    bounds: HttpBounds = field(default_factory=HttpBounds)

    def address(self) -> Address:
        """Read the URL.

        Raises:
            SettingsError: it cannot be used.
        """
        return read_address(self.url)

    def origin(self) -> HttpOrigin:
        """Make the origin's client.

        Raises:
            SettingsError: the URL or the proxy's cannot be used.
        """
        proxy = None if self.proxy is None else read_proxy(self.proxy)
        return HttpOrigin(self.address(), tls=self.tls, proxy=proxy, bounds=self.bounds)

    def header_lines(self) -> bytes:
        """Encode the headers of every request.

        Raises:
            SettingsError: one of them cannot be one, or is not for settings. No value is repeated.
        """
        named = {name.lower() for name in self.headers}
        taken = {name for name in named if name in _OURS or name.startswith("mcp-")}
        if taken:
            raise SettingsError(f"header {min(taken)} is set by the gateway itself")
        lines = b"" if "user-agent" in named else b"User-Agent: tidegate\r\n"
        for name, value in self.headers.items():
            try:
                lines += header_line(name, value.reveal().encode("latin-1"))
            except UnicodeEncodeError:
                # without the cause: it holds the value
                raise SettingsError(f"the value of header {name} holds what no header can") from None
            except ValueError as error:
                raise SettingsError(str(error)) from error
        return lines
