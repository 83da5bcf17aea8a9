"""Rules: what a list of destinations allows. Pure: knows no socket and asks nobody."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

LONGEST_NAME = 128
"""Characters of a name that is let through; what is longer carries data, as the names of DNS tunnels do."""

SHUT = tuple(
    (ipaddress.IPv4Network(text), what)
    for text, what in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.126.0.0/15", "the sidecar's own"),
        ("100.64.0.0/10", "shared by a carrier"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local, where clouds keep metadata"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "set aside for protocols"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "for tests between networks"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved or broadcast"),
    )
)
"""Addresses to which a name does not lead unless they are named themselves (RFC 6890)."""


@dataclass(frozen=True)
class Peer:
    """A server beside this one."""

    name: str
    """As the workload calls it."""
    target: str
    """The name by which the outlet finds it."""
    port: int


class Rules:
    """A list of destinations: `host:port`, `*.domain:port`, `address:port`, `network/bits:port`, and peers."""

    def __init__(
        self,
        entries: Iterable[str],
        peers: Iterable[Peer] = (),
        nets: Iterable[str] = (),
        own: Iterable[str] = (),
    ) -> None:
        """`nets` are the networks on which peers are found, `own` the addresses of the engine's machine.

        Raises:
            ValueError: an entry is none of these.
        """
        self.peers = {peer.name: peer for peer in peers}
        self.ports: set[int] = {peer.port for peer in self.peers.values()}
        self._nets = [ipaddress.IPv4Network(each) for each in nets]
        self._own = {ipaddress.IPv4Address(each) for each in own}
        self._names: dict[str, set[int]] = {}
        self._domains: dict[str, set[int]] = {}
        self._networks: list[tuple[ipaddress.IPv4Network, int]] = []
        for entry in entries:
            self._add(entry)

    def _add(self, entry: str) -> None:
        host, colon, port_text = entry.rpartition(":")
        if not colon or not host or not port_text.isascii() or not port_text.isdigit():
            raise ValueError(f"{entry!r:.300} is not host:port")
        port = int(port_text)
        if not 0 < port < 65536:
            raise ValueError(f"{entry!r:.300} has no port")
        self.ports.add(port)
        if host[0].isdigit() and host.replace(".", "").replace("/", "").isdigit():
            self._networks.append((ipaddress.IPv4Network(host), port))
        elif host.startswith("*."):
            self._domains.setdefault(plain(host[2:]), set()).add(port)
        else:
            self._names.setdefault(plain(host), set()).add(port)

    def knows(self, name: str) -> bool:
        """Tell whether a name (in its plain form) is allowed with any port."""
        return len(name) <= LONGEST_NAME and bool(self._ports_of(name))

    def name_allowed(self, name: str, port: int) -> bool:
        """Tell whether a name is allowed with this port."""
        return port in self._ports_of(name)

    def address_allowed(self, address: str, port: int) -> bool:
        """Tell whether an address is named, by itself or by its network, with this port."""
        number = ipaddress.IPv4Address(address)
        if _never(number):
            return False
        if number in self._own:  # named by itself alone
            return (ipaddress.IPv4Network(address), port) in self._networks
        shut = next((network for network, _ in SHUT if number in network), None)
        # What is shut is named only by what lies in it: 0.0.0.0/0 opens no private address.
        return any(
            port == each and number in network and (shut is None or network.subnet_of(shut))
            for network, each in self._networks
        )

    def objection(self, name: str, address: str, port: int) -> str | None:
        """Say why an allowed name may not lead to an address, or None where it may."""
        number = ipaddress.IPv4Address(address)
        if name in self.peers:
            inside = any(number in each for each in self._nets)
            return None if inside else "the peer's name leads out of the network that is shared with it"
        own = ((ipaddress.IPv4Network(each), "this machine's own") for each in self._own)
        for network, what in (*SHUT, *own):
            if number in network:
                named = self.address_allowed(address, port)
                return None if named else f"the name leads to an address that is {what}"
        return None

    def _ports_of(self, name: str) -> set[int]:
        found = set(self._names.get(name, ()))
        if name in self.peers:
            return {self.peers[name].port}
        parent = name.partition(".")[2]
        while parent:
            found |= self._domains.get(parent, set())
            parent = parent.partition(".")[2]
        return found


_NEVER = frozenset(
    map(
        ipaddress.IPv4Network,
        ("0.0.0.0/8", "100.126.0.0/15", "127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4"),
    )
)
"""Where nothing but the outlet itself could be reached."""


def _never(number: ipaddress.IPv4Address) -> bool:
    return any(number in network for network in _NEVER)


def plain(name: str) -> str:
    """Give a name as names are compared: small letters, no dot at its end."""
    return name.rstrip(".").lower()
