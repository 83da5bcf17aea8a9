"""Rounds of input: what a modern server asks for in a result, and what a retry answers. Pure.

Source: MCP 2026-07-28, basic/patterns/mrtr.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from tidegate.domain.errors import InvalidParams, ParseFailure, UpstreamProtocolError
from tidegate.protocol.codec import Object, decode_object, decode_text, encode

RETRY = frozenset({"inputResponses", "requestState"})
"""Parameters that make a request the retry of another."""
MOST = 16
"""Questions in one result."""
LONGEST_KEY = 256
"""Characters of a question's key: keys of tasks' questions are kept."""
LONGEST_STATE = 64 * 1024
"""Bytes of a server's `requestState`: it goes to the client and back."""
URL_REQUIRED = -32042
"""Error of 2025-11-25: the user has to visit URLs first. Modern clients are asked for input instead."""


class Wanted(Struct):
    """A question in a result."""

    method: str
    params: Object


def read(fields: Object) -> dict[str, Wanted]:
    """Read the questions of an `input_required` result, by their keys.

    Raises:
        UpstreamProtocolError: they are not as they must be, or too many, or there is neither any nor a state.
    """
    try:
        requests = decode_object(fields["inputRequests"]) if "inputRequests" in fields else {}
        found: dict[str, Wanted] = {}
        for key, raw in requests.items():
            request = decode_object(raw)
            method = decode_text(request.get("method"))
            if method is None:
                raise UpstreamProtocolError("the server asks for input without a method")
            found[key] = Wanted(method, decode_object(request["params"]) if "params" in request else {})
    except ParseFailure as error:
        raise UpstreamProtocolError("the server asks for input in a form that is none") from error
    if any(len(key) > LONGEST_KEY for key in found):
        raise UpstreamProtocolError(f"the server names its questions by more than {LONGEST_KEY} characters")
    if len(found) > MOST or len(fields.get("requestState", b"")) > LONGEST_STATE:
        raise UpstreamProtocolError("the server asks for more input at once than is taken")
    if not found and "requestState" not in fields:
        raise UpstreamProtocolError("the server asks for input and says neither which nor for what")
    return found


def ask(wanted: dict[str, Wanted], state: str | None, rest: Object | None = None) -> Raw:
    """Give the result that asks a modern client for input; `rest` is what else stands in it."""
    result: dict[str, object] = {**(rest or {}), "resultType": "input_required"}
    if wanted:
        result["inputRequests"] = {
            key: {"method": each.method, "params": each.params} for key, each in wanted.items()
        }
    if state is not None:
        result["requestState"] = state
    return Raw(encode(result))


def responses(params: Object) -> Object:
    """Read the answers of a retry, by their keys.

    Raises:
        InvalidParams: they are no object of objects.
    """
    raw = params.get("inputResponses")
    if raw is None:
        return {}
    try:
        found = decode_object(raw)
        for each in found.values():
            decode_object(each)
    except ParseFailure as error:
        raise InvalidParams("inputResponses must be an object of objects") from error
    return found


class _Elicitations(Struct):
    elicitations: list[dict[str, Raw]]


class _Error(Struct):
    code: int
    data: _Elicitations


_decode_error = msgspec.json.Decoder(_Error).decode


def visits(error: Raw) -> dict[str, Wanted]:
    """Read the URLs that an error of 2025-11-25 wants visited, as questions; none where it is another error."""
    try:
        found = _decode_error(error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    if found.code != URL_REQUIRED or len(found.data.elicitations) > MOST:
        return {}
    return {
        f"url-{number}": Wanted("elicitation/create", {**each, "mode": Raw(b'"url"')})
        for number, each in enumerate(found.data.elicitations, 1)
    }
