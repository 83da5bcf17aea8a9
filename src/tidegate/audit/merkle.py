"""RFC 6962 Merkle tree hash and inclusion proofs over the lines of a segment. No files here."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

EMPTY = sha256(b"").digest()
"""Root of no leaves (RFC 6962, 2.1)."""


def leaf_hash(line: bytes) -> bytes:
    """Hash one leaf. The prefixes of leaf and node differ, so that one cannot pass for the other."""
    return sha256(b"\x00" + line).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash an inner node."""
    return sha256(b"\x01" + left + right).digest()


class Tree:
    """Root of a growing list of leaves, in memory for log2 of their number."""

    __slots__ = ("_count", "_peaks")

    def __init__(self) -> None:
        self._count = 0
        self._peaks: list[bytes] = []

    def add(self, line: bytes) -> None:
        """Append a leaf."""
        node = sha256(b"\x00" + line).digest()
        peaks = self._peaks
        count = self._count
        while count & 1:
            node = sha256(b"\x01" + peaks.pop() + node).digest()
            count >>= 1
        peaks.append(node)
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def root(self) -> bytes:
        """Give the tree hash of the leaves so far."""
        if not self._peaks:
            return EMPTY
        node = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            node = node_hash(peak, node)
        return node


def prove(hashes: Sequence[bytes], index: int) -> list[bytes]:
    """Give the audit path of leaf `index` among leaf hashes (RFC 6962, 2.1.1), nearest sibling first."""
    if not 0 <= index < len(hashes):
        raise IndexError(f"no leaf {index} among {len(hashes)}")
    path: list[bytes] = []
    level = list(hashes)
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        # An odd last node moves up as it is: the same tree as the recursive definition's.
        paired = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = paired + level[len(level) - len(level) % 2 :]
        index >>= 1
    return path


def root_from(leaf: bytes, index: int, count: int, path: Sequence[bytes]) -> bytes | None:
    """Give the root that `path` leads to from a leaf's hash, or None where its length cannot be right."""
    if not 0 <= index < count:
        return None
    node, last, rest = leaf, count - 1, list(path)
    while last:
        if index & 1 or index < last:
            if not rest:
                return None
            sibling = rest.pop(0)
            node = node_hash(sibling, node) if index & 1 else node_hash(node, sibling)
        index >>= 1
        last >>= 1
    return node if not rest else None
