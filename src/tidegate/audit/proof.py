"""Prove that one record was in a segment, to someone who has only the segment's root. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tidegate.audit.merkle import leaf_hash, prove, root_from
from tidegate.audit.segment import lines, segments
from tidegate.domain.errors import JournalUnavailable


@dataclass(frozen=True, slots=True)
class Proof:
    """A record, and the way from it to its segment's Merkle root."""

    line: bytes
    """The record as it stands in the file, without its line end."""
    index: int
    count: int
    path: tuple[str, ...]
    """Hashes in hexadecimal, nearest sibling first (RFC 6962, 2.1.1)."""
    root: str

    def holds(self, root: str) -> bool:
        """Tell whether the record was in the segment that has this root."""
        path = [bytes.fromhex(node) for node in self.path]
        found = root_from(leaf_hash(self.line), self.index, self.count, path)
        return found is not None and found.hex() == root


def prove_record(directory: Path, writer: str, sequence: int) -> Proof:
    """Prove the record with this number.

    The last segment still grows: a proof in it holds against the root that the proof itself states,
    and against the recorded one once the segment is left.

    Raises:
        JournalUnavailable: there is no such record, or it cannot be read.
    """
    try:
        files = [file for file in segments(directory, writer) if file.first <= sequence]
        found = [line.removesuffix(b"\n") for line in lines(files[-1].path)] if files else []
    except OSError as error:
        raise JournalUnavailable(f"the journal cannot be read: {error}") from error
    index = sequence - files[-1].first if files else -1
    if not 0 <= index < len(found):
        raise JournalUnavailable(f"the journal of {writer!r} has no record {sequence}")
    hashes = [leaf_hash(line) for line in found]
    path = prove(hashes, index)
    root = root_from(hashes[index], index, len(hashes), path) or b""
    return Proof(found[index], index, len(hashes), tuple(node.hex() for node in path), root.hex())
