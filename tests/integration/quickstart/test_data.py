"""The example's data: the same each time, and fit to ask questions of."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from examples.marine import database, repository


def ask(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


@pytest.fixture(scope="module")
def marine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("marine") / "marine.db"
    database.write(path)
    return path


def test_the_database_is_the_same_each_time(marine: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.db"
    database.write(again)
    for table in ("vessels", "policies", "claims"):
        assert ask(marine, f"SELECT * FROM {table}") == ask(again, f"SELECT * FROM {table}")


def test_there_are_a_few_hundred_rows_and_every_reference_holds(marine: Path) -> None:
    counts = [
        ask(marine, f"SELECT count(*) FROM {table}")[0][0] for table in ("vessels", "policies", "claims")
    ]
    assert counts == [database.VESSELS, database.POLICIES, database.CLAIMS]
    assert sum(int(str(count)) for count in counts) > 300
    assert ask(marine, "PRAGMA foreign_key_check") == []


def test_imo_numbers_carry_the_check_digit_of_the_resolution(marine: Path) -> None:
    assert database.imo_number(907472) == 9074729  # the example that is given for the scheme
    for (number,) in ask(marine, "SELECT imo FROM vessels"):
        digits = [int(digit) for digit in str(number)]
        assert (
            sum(digit * weight for digit, weight in zip(digits, (7, 6, 5, 4, 3, 2), strict=False)) % 10
            == digits[6]
        )


def test_no_claim_is_older_than_its_policy_or_larger_than_its_cover(marine: Path) -> None:
    wrong = ask(
        marine,
        "SELECT claims.number FROM claims JOIN policies ON policies.number = policy"
        " WHERE loss_date < inception OR loss_date > expiry OR reserve + paid > sum_insured",
    )
    assert wrong == []


def test_what_stood_in_the_databases_place_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "marine.db"
    path.write_bytes(b"half a file")
    database.write(path)
    assert ask(path, "SELECT count(*) FROM vessels") == [(database.VESSELS,)]
    assert [entry.name for entry in tmp_path.iterdir()] == ["marine.db"]


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no program git")
def test_the_repository_is_the_same_each_time_whoever_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads: list[str] = []
    for name, author in (("one", "Somebody"), ("two", "Somebody Else")):
        monkeypatch.setenv("GIT_AUTHOR_NAME", author)
        repository.write(tmp_path / name)
        log = ["git", "-C", str(tmp_path / name), "log", "--format=%H %an %s"]
        heads.append(subprocess.run(log, check=True, capture_output=True, text=True).stdout)
    assert heads[0] == heads[1]
    assert len(heads[0].splitlines()) == len(repository.HISTORY)
