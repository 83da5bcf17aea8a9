"""How a server's network is declared: the key `network` of a server.

The docstrings are the reference of the keys. What goes together across servers is found in `mistakes`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, cast

from pydantic import AfterValidator, Discriminator, Field, Tag

from tidegate.domain.server import Network
from tidegate.settings.base import Model
from tidegate.settings.values import Text

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*", re.IGNORECASE)
_LONGEST_HOST = 128
_MOST = 256
_HOW = "should be host:port, *.domain:port, address:port or network/bits:port"


def _destination(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise ValueError(f"{_HOW}, with a port from 1 to 65535")
    if re.fullmatch(r"[0-9./]+", host):
        try:
            network = ipaddress.IPv4Network(host)
        except ValueError:
            raise ValueError(f"{_HOW}; {host[:40]} is no IPv4 address or network") from None
        if any(network.subnet_of(never) for never in _NEVER):
            raise ValueError("is an address that leads nowhere from a server: its own loopback, or no host's")
        return f"{network if '/' in host else network.network_address}:{int(port)}"
    if ":" in host or host.startswith("["):
        raise ValueError("should be a name or an IPv4 address: IPv6 is shut for servers with a list")
    if len(host) > _LONGEST_HOST or not _HOST.fullmatch(host):
        raise ValueError(f"{_HOW}; the name is of at most {_LONGEST_HOST} letters, digits, - and dots")
    return f"{host.lower()}:{int(port)}"


_NEVER = tuple(
    map(
        ipaddress.IPv4Network,
        ("0.0.0.0/8", "100.126.0.0/15", "127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4"),
    )
)

Destination = Annotated[Text, AfterValidator(_destination)]


class NetworkModel(Model):
    """What a server may reach, and nothing else."""

    egress: Annotated[tuple[Destination, ...], Field(max_length=_MOST)] = ()
    """Destinations outside, by TCP: `api.example.com:443`, `*.example.com:443` (what is below it, not itself),
    `192.0.2.7:5432`, `10.1.0.0/16:5432`. A name does not lead to private or link-local addresses unless they are listed too."""
    peers: Annotated[tuple[Text, ...], Field(max_length=_MOST)] = ()
    """Other servers of this file whose HTTP port it may reach, by their names; each has to name this one too."""


def _choice(value: object) -> str:
    return "<word>" if isinstance(value, str) else "<list>"


NetworkChoice = Annotated[
    Annotated[Literal["none", "open"], Tag("<word>")] | Annotated[NetworkModel, Tag("<list>")],
    Discriminator(_choice),
]


def noun(given: str | NetworkModel) -> Network:
    """Give what it means."""
    return Network.ALLOWED if isinstance(given, NetworkModel) else Network(given)


def mistakes(servers: Mapping[str, object]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Find what does not go together: where, and what. `servers` is plain data, unchecked."""
    for name, given in servers.items():
        server, at = _mapping(given), ("servers", name, "network")
        if not isinstance(server.get("network"), dict):
            continue
        if "command" in server or server.get("runtime") == "process":
            yield at, "goes with containers only: a process cannot be held to a list"
        for index, peer in enumerate(_peers(server)):
            message = _objection(name, peer, servers)
            if isinstance(peer, str) and peer in _mapping(server.get("companions")):
                message = "is the name of a companion of this server too"
            if message is not None:
                yield (*at, "peers", index), message


def _objection(name: str, peer: object, servers: Mapping[str, object]) -> str | None:
    if not isinstance(peer, str):
        return None
    if peer == name:
        return "is the server itself"
    if peer not in servers:
        return f"there is no server {peer[:64]}"
    other = _mapping(servers[peer])
    if name not in _peers(other):
        return f"is not mutual: {peer} has to name {name} in its network.peers too"
    if not any(_listens(_mapping(servers[each])) for each in (name, peer)):
        return f"neither {name} nor {peer} listens: one has to have transport: http"
    if _listens(other) and other.get("sharing", "principal") != "shared":
        return f"leads to {peer}, which needs sharing: shared, since a peer acts for nobody in particular"
    return None


def _listens(server: Mapping[str, object]) -> bool:
    return "image" in server and server.get("transport") == "http"


def _peers(server: Mapping[str, object]) -> list[object]:
    found = _mapping(server.get("network")).get("peers")
    return cast("list[object]", found) if isinstance(found, list) else []


def _mapping(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}
