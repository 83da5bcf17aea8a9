"""Records of workloads, and the processes they name."""

import os
from pathlib import Path

import pytest

from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.workload import WorkloadIdentity, WorkloadKey
from tidegate.extensions.runtimes.process import records, tree
from tidegate.extensions.runtimes.process.records import Record

IDENTITY = WorkloadIdentity(
    "tg-a-00000001", "0" * 16, WorkloadKey("a", "1" * 16, "shared+form.url", "form.url")
)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = Record(IDENTITY, 7, 42, "boot", {"sandbox": "x"})
    records.write(tmp_path, record)
    assert records.read(tmp_path, IDENTITY.id) == record
    assert list(records.every(tmp_path)) == [record]
    records.forget(tmp_path, IDENTITY.id)
    records.forget(tmp_path, IDENTITY.id)
    assert list(records.every(tmp_path)) == []


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"labels": {}}', "\xff"])
def test_a_record_that_is_not_whole_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / f"{IDENTITY.id}.json").write_text(text, encoding="latin-1")
    assert records.read(tmp_path, IDENTITY.id) is None


@pytest.mark.parametrize("name", ["../a", "a/b", "", ".hidden", "a\n", "a" * 200])
def test_an_id_that_could_be_a_path_is_refused(name: str) -> None:
    with pytest.raises(RuntimeFailure):
        records.checked(WorkloadIdentity(name, "0" * 16, IDENTITY.key))


def test_a_process_is_known_by_its_id_and_start() -> None:
    own = tree.look(os.getpid())
    assert own is not None
    assert own.parent == os.getppid()
    assert own.started > 0
    assert tree.look(2**22 + 1) is None
    assert os.getpid() in tree.below(os.getppid())
    assert tree.tasks_of(os.geteuid()) >= 1
