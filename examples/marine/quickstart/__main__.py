"""The command line of `scripts/quickstart`. It must not import what is not installed yet before it has to."""

from __future__ import annotations

import signal
import sys
from types import FrameType

from examples.marine.quickstart.options import Failure, Interrupted, Shown, parse

HELP_WAS_SHOWN = 3


def main(argv: list[str]) -> int:
    """Run the command; give its status: 0 well, 1 not, 2 wrong options, 3 help was shown."""
    try:
        options, only_parse = parse(argv)
    except Shown:
        return HELP_WAS_SHOWN
    if only_parse:
        return 0
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    from examples.marine.quickstart import story  # needs what has been installed by now
    from examples.marine.quickstart.place import Place

    try:
        story.tell(options, Place())
    except Failure as failure:
        sys.stderr.write(f"quickstart: {failure}\n")
        return 1
    except Interrupted:
        sys.stderr.write("quickstart: interrupted\n")
        return 130
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise Interrupted


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
