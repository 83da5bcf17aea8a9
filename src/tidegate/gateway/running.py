"""Calls under way, for whoever may end them: a stop all that it concerns, a legacy client its own by
`notifications/cancelled`, here or at a gateway that shares the state.

A notification of a session cancels that session's calls only. Modern clients cancel by closing the stream.
"""

from __future__ import annotations

import asyncio

import msgspec

from tidegate.gateway.call import Call
from tidegate.gateway.mail import Mail

TOLD = 64
"""Cancellations of one principal that others are told of in a second. They are not counted as calls, and each is looked
up and written for every gateway; a call whose cancellation gets lost ends like any that nobody waits for."""
_CANCEL = "call/cancel"
_LONGEST_ID = 256
"""Bytes of a request id that are taken (`protocol.codec`)."""

_Key = tuple[str, bytes]


class Running:
    """The calls under way; those of legacy sessions by session and request id too."""

    def __init__(self, mail: Mail | None = None) -> None:
        """`mail` is the way to the gateways that share the state store, where there are any."""
        self.calls: dict[str, Call] = {}
        """By the call's own id, which is given once. Whoever began one removes it: each call comes by here."""
        self._named: dict[_Key, asyncio.Task[None]] = {}
        self._mail = mail
        self._clock = asyncio.get_running_loop().time
        self._since = self._clock()
        self._told: dict[str, int] = {}
        """Of how many others were told since then, which is a second at most, by principal."""
        if mail is not None:
            mail.on(_CANCEL, self._hear)

    def __len__(self) -> int:
        return len(self._named)

    def begin(self, call: Call) -> _Key | None:
        """Let a call be found, also while it waits for a workload. Give what `end` is told, where that is needed."""
        self.calls[call.id] = call
        session, task = call.session, call.task
        if session is None or task is None:
            return None
        key = session.key, bytes(call.inbound.message.id or b"")
        self._named[key] = task
        return key

    def end(self, key: _Key, call: Call) -> None:
        """Let it be found by its client no more."""
        if self._named.get(key) is call.task:  # an id may be in use twice
            del self._named[key]

    def cancel(self, notification: Call) -> None:
        """Cancel the call that a client's `notifications/cancelled` names, wherever it is."""
        session, named = notification.session, notification.inbound.message.params.get("requestId")
        if session is None or named is None or len(named) > _LONGEST_ID:
            return
        key = session.key, bytes(named)
        if not self._cancel(key) and self._mail is not None and self._may_tell(session.principal):
            self._mail.post_all(_CANCEL, msgspec.msgpack.encode(key))

    def _may_tell(self, principal: str) -> bool:
        now = self._clock()
        if now - self._since >= 1.0:
            self._since = now
            self._told.clear()
        count = self._told[principal] = self._told.get(principal, 0) + 1
        return count <= TOLD

    def _cancel(self, key: _Key) -> bool:
        task = self._named.get(key)
        return task is not None and task.cancel()

    async def _hear(self, sender: str, letter: bytes) -> bytes:
        self._cancel(msgspec.msgpack.decode(letter, type=_Key))
        return b""
