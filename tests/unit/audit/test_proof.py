"""A single record can be proved against the root that the journal keeps."""

import dataclasses
import json
from pathlib import Path

import pytest
from journals import call, open_journal, records

from tidegate.audit.proof import prove_record
from tidegate.domain.errors import JournalUnavailable


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    journal = open_journal(tmp_path, segment_size=5000)
    for number in range(30):
        call(journal, f"c{number}")
    journal.close()
    return tmp_path


def test_every_record_of_a_segment_is_proved_by_the_root_that_is_kept_of_it(directory: Path) -> None:
    roots = [record for record in records(directory) if record.get("part") == "root"]
    assert len(roots) >= 3
    for kept in roots:
        for sequence in range(kept["first"], kept["first"] + kept["count"]):
            proof = prove_record(directory, "w", sequence)
            assert json.loads(proof.line)["seq"] == sequence
            assert proof.holds(kept["root"])


def test_a_changed_record_or_another_place_is_not_proved(directory: Path) -> None:
    proof = prove_record(directory, "w", 4)
    assert proof.holds(proof.root)
    assert not dataclasses.replace(proof, line=proof.line.replace(b"alice", b"mallo")).holds(proof.root)
    assert not dataclasses.replace(proof, index=proof.index + 1).holds(proof.root)
    assert not proof.holds("0" * 64)


@pytest.mark.parametrize(("writer", "sequence"), [("w", 0), ("w", 10**6), ("other", 1)])
def test_there_is_no_proof_of_a_record_that_is_not_there(directory: Path, writer: str, sequence: int) -> None:
    with pytest.raises(JournalUnavailable, match="has no record"):
        prove_record(directory, writer, sequence)
