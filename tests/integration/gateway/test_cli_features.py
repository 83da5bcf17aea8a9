"""The command line against a real gateway and the servers of all features, of both eras, also at a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.gateway.gateway import PATIENCE, TIDEGATE, Gateway, marked, server
from tests.unit.cli.conftest import Ran, run

ERAS = ("legacy", "modern")


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway over the server of all features, once of each era."""
    place = tmp_path_factory.mktemp("cli")
    settings = {"servers": {era: server("features_stdio", era) for era in ERAS}}
    gateway = Gateway(place, marked(settings, place)).start()
    gateway.until_servers(legacy="ready", modern="ready")
    yield gateway
    gateway.check_end()


def command(gateway: Gateway, *arguments: str) -> Ran:
    """Run a command without a terminal, in this process: many start quicker so."""
    return run(*arguments, "--config", str(gateway.config))


def told(ran: Ran) -> Any:
    assert ran.status == 0, ran.err
    return json.loads(ran.out)


class Conversation:
    """A command at a terminal of its own: what is shown is waited for, then a line is typed."""

    def __init__(self, gateway: Gateway, *arguments: str) -> None:
        self.terminal, inside = pty.openpty()
        self.seen = ""
        self._at = 0
        self.process = subprocess.Popen(
            [TIDEGATE, *arguments, "--config", str(gateway.config)],
            stdin=inside, stderr=inside, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        os.close(inside)

    def until(self, shown: str) -> None:
        """Read until something new is shown."""
        deadline = time.monotonic() + PATIENCE
        while (found := self.seen.find(shown, self._at)) < 0:
            if time.monotonic() > deadline or not self._read():
                self.process.kill()
                self.end()
                raise AssertionError(f"waited in vain for {shown!r} in {self.seen!r}")
        self._at = found + len(shown)

    def _read(self) -> bool:
        if select.select([self.terminal], [], [], 0.2)[0]:
            try:
                self.seen += os.read(self.terminal, 4096).decode()
            except OSError:  # the command has ended
                return False
        return True

    def type(self, line: str) -> None:
        """Type a line."""
        os.write(self.terminal, line.encode() + b"\n")

    def talk(self, *turns: tuple[str, str]) -> None:
        """Wait for each thing, and type its answer."""
        for shown, line in turns:
            self.until(shown)
            self.type(line)

    def end(self) -> tuple[int, str]:
        """Give the exit status and the standard output."""
        with self.process, contextlib.suppress(subprocess.TimeoutExpired):
            out = b""
            try:
                out, _ = self.process.communicate(timeout=PATIENCE)
            finally:
                self.process.kill()
                while self._read():  # until all of it has been read
                    pass
                os.close(self.terminal)
        return self.process.returncode, out.decode()


def answered(conversation: Conversation) -> Any:
    status, out = conversation.end()
    assert status == 0, conversation.seen
    return json.loads(out)


def test_prompts_are_listed_and_filled_in_from_servers_of_both_eras(features: Gateway) -> None:
    listed = command(features, "prompts").out.splitlines()
    for era in ERAS:
        assert f"{era}__greet city=…" in listed
        ran = command(features, "prompt", f"{era}__greet", "city=Pisa")
        assert (ran.status, ran.out) == (0, "Greetings from Pisa\n"), ran.err
        assert told(command(features, "prompt", f"{era}__greet", "city=a=b", "--json"))["messages"][0] == {
            "role": "user", "content": {"type": "text", "text": "Greetings from a=b"},
        }  # fmt: skip


def test_resources_are_listed_and_read_from_servers_of_both_eras(features: Gateway, tmp_path: Path) -> None:
    listed = command(features, "resources").out.splitlines()
    for era in ERAS:
        assert {f"note://{era}__list/text", f"note://{era}__items/{{id}}"} <= set(listed)
        ran = command(features, "read", f"note://{era}__items/7")
        assert (ran.status, ran.out) == (0, "item 7\n"), ran.err
        saved = tmp_path / era
        assert command(features, "read", f"note://{era}__list/blob", "--output", str(saved)).status == 0
        assert saved.read_bytes() == bytes(range(256))


@pytest.mark.parametrize("era", ERAS)
def test_answers_and_roots_are_given_without_a_terminal(features: Gateway, tmp_path: Path, era: str) -> None:
    ran = command(features, "call", f"{era}__ask_form", "--answer", "name=Ada")
    assert told(ran) == {"action": "accept", "content": {"name": "Ada"}}
    ran = command(features, "prompt", f"{era}__ask_me", "--answer", "name=Ada")
    assert (ran.status, ran.out) == (0, "asked by Ada\n"), ran.err
    ran = command(features, "read", f"note://{era}__ask/me", "--answer", "name=Ada")
    assert (ran.status, ran.out) == (0, "read by Ada\n"), ran.err
    ran = command(features, "call", f"{era}__ask_roots", "--root", str(tmp_path))
    assert told(ran) == {"roots": [{"uri": tmp_path.as_uri(), "name": tmp_path.name}]}


@pytest.mark.parametrize("era", ERAS)
def test_without_any_of_these_nothing_is_declared_and_nothing_asked(features: Gateway, era: str) -> None:
    declared = told(command(features, "call", f"{era}__declared"))["capabilities"]
    assert not declared.keys() & {"elicitation", "roots", "sampling"}
    assert command(features, "call", f"{era}__ask_form").status == 1


def test_log_messages_are_shown_beside_the_result(features: Gateway) -> None:
    for era in ERAS:
        ran = command(features, "call", f"{era}__log", "--log", "info")
        assert ran.status == 0, ran.err
        assert [line.split()[0] for line in ran.err.splitlines()] == ["[info]", "[error]"]


def test_a_user_at_a_terminal_fills_in_a_form_of_an_older_server(features: Gateway) -> None:
    at = Conversation(features, "call", "legacy__ask_form", json.dumps({"text": "Who\x1b[2J is it?"}))
    at.talk(
        ("Name: ", ""), ("it is needed", "Ada Lovelace"), ("Send this?", "change"),
        ("Name [Ada Lovelace]: ", ""), ("Send this?", ""),
    )  # fmt: skip
    assert answered(at) == {"action": "accept", "content": {"name": "Ada Lovelace"}}
    assert "legacy__ask_form asks:\r\n  | Who\\x1b[2J is it?\r\n" in at.seen
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f]", at.seen)


def test_a_user_at_a_terminal_answers_rounds_of_questions_of_a_modern_server(
    features: Gateway, tmp_path: Path
) -> None:
    at = Conversation(features, "call", "modern__ask_several", "--root", str(tmp_path))
    at.talk(("Name: ", "Ada"), ("Send this?", "yes"), ("of the host: example.com", ""), ("Go on?", "yes"))
    found = answered(at)
    assert found["name"]["content"] == {"name": "Ada"}
    assert found["roots"]["roots"][0]["uri"] == tmp_path.as_uri()
    assert found["page"] == {"action": "accept"}
    assert "  https://example.com/\r\n" in at.seen


def test_the_end_of_what_is_typed_cancels(features: Gateway) -> None:
    at = Conversation(features, "call", "modern__ask_form")
    at.until("Name: ")
    os.write(at.terminal, b"\x04")
    assert answered(at) == {"action": "cancel"}


def test_at_a_terminal_progress_is_shown_and_no_input_declares_nothing(features: Gateway) -> None:
    at = Conversation(features, "call", "modern__progress", "--no-input")
    at.until("  3 of 3: step 3\r\n")
    assert at.end() == (0, "done\n")


def test_an_interrupt_at_a_question_ends_the_command_at_once(features: Gateway) -> None:
    at = Conversation(features, "call", "modern__ask_form")
    at.until("Name: ")
    at.process.send_signal(2)
    status, out = at.end()
    assert (status, out) == (130, "")
    assert "Traceback" not in at.seen


def test_bytes_are_not_written_to_a_terminal(features: Gateway) -> None:
    terminal, inside = pty.openpty()
    ran = subprocess.run(
        [TIDEGATE, "read", "note://modern__list/blob", "--config", str(features.config)],
        stdin=subprocess.DEVNULL, stdout=inside, stderr=subprocess.PIPE, timeout=PATIENCE, check=False,
    )  # fmt: skip
    nothing = not select.select([terminal], [], [], 0)[0]
    os.close(inside)
    os.close(terminal)
    assert (ran.returncode, nothing) == (1, True)
    assert b"name a file with --output" in ran.stderr
