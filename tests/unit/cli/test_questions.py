"""Questions: what a server asks is answered by a user, by --answer and --root, or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tidegate.cli.mcp import Unanswered
from tidegate.cli.questions import Questions
from tidegate.cli.talk import declared

TWO = {
    "type": "object", "required": ["name"],
    "properties": {
        "name": {"type": "string", "title": "Your name", "description": "as in the passport"},
        "colour": {"type": "string", "enum": ["red", "green"], "default": "green"},
    },
}  # fmt: skip


class Scripted:
    """A user who types these lines, one at each prompt, and then no more."""

    def __init__(self, *lines: str) -> None:
        self.lines = list(lines)
        self.shown: list[str] = []

    def show(self, line: str) -> None:
        self.shown.append(line)

    async def ask(self, prompt: str) -> str | None:
        self.shown.append(prompt)
        return self.lines.pop(0) if self.lines else None


def form(schema: object = TWO, message: str = "Who?") -> dict[str, Any]:
    params = {"message": message, "requestedSchema": schema}
    return {"it": {"method": "elicitation/create", "params": params}}


def page(url: object) -> dict[str, Any]:
    return {"it": {"method": "elicitation/create", "params": {"mode": "url", "message": "Look", "url": url}}}


def asking(
    user: Scripted | None, answers: Mapping[str, Sequence[str]] | None = None, roots: Sequence[Any] = ()
) -> Questions:
    return Questions("time__ask", user, answers or {}, roots)


async def typed(*lines: str, asked: dict[str, Any] | None = None) -> tuple[Any, list[str]]:
    user = Scripted(*lines)
    return (await asking(user).answer(asked or form()))["it"], user.shown


async def test_a_form_is_asked_field_by_field_and_sent_when_agreed_to() -> None:
    answer, shown = await typed("", "Ada", "3", "1", "yes")
    assert answer == {"action": "accept", "content": {"name": "Ada", "colour": "red"}}
    assert shown == [
        "time__ask asks:", "  | Who?",
        "  (an empty line takes what stands in [brackets]; .decline says no; Ctrl-D cancels)",
        "  | as in the passport", "  text", "Your name: ", "  it is needed", "Your name: ",
        "    1. red", "    2. green", "  one of the choices, may be left out",
        "colour [green]: ", "  it should be one of the 2 choices", "colour [green]: ",
        "Send this? yes, no (declines), change, or cancel [yes]: ",
    ]  # fmt: skip


async def test_what_a_user_changes_begins_with_what_was_typed_before() -> None:
    answer, shown = await typed("Ada", "red", "change", "", "", "")
    assert answer["content"] == {"name": "Ada", "colour": "red"}
    assert "Your name [Ada]: " in shown


@pytest.mark.parametrize(
    ("lines", "action"),
    [
        ((".decline",), "decline"),
        (("Ada", "", "no"), "decline"),
        ((".cancel",), "cancel"),
        (("Ada", "", "cancel"), "cancel"),
        ((), "cancel"),
        (("Ada",), "cancel"),
        (("Ada", ""), "cancel"),
        (("",) * 30, "cancel"),
        (("Ada", "", *("what",) * 30), "cancel"),
    ],
)
async def test_a_user_can_leave_a_form_at_any_time_and_nothing_is_sent(
    lines: tuple[str, ...], action: str
) -> None:
    answer, _ = await typed(*lines)
    assert answer == {"action": action}


async def test_what_may_be_left_out_is() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    assert (await typed("", "", asked=form(schema)))[0] == {"action": "accept", "content": {}}


@pytest.mark.parametrize(
    ("lines", "answer"),
    [
        (("", "y", "yes"), {"action": "accept"}),
        (("no",), {"action": "decline"}),
        (("cancel",), {"action": "cancel"}),
        ((), {"action": "cancel"}),
        (("",) * 30, {"action": "cancel"}),
    ],
)
async def test_a_page_is_agreed_to_by_the_word_yes_alone(
    lines: tuple[str, ...], answer: dict[str, str]
) -> None:
    assert (await typed(*lines, asked=page("https://example.com/")))[0] == answer


@pytest.mark.parametrize(
    ("url", "host", "beware"),
    [
        ("https://example.com/a?b=c#d", "example.com", ""),
        ("https://example.com.evil.example/", "example.com.evil.example", ""),
        ("http://example.com/", "example.com", "not encrypted"),
        ("http://127.0.0.1:8/", "127.0.0.1", ""),
        ("https://\u0430pple.com/", "xn--pple-43d.com", "look like others"),
        ("https://xn--pple-43d.com/", "xn--pple-43d.com", "look like others"),
    ],
)
async def test_a_page_is_shown_whole_with_its_host(url: str, host: str, beware: str) -> None:
    _, shown = await typed("yes", asked=page(url))
    assert f"  It asks you to open a page of the host: {host}" in shown
    assert f"  {url}" in shown
    assert [line for line in shown if "Beware" in line] == [
        each for each in shown if beware and beware in each
    ]


@pytest.mark.parametrize(
    "url",
    [None, "file:///etc/passwd", "javascript:alert(1)", "https://example.com@evil.example/", "https://e\x1b.example/",
     "https://example.com/" + "x" * 9000, "https://e.example/\u202egnp", "https://[::1", "https:// /"],
)  # fmt: skip
async def test_what_is_no_plain_url_of_a_page_is_not_shown(url: object) -> None:
    user = Scripted("yes")
    with pytest.raises(Unanswered, match="gives no URL that can be trusted") as caught:
        await asking(user).answer(page(url))
    assert user.shown == []
    assert caught.value.told == {"it": {"action": "cancel"}}


async def test_answers_fill_in_a_form_without_a_user() -> None:
    questions = asking(None, {"name": ["Ada"], "shoe": ["44"]})
    assert await questions.answer(form()) == {
        "it": {"action": "accept", "content": {"name": "Ada", "colour": "green"}}
    }
    assert questions.unused == ["shoe"]


async def test_a_user_is_asked_for_what_no_answer_gives_only() -> None:
    user = Scripted("red", "yes")
    questions = asking(user, {"name": ["Ada"]})
    assert (await questions.answer(form()))["it"]["content"] == {"name": "Ada", "colour": "red"}
    assert not any("Your name" in line for line in user.shown)
    silent = Scripted()
    questions = asking(silent, {"name": ["Ada"], "colour": ["red"]})
    assert (await questions.answer(form()))["it"]["content"] == {"name": "Ada", "colour": "red"}
    assert silent.shown == []


@pytest.mark.parametrize(
    ("answers", "asked", "why"),
    [
        ({"colour": ["red"]}, form(), "asks for 'name', which no --answer gives"),
        ({"name": ["Ada"], "colour": ["blue"]}, form(), "asks for 'colour': the --answer for it should be one"),
        ({"name": ["a", "b"]}, form(), "asks for 'name': the --answer for it takes one value"),
        ({"name": ["a"]}, form({"type": "array"}), "asks with a form that is none"),
        ({"name": ["a"]}, page("https://example.com/"), "needs a user at a terminal"),
        ({"name": ["a"]}, {"it": {"method": "sampling/createMessage"}}, "asks for a model's answer"),
        ({"name": ["a"]}, {"it": {"method": "roots/list"}}, "asks for roots, and no --root names one"),
        ({"name": ["a"]}, {"it": {"method": "elicitation/create", "params": {"mode": {}}}}, "does not know"),
        ({"name": ["a"]}, {"it": 1}, "does not know"),
        ({"name": ["a"]}, {str(n): {} for n in range(21)}, "more than 20 questions"),
    ],
)  # fmt: skip
async def test_what_has_no_answer_is_one_clear_line(
    answers: dict[str, list[str]], asked: dict[str, Any], why: str
) -> None:
    with pytest.raises(Unanswered, match=f"^time__ask .*{why}"):
        await asking(None, answers).answer(asked)


async def test_roots_are_given_as_they_were_named() -> None:
    root = {"uri": "file:///srv", "name": "srv"}
    assert await asking(None, roots=[root]).answer({"r": {"method": "roots/list"}}) == {
        "r": {"roots": [root]}
    }


async def test_the_words_of_a_server_are_bounded_and_stand_apart() -> None:
    _, shown = await typed(asked=form(message="a\nName: b\n" + "c" * 10_000))
    assert shown[1:3] == ["  | a", "  | Name: b"]
    assert sum(map(len, shown)) < 5000


def test_only_what_can_be_answered_is_declared() -> None:
    assert declared(user=False, answers=False, roots=False) == {}
    assert declared(user=False, answers=True, roots=False) == {"elicitation": {"form": {}}}
    assert declared(user=True, answers=False, roots=True) == {
        "elicitation": {"form": {}, "url": {}}, "roots": {},
    }  # fmt: skip
