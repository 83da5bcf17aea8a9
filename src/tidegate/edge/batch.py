"""Batches: several messages in one POST, which 2025-03-26 alone has (basic, batching). Each is a call of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
from msgspec import Raw

from tidegate.domain.errors import InvalidRequest, ParseFailure
from tidegate.gateway.call import ACCEPTED, Answer, Call
from tidegate.protocol.codec import Message, decode_message
from tidegate.protocol.revisions import BATCHES

MOST = 64
"""Messages of one batch: each is a call, with a record and a place of its own."""
_decode = msgspec.json.Decoder(list[Raw]).decode


def split(body: bytes, version: bytes | None) -> list[Message]:
    """Read the messages of a batch. `version` is the request's `MCP-Protocol-Version`.

    Raises:
        ParseFailure: not JSON.
        InvalidRequest: none or too many, one that is no message or must stand alone, or a client that has no batches.
    """
    if version not in (None, BATCHES.encode()):
        raise InvalidRequest("batches are not accepted: send one message")
    try:
        raw = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ParseFailure("not a JSON array") from error
    if not 0 < len(raw) <= MOST:
        raise InvalidRequest(f"a batch has 1 to {MOST} messages")
    messages = [decode_message(bytes(each)) for each in raw]
    if any(each.method == "initialize" for each in messages):
        raise InvalidRequest("initialize is never part of a batch")  # 2025-03-26, basic/lifecycle
    return messages


async def answer(calls: list[Call], handle: Callable[[Call], Awaitable[Answer]]) -> Answer:
    """Have every call handled, at one time, and give their answers in one array; nothing where none has any."""

    async def one(call: Call) -> Answer:
        call.task = asyncio.current_task()
        return await handle(call)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(call), name="batched call") for call in calls]
    bodies = [body for body in (task.result().body for task in tasks) if body]
    return Answer(200, b"[%b]" % b",".join(bodies)) if bodies else ACCEPTED
