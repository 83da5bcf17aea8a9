"""A legacy MCP server over stdin and stdout in versions: one that is as it should be, and ones that are bad.

Standard library only; as `legacy_stdio`, but for `--bad`.

    python versions.py [--version N] [--bad exits|fails] [--needs PATH] …

With `--needs` it does not start where there is nothing at that path.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from pathlib import Path

from legacy_stdio import send
from scripted import Message, Script, Send, options, result


class Version(Script):
    """Answers as a version does."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        super().__init__(chosen)
        self._tools["version"] = (lambda call: str(chosen.version), {"type": "object"})

    def take(self, message: Message, send: Send) -> threading.Thread | None:
        """Answer a message."""
        if self.chosen.bad == "fails" and message.get("method") == "tools/call":
            broken = [{"type": "text", "text": "this version is broken"}]
            send(result(message, {"content": broken, "isError": True}))
            return None
        return super().take(message, send)


def main() -> None:
    """Answer until standard input ends."""
    parser = options(__doc__ or "")
    parser.add_argument("--version", type=int, default=1)
    parser.add_argument("--bad", choices=["no", "exits", "fails"], default="no")
    parser.add_argument("--needs", type=Path, default=Path("/"))
    chosen = parser.parse_args()
    if chosen.bad == "exits":
        sys.exit("this version does not start")
    if not chosen.needs.exists():
        sys.exit(f"does not start without {chosen.needs}")
    script = Version(chosen)
    for line in sys.stdin:
        if line.strip():
            script.take(json.loads(line), send)


if __name__ == "__main__":
    main()
