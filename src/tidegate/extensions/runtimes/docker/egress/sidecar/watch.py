"""Watch: sees what a workload sends over its cable, and refuses what is not for the outlet.

The kernel hands over copies of packets that begin something: TCP's first, UDP, the rest. What nobody listens for is
answered with ICMP "prohibited" (RFC 1812, 5.2.7.1), so that a program is told at once and does not wait.
"""

from __future__ import annotations

import array
import socket
import struct
from collections.abc import Callable

_IP = 0x0800
_TCP, _UDP, _ICMP, _IGMP = 6, 17, 1, 2
_OUTGOING = 4
_ATTACH_FILTER = 26
_LONGEST = 128
_AT_ONCE = 64

# Classic BPF (Linux, Documentation/networking/filter.rst): code, jump if true, jump if false, value.
_FILTER = (
    (0x28, 0, 0, 12),  # ethertype
    (0x15, 0, 9, _IP),
    (0x30, 0, 0, 23),  # protocol
    (0x15, 0, 6, _TCP),
    (0x28, 0, 0, 20),  # a later fragment has no ports
    (0x45, 5, 0, 0x1FFF),
    (0xB1, 0, 0, 14),  # length of the header
    (0x50, 0, 0, 27),  # TCP's flags
    (0x54, 0, 0, 0x12),  # SYN and ACK
    (0x15, 0, 1, 0x02),
    (0x06, 0, 0, _LONGEST),
    (0x06, 0, 0, 0),
)

Judge = Callable[[str, str, int], str | None]
"""Takes protocol, address and port; gives why it is refused, or None."""


def open_watch(interface: str) -> socket.socket:
    """Open a socket that sees what comes over an interface. Needs CAP_NET_RAW."""
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    packets.setblocking(False)
    code = array.array("B", b"".join(struct.pack("=HBBI", *line) for line in _FILTER))
    place, _ = code.buffer_info()
    packets.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("@HP", len(_FILTER), place))
    packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 * 1024)
    packets.bind((interface, _IP))
    return packets


class Watch:
    """Looks at what came, and answers what is refused."""

    def __init__(self, packets: socket.socket, own: str, judge: Judge) -> None:
        self._packets = packets
        self._own = socket.inet_aton(own)
        self._judge = judge

    def look(self) -> None:
        """Take what has come, a bounded number of packets at once."""
        for _ in range(_AT_ONCE):
            try:
                frame, (_, _, kind, *_) = self._packets.recvfrom(_LONGEST)
            except BlockingIOError:
                return
            if kind != _OUTGOING and len(frame) >= 34:
                self._one(frame)

    def _one(self, frame: bytes) -> None:
        protocol, target = frame[23], socket.inet_ntoa(frame[30:34])
        if struct.unpack_from(">H", frame, 20)[0] & 0x1FFF or protocol == _IGMP:
            return
        begin = 14 + (frame[14] & 0xF) * 4
        if len(frame) < begin + 4:
            return
        if protocol == _ICMP and frame[begin] != 8:  # answers and errors begin nothing
            return
        (port,) = struct.unpack_from(">H", frame, begin + 2) if protocol in (_TCP, _UDP) else (0,)
        name = {_TCP: "tcp", _UDP: "udp", _ICMP: "icmp"}.get(protocol, f"protocol {protocol}")
        if self._judge(name, target, port) is not None:
            try:
                self._packets.send(prohibited(frame, begin, self._own))
            except OSError:
                pass  # the cable is full or gone; what is refused is refused all the same


def prohibited(frame: bytes, begin: int, own: bytes) -> bytes:
    """Give the frame that answers one with "communication administratively prohibited"."""
    quoted = frame[14 : begin + 8]
    body = struct.pack(">BBHI", 3, 13, 0, 0) + quoted
    body = body[:2] + struct.pack(">H", _sum(body)) + body[4:]
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 0, 0, 64, _ICMP, 0, own, frame[26:30])
    head = head[:10] + struct.pack(">H", _sum(head)) + head[12:]
    return frame[6:12] + frame[:6] + frame[12:14] + head + body


def _sum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
