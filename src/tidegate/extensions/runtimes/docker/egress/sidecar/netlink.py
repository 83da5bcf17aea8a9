"""Netlink: the few requests by which a network name space is furnished (rtnetlink(7)). The base has no `ip`."""

from __future__ import annotations

import os
import socket
import struct

_NEWLINK, _NEWADDR, _NEWROUTE, _NEWRULE, _ERROR = 16, 20, 24, 32, 2
_REQUEST, _ACK, _REPLACE, _EXCLUSIVE, _CREATE = 0x1, 0x4, 0x100, 0x200, 0x400
_NEW = _REQUEST | _ACK | _CREATE | _EXCLUSIVE
_UNICAST, _LOCAL = 1, 2
_HOST_SCOPE = 254
_TO_TABLE = 1


class Netlink:
    """A way to ask the kernel. Needs CAP_NET_ADMIN; blocking."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        self._socket.settimeout(5.0)
        self._sequence = 0

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def cable(self, name: str, far: str, pid: int) -> None:
        """Make a pair of virtual interfaces: `name` here, `far` in the name space of a process."""
        peer = _link(0, 0, 0) + _attribute(3, far.encode() + b"\0") + _attribute(19, struct.pack("=I", pid))
        information = _attribute(1, b"veth\0") + _attribute(2, _attribute(1, peer))
        body = _link(0, 0, 0) + _attribute(3, name.encode() + b"\0") + _attribute(18, information)
        self._ask(_NEWLINK, _NEW, body)

    def up(self, index: int) -> None:
        """Switch an interface on."""
        self._ask(_NEWLINK, _REQUEST | _ACK, _link(index, 1, 1))

    def address(self, index: int, address: str, bits: int) -> None:
        """Give an interface an IPv4 address."""
        raw = socket.inet_aton(address)
        body = struct.pack("=BBBBi", socket.AF_INET, bits, 0, 0, index)
        self._ask(_NEWADDR, _NEW, body + _attribute(2, raw) + _attribute(1, raw))

    def gateway(self, index: int, address: str) -> None:
        """Send everything for elsewhere to an address, whatever it was sent to before."""
        head = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 254, 4, 0, _UNICAST, 0)
        body = head + _attribute(5, socket.inet_aton(address)) + _attribute(4, struct.pack("=i", index))
        # Engines give a network with companions a way out too, which leads to nobody.
        self._ask(_NEWROUTE, _REQUEST | _ACK | _CREATE | _REPLACE, body)

    def keep(self, interface: str, table: int) -> None:
        """Take everything that comes over an interface for one's own, whatever address it is for."""
        loopback = struct.pack("=i", socket.if_nametoindex("lo"))
        head = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, table, 4, _HOST_SCOPE, _LOCAL, 0)
        self._ask(_NEWROUTE, _NEW, head + _attribute(4, loopback))
        head = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, table, 0, 0, _TO_TABLE, 0)
        name = _attribute(3, interface.encode() + b"\0")
        self._ask(_NEWRULE, _NEW, head + name + _attribute(6, struct.pack("=I", 100)))

    def _ask(self, kind: int, flags: int, body: bytes) -> None:
        self._sequence += 1
        head = struct.pack("=IHHII", 16 + len(body), kind, flags, self._sequence, 0)
        self._socket.send(head + body)
        answer = self._socket.recv(8192)
        length, kind, _, sequence, _ = struct.unpack_from("=IHHII", answer)
        if kind != _ERROR or sequence != self._sequence or length < 20:
            raise OSError("the kernel answered a netlink request with something else")
        (code,) = struct.unpack_from("=i", answer, 16)
        if code:
            raise OSError(-code, os.strerror(-code))


def _link(index: int, flags: int, change: int) -> bytes:
    return struct.pack("=BBHiII", socket.AF_UNSPEC, 0, 0, index, flags, change)


def _attribute(kind: int, data: bytes) -> bytes:
    length = 4 + len(data)
    return struct.pack("=HH", length, kind) + data + b"\0" * (-length % 4)
