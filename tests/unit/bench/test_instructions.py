"""Counting instructions: what is said where they cannot be counted."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench import instructions
from bench.connection import Failed


async def test_without_valgrind_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Failed, match="Debian's package valgrind"):
        await instructions.count()
