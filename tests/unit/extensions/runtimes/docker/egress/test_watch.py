"""What is seen of packets, and the answer to those that are refused."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field
from typing import cast

import pytest

from tidegate.extensions.runtimes.docker.egress.sidecar.watch import Watch, prohibited

OWN, CELL, TARGET = "100.127.255.1", "100.127.255.2", "192.0.2.9"
HOST, OUTGOING = 0, 4


def frame(protocol: int, payload: bytes, fragment: int = 0) -> bytes:
    head = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, fragment, 64, protocol, 0,
        socket.inet_aton(CELL), socket.inet_aton(TARGET),
    )  # fmt: skip
    return b"\x02" * 6 + b"\x04" * 6 + b"\x08\x00" + head + payload


def begin(port: int) -> bytes:
    return frame(6, struct.pack(">HHIIBBHHH", 40000, port, 1, 0, 0x50, 0x02, 1000, 0, 0))


@dataclass
class Cable:
    """A packet socket with packets in it."""

    come: list[tuple[bytes, tuple[str, int, int, int, bytes]]]
    sent: list[bytes] = field(default_factory=list[bytes])

    def recvfrom(self, _: int) -> tuple[bytes, tuple[str, int, int, int, bytes]]:
        if not self.come:
            raise BlockingIOError
        return self.come.pop(0)

    def send(self, data: bytes) -> int:
        self.sent.append(data)
        return len(data)


def look(
    packet: bytes, kind: int = HOST, why: str | None = "no"
) -> tuple[list[tuple[str, str, int]], list[bytes]]:
    cable = Cable([(packet, ("cell", 0x800, kind, 1, b""))])
    judged: list[tuple[str, str, int]] = []

    def judge(protocol: str, address: str, port: int) -> str | None:
        judged.append((protocol, address, port))
        return why

    Watch(cast("socket.socket", cable), OWN, judge).look()
    return judged, cable.sent


def check(data: bytes) -> int:
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    return (total & 0xFFFF) + (total >> 16)


@pytest.mark.parametrize(
    ("packet", "seen"),
    [
        (begin(443), ("tcp", TARGET, 443)),
        (frame(17, struct.pack(">HHHH", 4000, 53, 8, 0)), ("udp", TARGET, 53)),
        (frame(1, b"\x08\0\0\0\0\0\0\0"), ("icmp", TARGET, 0)),
        (frame(47, b"\0" * 8), ("protocol 47", TARGET, 0)),
    ],
)
def test_what_begins_something_is_judged_and_answered_where_it_is_refused(
    packet: bytes, seen: tuple[str, str, int]
) -> None:
    judged, [answer] = look(packet)
    assert judged == [seen]
    assert answer == prohibited(packet, 34, socket.inet_aton(OWN))
    assert look(packet, why=None) == ([seen], [])


def test_the_answer_quotes_what_is_refused_and_adds_up() -> None:
    packet = begin(443)
    answer = prohibited(packet, 34, socket.inet_aton(OWN))
    assert answer[:14] == packet[6:12] + packet[:6] + packet[12:14]
    assert (answer[26:30], answer[30:34]) == (socket.inet_aton(OWN), socket.inet_aton(CELL))
    assert (answer[34], answer[35]) == (3, 13)
    assert answer[42:] == packet[14:42]
    assert check(answer[14:34]) == check(answer[34:]) == 0xFFFF


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        frame(17, b""),
        frame(17, struct.pack(">HHHH", 1, 53, 8, 0), fragment=5),
        frame(1, b"\x03\x03\0\0\0\0\0\0"),
        frame(2, b"\0" * 8),
    ],
)
def test_what_begins_nothing_is_passed_over(packet: bytes) -> None:
    assert look(packet) == ([], [])


def test_what_the_outlet_sends_itself_is_passed_over() -> None:
    assert look(begin(443), OUTGOING) == ([], [])
