"""Names: the resolver that a workload asks. It answers from the list and asks nobody.

An allowed name gets an address of the outlet's own, so that a later connection to it tells which name was
meant, whatever protocol it speaks. Where the name leads to is looked up when somebody connects.
RFC 1035; what is not understood is refused.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Callable

from tidegate.extensions.runtimes.docker.egress.sidecar.rules import LONGEST_NAME, Rules, plain

FIRST = ipaddress.IPv4Address("100.126.0.1")
MOST = 1024
"""Names that get an address in the life of one outlet."""
_HOST = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
"""What hosts are called. Who looks a name up may end it at a NUL, and so look up another one than was judged."""
_A, _ANY, _INTERNET = 1, 255, 1
_TTL = 60
_OK, _FORMAT, _NO_SUCH, _NOT_DONE, _REFUSED = 0, 1, 3, 4, 5

Refused = Callable[[str, str], None]
"""Takes a name that was refused, and why."""


class Names:
    """Which address stands for which name."""

    def __init__(self, rules: Rules, refused: Refused) -> None:
        self._rules = rules
        self._refused = refused
        self._by_name: dict[str, str] = {}
        self._by_address: dict[str, str] = {}

    def name_of(self, address: str) -> str | None:
        """Give the name that an address stands for."""
        return self._by_address.get(address)

    def answer(self, query: bytes) -> bytes | None:
        """Answer a query, or None where it is not one."""
        if len(query) < 12 or len(query) > 512:
            return None
        ident, flags, questions = struct.unpack_from(">HHH", query)
        if flags & 0x8000:
            return None
        if flags & 0x7800:
            return _reply(ident, flags, _NOT_DONE, b"")
        try:
            name, end = _read_name(query)
            kind, network = struct.unpack_from(">HH", query, end)
        except (ValueError, IndexError, struct.error):
            return _reply(ident, flags, _FORMAT, b"")
        question = query[12 : end + 4]
        if questions != 1 or network != _INTERNET:
            return _reply(ident, flags, _REFUSED, question)
        if not (_HOST.fullmatch(name) and self._rules.knows(name)):
            long = len(name) > LONGEST_NAME
            self._refused(name, "the name is too long" if long else "the name is not on the list")
            return _reply(ident, flags, _NO_SUCH, question)
        address = self._address_for(name)
        if address is None:
            self._refused(name, f"more than {MOST} names were asked for")
            return _reply(ident, flags, _REFUSED, question)
        if kind not in (_A, _ANY):
            return _reply(ident, flags, _OK, question)
        return _reply(ident, flags, _OK, question, ipaddress.IPv4Address(address).packed)

    def _address_for(self, name: str) -> str | None:
        address = self._by_name.get(name)
        if address is None and len(self._by_name) < MOST:
            address = str(FIRST + len(self._by_name))
            self._by_name[name], self._by_address[address] = address, name
        return address


def _read_name(query: bytes) -> tuple[str, int]:
    labels: list[str] = []
    at = 12
    while length := query[at]:
        if length > 63 or at + 1 + length >= len(query):
            raise ValueError("no name")
        labels.append(query[at + 1 : at + 1 + length].decode("ascii"))
        at += 1 + length
    return plain(".".join(labels)), at + 1


def _reply(ident: int, flags: int, code: int, question: bytes, address: bytes | None = None) -> bytes:
    # An answer, with recursion "available"; RD as it was asked.
    head = (ident, 0x8080 | (flags & 0x7900) | code, bool(question), address is not None, 0, 0)
    answer = b""
    if address is not None:
        answer = struct.pack(">HHHIH", 0xC00C, _A, _INTERNET, _TTL, 4) + address
    return struct.pack(">HHHHHH", *head) + question + answer
