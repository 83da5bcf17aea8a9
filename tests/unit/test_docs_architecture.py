"""The page on the architecture names every module of the gateway package, and no other."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_module_of_the_gateway_package_stands_in_its_table_once() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    section = page.partition("\n## The gateway package\n")[2].partition("\n## ")[0]
    told = [
        name
        for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    ]
    there = {path.stem for path in (ROOT / "src" / "tidegate" / "gateway").glob("*.py")} - {"__init__"}
    assert sorted(told) == sorted(there)
