"""Small damage to inputs that are almost right, which gets further into a reader than noise does."""

from __future__ import annotations

import random
from collections.abc import Sequence

TOKENS = [
    b'"jsonrpc":"2.0"', b'"id":1', b'"id":null', b'"method":"tools/call"', b'"method":"x"', b'"params":{', b'"name":"t"',
    b'"_meta":{', b'"arguments":[', b'"result":{', b'"error":{"code":1}', b'"isError":true', b'"resultType":"complete"',
    b"{", b"}", b"[", b"]", b",", b":", b" ", b"\n", b"\r", b'"', b"\\", b"\\u0061", b"\\ud800", b"\xff", b"\xef\xbb\xbf",
    b"1e400", b"-0", b"NaN", b"null", b"true", b"data: ", b"id: ", b"event: x", b"\0", b"=?base64?", b"?=", b"YQ==",
]  # fmt: skip
"""Parts of which messages are made, and oddities."""


def damaged(chance: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Change, cut, double or cross an input a little."""
    made = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        at = chance.randint(0, len(made))
        match chance.randrange(5):
            case 0:
                made[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                made[at:at] = chance.choice(TOKENS)
            case 2:
                del made[at : at + chance.randint(1, 8)]
            case 3:
                made[at:at] = made[at : at + chance.randint(1, 24)]
            case _:
                other = chance.choice(others)
                made[at:] = other[chance.randint(0, len(other)) :]
    return bytes(made)
