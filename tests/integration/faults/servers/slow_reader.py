"""A legacy server over stdio that takes its input a little at a time, so that a long line is long under way.

python slow_reader.py [--rate BYTES] …         bytes a second; 0 = as fast as they come
"""

from __future__ import annotations

import json
import os
import sys
import time

from legacy_stdio import send
from scripted import Script, options

BLOCK = 4096


def main() -> None:
    """Answer until standard input ends."""
    parser = options(__doc__ or "")
    parser.add_argument("--rate", type=int, default=200_000)
    chosen = parser.parse_args()
    script, kept = Script(chosen), b""
    while data := os.read(0, BLOCK):
        if chosen.rate:
            time.sleep(len(data) / chosen.rate)
        *lines, kept = (kept + data).split(b"\n")
        for line in filter(None, lines):
            try:
                message = json.loads(line)
            except ValueError:
                print(f"unreadable line of {len(line)} bytes", file=sys.stderr, flush=True)
            else:
                script.take(message, send)


if __name__ == "__main__":
    main()
