"""Times as people write and read them on the command line."""

from __future__ import annotations

import time

from tidegate.domain.errors import SettingsError


def moment(seconds: float) -> str:
    """Say a moment (Unix seconds) in this machine's own time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def duration(text: str, option: str, longest: float, words: str) -> float:
    """Give the seconds that an option says (`2h`), at most `longest`, which is `words` to people.

    Raises:
        SettingsError: it is none, or is too long.
    """
    from tidegate.settings.values import parse_duration

    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise SettingsError(f"{option}: {error}") from None
    if not 0 < seconds <= longest:
        raise SettingsError(f"{option}: should be between a moment and {words}")
    return seconds
