"""What of a trial's kept report stands on the benchmark's page."""

from __future__ import annotations

from pathlib import Path

from bench.results import tried


def test_the_first_table_of_a_kept_report_is_taken_and_nothing_else(tmp_path: Path) -> None:
    report = "# Trial: many\n\nWords.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n- More.\n\n| other | table |\n|---|---|\n"
    (tmp_path / "many.md").write_text(report)
    lines = list(tried("many", "With many", tmp_path))
    assert [line for line in lines if line.startswith("|")] == ["| a | b |", "|---|---|", "| 1 | 2 |"]
    assert "### With many" in lines
    assert any("trials/many.md" in line for line in lines)


def test_without_a_report_nothing_is_said(tmp_path: Path) -> None:
    assert list(tried("many", "With many", tmp_path)) == []
