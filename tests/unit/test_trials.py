"""The trials' index: each trial is in it, with a link to its report where one is kept."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "docs" / "trials"


def test_every_trial_is_in_the_index_with_its_report_where_one_is_kept() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", (KEPT / "README.md").read_text(), re.MULTILINE))
    trials = sorted(each.stem for each in (ROOT / "tests" / "trials").glob("[a-z]*.py"))
    assert sorted(rows) == trials
    for name in trials:
        kept = (KEPT / f"{name}.md").is_file()
        assert rows[name] == (f"[{name}]({name}.md)" if kept else "none kept yet"), name
