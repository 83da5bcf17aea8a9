"""One reader, fuzzed with coverage as its guide, until the time is over or a check fails. A child of the trial.

    python -m tests.trials.parts.guided READER PLACE SECONDS

It runs under an interpreter that has atheris, which takes the process over and never gives it back. `PLACE/corpus`
holds inputs, found ones are added; what fails is left in `PLACE`.
"""

from __future__ import annotations

import importlib
import random
import sys
from pathlib import Path
from typing import Any

from tests.corpus import kept
from tests.corpus.damage import damaged

LONGEST = 512
"""Bytes of an input: what readers differ on is short."""
_BLIND = 0.3
"""Share of mutations that know nothing of JSON."""


def main(reader: str, place: Path, seconds: str) -> None:
    """Fuzz."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["tidegate.protocol"]):
        readers = importlib.import_module("tests.corpus.readers")
    options = [f"-max_len={LONGEST}", f"-artifact_prefix={place}/", "-rss_limit_mb=1024", "-timeout=20"]
    options += [f"-max_total_time={seconds}", "-print_final_stats=1", str(place / "corpus")]
    others = kept.inputs(reader)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < _BLIND:
            return bytes(atheris.Mutate(data, most))
        return damaged(chance, data, others)[:most]

    atheris.Setup([sys.argv[0], *options], readers.READERS[reader], custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
