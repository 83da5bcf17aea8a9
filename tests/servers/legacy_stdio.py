"""A legacy MCP server over lines on stdin and stdout, exactly scripted. See `scripted` for its tools.

Standard library only; it must run in any Python image.

    python legacy_stdio.py [--revision 2024-11-05] [--tools N --page N] [--start-delay S] …
"""

from __future__ import annotations

import json
import sys
import threading
import time

from scripted import Message, Script, options

writing = threading.Lock()


def send(message: Message) -> None:
    """Write one line, whole."""
    line = json.dumps(message, separators=(",", ":"))
    with writing:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def main() -> None:
    """Answer until standard input ends."""
    chosen = options(__doc__ or "").parse_args()
    time.sleep(chosen.start_delay)
    print("legacy_stdio is up", file=sys.stderr, flush=True)
    script = Script(chosen)
    for line in sys.stdin:
        if not line.strip():
            continue
        try:
            message = json.loads(line)
        except ValueError:
            send({"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "parse error"}})
            continue
        script.take(message, send)


if __name__ == "__main__":
    main()
