"""What a server asks during a command, answered: by the user at the terminal, by --answer, by --root.

Forms are put to the user one field at a time, and nothing is sent that was not agreed to; a URL is shown
with its host and never opened or looked at here. Whatever a server said is shown apart from our own
words. MCP 2026-07-28, client/elicitation §Security Considerations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast
from urllib.parse import urlsplit

from tidegate.cli.forms import Field, FormError, Value, read_form
from tidegate.cli.mcp import Params, Unanswered
from tidegate.cli.terminal import User

MAX_QUESTIONS = 20
"""Asked at once."""
MAX_MESSAGE = 4000
MAX_URL = 8192
MAX_TRIES = 20
"""Times that a field is asked for again; who needs more has not seen what is wrong."""

_CANCEL: Params = {"action": "cancel"}
_DECLINE: Params = {"action": "decline"}
_ENDS: dict[str, Params] = {".decline": _DECLINE, ".cancel": _CANCEL}


class _Ended(Exception):
    """The user would not go on with a form."""

    def __init__(self, action: Params) -> None:
        super().__init__()
        self.action = action


class Questions:
    """Answers what is asked during one command. `user` is who can be asked, None for nobody."""

    def __init__(
        self, what: str, user: User | None, answers: Mapping[str, Sequence[str]], roots: Sequence[Params]
    ) -> None:
        self._what = what
        self._user = user
        self._answers = answers
        self._roots = roots
        self._used: set[str] = set()

    @property
    def unused(self) -> list[str]:
        """Names of the answers that nothing asked for."""
        return [name for name in self._answers if name not in self._used]

    async def answer(self, asked: Params) -> Params:
        """Answer the questions of one round.

        Raises:
            Unanswered: one of them has no answer here.
        """
        if len(asked) > MAX_QUESTIONS:
            raise Unanswered(f"{self._what} asks more than {MAX_QUESTIONS} questions at once", {})
        found: Params = {}
        try:
            for key, request in asked.items():
                found[key] = await self._one(cast(Params, request) if isinstance(request, dict) else {})
        except _NoAnswer as error:
            told = {key: found.get(key, _CANCEL) for key in asked if key in found or _is_form(asked[key])}
            raise Unanswered(f"{self._what} {error}", told) from None
        return found

    async def _one(self, request: Params) -> Params:
        params = request.get("params")
        about = cast(Params, params) if isinstance(params, dict) else {}
        match request.get("method"):
            case "roots/list" if self._roots:
                return {"roots": list(self._roots)}
            case "elicitation/create" if about.get("mode", "form") == "form":
                return await self._form(about)
            case "elicitation/create" if about["mode"] == "url":
                return await self._page(about)
            case "sampling/createMessage":
                raise _NoAnswer("asks for a model's answer, which this command never gives")
            case "roots/list":
                raise _NoAnswer("asks for roots, and no --root names one")
            case _:
                raise _NoAnswer("asks for what this command does not know")

    async def _form(self, about: Params) -> Params:
        try:
            fields = read_form(about.get("requestedSchema"))
        except FormError as error:
            raise _NoAnswer(f"asks with a form that {error}") from None
        given = {field.name: self._given(field) for field in fields if field.name in self._answers}
        open_ones = [field for field in fields if field.name not in given]
        if self._user is None or (given and not open_ones):
            return {"action": "accept", "content": given | _defaults(open_ones)}
        self._introduce(self._user, about)
        self._user.show("  (an empty line takes what stands in [brackets]; .decline says no; Ctrl-D cancels)")
        try:
            return {"action": "accept", "content": await _fill(self._user, open_ones, given)}
        except _Ended as end:
            return end.action

    def _given(self, field: Field) -> Value:
        self._used.add(field.name)
        try:
            return field.read(self._answers[field.name])
        except ValueError as error:
            raise _NoAnswer(f"asks for {field.name!r}: the --answer for it {error}") from None

    async def _page(self, about: Params) -> Params:
        if self._user is None:
            raise _NoAnswer("asks for a page to be opened, which needs a user at a terminal")
        url = about.get("url")
        host = _host(url)
        self._introduce(self._user, about)
        self._user.show(f"  It asks you to open a page of the host: {host}")
        for warning in _warnings(str(url), host):
            self._user.show(f"  Beware: {warning}.")
        self._user.show(f"  {url}")
        self._user.show("  This command does not open it. Open it yourself if you trust that host.")
        for _ in range(MAX_TRIES):
            typed = await self._user.ask("Go on? yes, no (declines), or cancel: ")
            word = (typed if typed is not None else "cancel").strip().casefold()
            if word in _CONSENT:
                return dict(_CONSENT[word])
        return _CANCEL

    def _introduce(self, user: User, about: Params) -> None:
        user.show(f"{self._what} asks:")
        for line in str(about.get("message", ""))[:MAX_MESSAGE].splitlines():
            user.show(f"  | {line}")


class _NoAnswer(Exception):
    """A question that has no answer here; says what it asks."""


_CONSENT: dict[str, Params] = {
    "yes": {"action": "accept"}, "no": _DECLINE, "cancel": _CANCEL, ".decline": _DECLINE, ".cancel": _CANCEL,
}  # fmt: skip
"""Whole words: a page is not agreed to by a slip."""


async def _fill(user: User, fields: Sequence[Field], given: Mapping[str, Value]) -> dict[str, Value]:
    before: dict[str, Value] = {}
    for _ in range(MAX_TRIES):
        content = dict(given)
        for field in fields:
            value = await _ask(user, field, before.get(field.name, field.default))
            if value is not None:
                content[field.name] = value
        word = await _agree(user)
        if word != "change":
            return content
        before = content
    raise _Ended(_CANCEL)


async def _agree(user: User) -> str:
    for _ in range(MAX_TRIES):
        typed = await user.ask("Send this? yes, no (declines), change, or cancel [yes]: ")
        word = ("cancel" if typed is None else typed.strip().casefold()) or "yes"
        if word in ("no", "n", ".decline"):
            raise _Ended(_DECLINE)
        if word in ("cancel", "c", ".cancel"):
            raise _Ended(_CANCEL)
        if word in ("yes", "y", "change"):
            return word
    raise _Ended(_CANCEL)


async def _ask(user: User, field: Field, default: Value | None) -> Value | None:
    """Ask for one field until it is right; None where it is left out."""
    _describe(user, field)
    shown = "" if default is None else f" [{field.shown(default)[:200]}]"
    for _ in range(MAX_TRIES):
        typed = await user.ask(f"{field.title}{shown}: ")
        if typed is None:
            raise _Ended(_CANCEL)
        if typed.strip() in _ENDS:
            raise _Ended(_ENDS[typed.strip()])
        if not typed:
            if default is not None or not field.needed:
                return default
            user.show("  it is needed")
            continue
        try:
            return field.read([typed])
        except ValueError as error:
            user.show(f"  it {error}")
    raise _Ended(_CANCEL)


def _describe(user: User, field: Field) -> None:
    if field.about:
        user.show(f"  | {field.about}")
    for number, (value, title) in enumerate(field.choices, 1):
        beside = f" ({value[:200]})" if value != title else ""
        user.show(f"  {number:>3}. {title}{beside}")
    separated = ", separated by commas" if field.kind == "array" else ""
    user.show(f"  {field.expects}{separated}{'' if field.needed else ', may be left out'}")


def _defaults(fields: Sequence[Field]) -> dict[str, Value]:
    """Give what is sent for fields that nobody is asked for.

    Raises:
        _NoAnswer: one is needed.
    """
    for field in fields:
        if field.needed and field.default is None:
            raise _NoAnswer(f"asks for {field.name!r}, which no --answer gives")
    return {field.name: field.default for field in fields if field.default is not None}


def _is_form(request: Any) -> bool:
    return isinstance(request, dict) and cast(Params, request).get("method") == "elicitation/create"


def _host(url: object) -> str:
    """Give the host of a URL as it is looked up, so that no letters look like others.

    Raises:
        _NoAnswer: it is no URL of a page.
    """
    from tidegate.settings.values import split_url

    try:
        if not isinstance(url, str) or len(url) > MAX_URL or not url.isprintable():
            raise ValueError
        parts = split_url(url.partition("#")[0], ("http", "https"))
        if parts.username is not None or parts.hostname is None:
            raise ValueError
        return parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode("ascii")
    except ValueError:
        raise _NoAnswer("asks for a page to be opened, but gives no URL that can be trusted") from None


def _warnings(url: str, host: str) -> list[str]:
    from tidegate.settings.values import is_loopback

    found: list[str] = []
    if any(label.startswith("xn--") for label in host.split(".")):
        found.append("the host's name has letters that can look like others")
    if urlsplit(url).scheme == "http" and not is_loopback(host):
        found.append("the way to it is not encrypted")
    return found
