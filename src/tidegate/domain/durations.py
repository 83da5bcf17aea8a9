"""Durations as people write them: `90s`, `15m`, `200ms`."""

from __future__ import annotations

import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?) ?(ms|s|m|h|d)")


def seconds(value: object) -> float:
    """Give a duration in seconds: a number of them, or text.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    match = DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('should be a duration: a number of seconds, or text such as "90s", "15m" or "2h"')
    return float(match[1]) * _SECONDS[match[2]]
