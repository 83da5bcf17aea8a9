"""How a command that lets a server work speaks with it: what may be asked, who answers, what is told meanwhile.

Without a user at a terminal, an answer or a root, nothing is declared, so that nothing can be asked.
Sampling is never declared: there is no model here.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidegate.cli.options import pairs
from tidegate.cli.output import say
from tidegate.domain.errors import SettingsError

if TYPE_CHECKING:
    from tidegate.cli.mcp import Client, Manner
    from tidegate.cli.tools import Where

MAX_ROOTS = 100
MAX_TOLD = 500
"""Characters shown of a log message or of progress."""


@dataclass(frozen=True, slots=True)
class Talk:
    """An endpoint, and the manner in which it is spoken to."""

    place: Where
    manner: Manner

    def client(self) -> AbstractAsyncContextManager[Client]:
        """Open a client of it."""
        return self.place.client(self.manner)


@contextmanager
def talk(
    place: Where,
    what: str,
    *,
    no_input: bool,
    answers: Sequence[str] | None,
    roots: Sequence[Path] | None,
    log: str | None,
) -> Generator[Talk]:
    """Understand the options of a command that lets a server work on `what`. At its end, tell what was of no use.

    Raises:
        SettingsError: one of them is wrong.
    """
    from tidegate.cli import terminal
    from tidegate.cli.mcp import Manner
    from tidegate.cli.questions import Questions

    given = pairs(answers or (), "--answer")
    named = [_root(each) for each in roots or ()]
    if len(named) > MAX_ROOTS:
        raise SettingsError(f"--root: more than {MAX_ROOTS} of them")
    user = None if no_input or not terminal.is_there() else terminal.Terminal()
    capabilities = declared(user=user is not None, answers=bool(given), roots=bool(named))
    questions = Questions(what, user, given, named)
    answer = questions.answer if capabilities else None
    progress = terminal.shows_progress()
    notice = _Notices(log=log is not None, progress=progress)
    yield Talk(place, Manner(capabilities, log, progress, notice, answer))
    for name in questions.unused:
        say(f"tidegate: nothing asked for the --answer {name[:200]!r}")


def declared(*, user: bool, answers: bool, roots: bool) -> dict[str, Any]:
    """Give the capabilities that are declared: none but what can be answered."""
    modes: dict[str, Any] = {"form": {}} if user or answers else {}
    if user:
        modes["url"] = {}
    found: dict[str, Any] = {"elicitation": modes} if modes else {}
    return found | ({"roots": {}} if roots else {})


class _Notices:
    """Shows what a server tells while it works."""

    def __init__(self, *, log: bool, progress: bool) -> None:
        self._log = log
        self._progress = progress

    def __call__(self, method: str, params: dict[str, Any]) -> None:
        if method == "notifications/progress" and self._progress:
            total = f" of {params['total']}" if params.get("total") is not None else ""
            message = f": {params['message']}" if params.get("message") else ""
            _tell(f"{params.get('progress')}{total}{message}")
        elif method == "notifications/message" and self._log:
            data = params.get("data")
            text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
            _tell(f"[{params.get('level')}] {text}")


def _tell(line: str) -> None:
    say("  " + " ".join(line[:MAX_TOLD].split()))


def _root(path: Path) -> dict[str, Any]:
    try:
        there = path.resolve(strict=True)
    except (OSError, RuntimeError):
        raise SettingsError(f"--root: {path}: there is no such directory") from None
    if not there.is_dir():
        raise SettingsError(f"--root: {path}: is no directory")
    return {"uri": there.as_uri(), "name": there.name or "/"}
