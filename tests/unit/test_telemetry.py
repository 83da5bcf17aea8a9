"""What is logged cannot pose as another line, nor command the terminal that shows it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
import structlog

from tidegate.telemetry import configure_logs, log

EVIL = "a\x1b]0;title\x07\r\n2026-01-01 [info] gateway.started\u202e\x9b2J"


@pytest.fixture
def told() -> Iterator[io.StringIO]:
    """A log of its own, and the one before after it."""
    before = structlog.get_config()
    yield io.StringIO()
    structlog.configure(**before)


@pytest.mark.parametrize("value", [EVIL, EVIL.replace(" ", ""), "\x1b[2J"])
def test_a_value_with_control_characters_stays_one_line_of_plain_text(told: io.StringIO, value: str) -> None:
    configure_logs("console", "info", told)
    log().warning("call.failed", server="s", reason=value)
    line = told.getvalue()
    assert line.count("\n") == 1
    assert line.endswith("\n")
    assert line[:-1].isprintable()


def test_an_exceptions_message_commands_no_terminal(told: io.StringIO) -> None:
    configure_logs("console", "info", told)
    try:
        raise ValueError(EVIL)
    except ValueError as error:
        log().error("edge.failed", exc_info=error)
    assert all(line.isprintable() for line in told.getvalue().split("\n"))


def test_json_logs_are_one_object_a_line_whatever_is_in_them(told: io.StringIO) -> None:
    configure_logs("json", "info", told)
    log().warning("call.failed", reason=EVIL)
    line, end = told.getvalue().split("\n")
    assert json.loads(line)["reason"] == EVIL
    assert not end
    assert line.isprintable()
