"""The list of a principal's own tasks of 2025-11-25 (basic/utilities/tasks, Listing Tasks).

No server is asked for its list: one that many use would give the tasks of all. The gateway keeps which tasks were
made for whom, and asks their servers how each is.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Mapping

import msgspec
from msgspec import Raw

from tidegate.access.stops import Stops
from tidegate.channels.channel import Outbound
from tidegate.domain.errors import ChannelFailure, InvalidParams, MethodNotFound, ParseFailure, StateError
from tidegate.gateway.call import Answer, Call
from tidegate.gateway.deciding import know, made, missing_scopes
from tidegate.gateway.handles import Handle, has, may_use
from tidegate.gateway.tasks import LIFETIME, Tasks
from tidegate.gateway.watches import Workloads
from tidegate.ports.state import State
from tidegate.protocol import tasks as wire
from tidegate.protocol.codec import decode_object, decode_text, encode, encode_result
from tidegate.telemetry import log

PAGE = 20
"""Tasks in a page: a server is asked about each."""
EACH, OWNERS = 1000, 2000
"""Tasks of one principal at one endpoint, and such owners, that are kept in memory; the oldest go first."""
_PATIENCE = 10.0
"""Seconds that a server has to say how a task is."""
_SUFFIX = 20
"""Hex digits that order and name a task: when it was made, and a part of its digest."""


class _Made(msgspec.Struct, frozen=True, array_like=True):
    text: str
    handle: Handle


_NONE: Mapping[str, _Made] = {}


class TaskList:
    """Which tasks were made for whom."""

    def __init__(
        self,
        fleet: Workloads,
        state: State,
        tasks: Tasks,
        now: Callable[[], float],
        stops: Stops | None = None,
    ) -> None:
        """`now` gives Unix seconds."""
        self._stops = stops or Stops()
        self.methods: Mapping[str, Callable[[Call], Awaitable[Answer]]] = {"tasks/list": self.list}
        self._fleet = fleet
        self._state = state
        self._now = now
        self._made: OrderedDict[str, OrderedDict[str, _Made]] = OrderedDict()
        """By owner: what may not be in the store yet."""
        self._writes: set[asyncio.Task[None]] = set()
        tasks.made = self._note

    async def list(self, call: Call) -> Answer:
        """Answer `tasks/list`.

        Raises:
            MethodNotFound: the client's era has no such method.
            InvalidParams: the cursor is none that was given.
            StateError: what was made cannot be read.
        """
        if call.inbound.modern:
            raise MethodNotFound(f"no method {call.method[:60]!r} here")
        owner, after = _owner(call), _after(call)
        rows = {key: _read(value) for key, value in await self._state.scan(owner)}
        rows.update(self._made.get(owner, _NONE))
        targets = [row.handle.target for row in rows.values() if row is not None]
        await know(call, targets)
        mine = await made(lambda: _of(call, rows, owner + after))
        page = mine[:PAGE]
        states = await asyncio.gather(*(self._ask(owner, key, row) for key, row in page))
        result: dict[str, object] = {"tasks": [state for state in states if state is not None]}
        if len(mine) > PAGE:
            result["nextCursor"] = page[-1][0].removeprefix(owner)
        return Answer(200, encode_result(call.inbound.message.id or b"null", encode(result)))

    async def close(self) -> None:
        """Wait for what is being kept, briefly."""
        if self._writes:
            await asyncio.wait(self._writes, timeout=2.0)

    def _note(self, call: Call, handle: Handle, text: str, kept: float | None) -> None:
        """Keep that a task was made."""
        if handle.modern:
            return
        owner = _owner(call)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        key = f"{owner}{int(self._now() * 1000):012x}{digest}"
        mine = self._made.setdefault(owner, OrderedDict())
        self._made.move_to_end(owner)
        if len(self._made) > OWNERS:
            self._made.popitem(last=False)
        made = mine[key] = _Made(text, handle)
        expires = LIFETIME if kept is None else min(max(kept, 1.0), LIFETIME)
        self._spawn(self._put(key, msgspec.msgpack.encode(made), expires))
        if len(mine) > EACH:
            self._forget(owner, next(iter(mine)))

    async def _ask(self, owner: str, key: str, made: _Made) -> Raw | None:
        """Ask a task's server how it is; None where that cannot be told, or there is no such task any more."""
        handle = made.handle
        if self._stops.about(handle.target) is not None:
            return None
        pool = self._fleet.pools.get(handle.server)
        workload = (
            None
            if pool is None
            else (pool.holder(handle.sharing, handle.workload) or pool.workloads.get(handle.sharing))
        )
        if workload is not None and not has(workload, handle):
            self._forget(owner, key)
            return None
        if workload is None or workload.channel is None:
            return None
        params = {"taskId": Raw(encode(handle.task))}
        try:
            reply = await workload.channel.ask(Outbound("tasks/get", params, timeout=_PATIENCE))
            fields = {} if reply.result is None else decode_object(reply.result)
        except (ChannelFailure, ParseFailure):
            return None
        if wire.named(fields) != handle.task:
            self._forget(owner, key)
            return None
        return Raw(encode({**fields, "taskId": made.text}))

    def _forget(self, owner: str, key: str) -> None:
        if owner in self._made:
            self._made[owner].pop(key, None)
        self._spawn(self._put(key, None, None))

    async def _put(self, key: str, value: bytes | None, expires: float | None) -> None:
        try:
            await self._state.put(key, value, expires=expires)
        except StateError as error:
            log().error("state.failed", reason=str(error))

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work, name="task list")
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)


def _of(call: Call, rows: Mapping[str, _Made | None], after: str) -> list[tuple[str, _Made]]:
    """Give those after a key whose tools the principal of a call may still use."""
    return [
        (key, row)
        for key, row in sorted(rows.items())
        if key > after
        and row is not None
        and may_use(call.principal, call.endpoint, row.handle)
        and not missing_scopes(call, row.handle.target)
    ]


def _owner(call: Call) -> str:
    endpoint = hashlib.sha256(call.endpoint.path.encode()).hexdigest()[:16]
    return f"task/{call.principal.key}/{endpoint}/"


def _after(call: Call) -> str:
    raw = call.params.get("cursor")
    if raw is None or bytes(raw) == b"null":
        return ""
    cursor = decode_text(raw) or ""
    if len(cursor) != _SUFFIX or not set(cursor) <= set("0123456789abcdef"):
        raise InvalidParams("cursor is not one that was given")
    return cursor


def _read(value: bytes) -> _Made | None:
    try:
        return msgspec.msgpack.decode(value, type=_Made)
    except msgspec.DecodeError:
        return None
