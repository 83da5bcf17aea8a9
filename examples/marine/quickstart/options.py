"""What `scripts/quickstart` was asked for, and the ways in which it can end.

At import it must not need anything beyond the standard library: options are read before anything is installed.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

DESCRIPTION = """\
Start tidegate at http://127.0.0.1:8080/mcp with three published MCP servers behind it (time, git, sqlite),
each in a container of its own where a Docker Engine answers, else each in a sandboxed process. One call is made
and its answer checked; then the gateway serves until Ctrl-C. Everything it makes is under .quickstart/ and .venv/."""


class Failure(Exception):
    """What stands in the way, and what to do about it, in one line."""


class Interrupted(BaseException):
    """Ctrl-C, or a signal that asks for the end. Not an Exception, as KeyboardInterrupt is none."""


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for on the command line."""

    once: bool
    port: int
    runtime: str | None
    yes: bool


class Shown(Exception):
    """The help was asked for and has been printed."""


def parse(argv: list[str]) -> tuple[Options, bool]:
    """Give the options, and whether to stop after reading them. Wrong ones end the program with status 2."""
    parser = argparse.ArgumentParser(
        "scripts/quickstart", description=DESCRIPTION, add_help=False, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("-h", "--help", action="store_true", help="show this and end")
    parser.add_argument(
        "--once", action="store_true", help="end after the call, with status 0 where it went well"
    )
    parser.add_argument("--port", type=_port, default=8080, metavar="N", help="listen here instead of 8080")
    parser.add_argument(
        "--runtime", choices=("docker", "process"),
        help="containers or sandboxed processes; docker offers to install an engine on Debian and Ubuntu",
    )  # fmt: skip
    parser.add_argument("--yes", action="store_true", help="do not ask before installing Debian packages")
    parser.add_argument("--only-parse", action="store_true", help=argparse.SUPPRESS)
    read = parser.parse_args(argv)
    if read.help:
        parser.print_help()
        raise Shown
    return Options(read.once, read.port, read.runtime, read.yes), read.only_parse


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: a number from 1 to 65535")
    return int(text)
