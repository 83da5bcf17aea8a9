"""The user at a terminal: lines shown on standard error, lines typed on standard input.

Standard output stays for results. A wait for a line can be cancelled, which `input` cannot: an
interrupt then ends the command at once. It must not know what it asks.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Protocol

from tidegate.cli.output import harmless

MAX_LINE = 4096
"""Bytes of a line that a terminal gives at once (Linux, N_TTY_BUF_SIZE)."""


class User(Protocol):
    """Who can be shown lines and asked for them."""

    def show(self, line: str) -> None:
        """Show a line, made harmless."""
        ...

    async def ask(self, prompt: str) -> str | None:
        """Ask for a line; None where there will be no more."""
        ...


class Terminal:
    """The user at the terminal of this process."""

    def show(self, line: str) -> None:
        """Show a line, made harmless."""
        print(harmless(line), file=sys.stderr, flush=True)

    async def ask(self, prompt: str) -> str | None:
        """Ask for a line; None where there will be no more."""
        print(harmless(prompt), end="", file=sys.stderr, flush=True)
        descriptor = sys.stdin.fileno()
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(descriptor, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(descriptor)
        try:
            # A terminal is ready when a whole line is there, or its end.
            data = os.read(descriptor, MAX_LINE)
        except OSError:
            data = b""  # the terminal is gone
        if not data:
            self.show("")
            return None
        return data.decode("utf-8", "replace").rstrip("\r\n")


def is_there() -> bool:
    """Tell whether a user is at a terminal who sees what is asked and can answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def shows_progress() -> bool:
    """Tell whether standard error is a terminal, where what goes on is worth a line."""
    return sys.stderr.isatty()
