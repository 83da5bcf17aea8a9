"""Calls under way, for whoever may end them: a stop all that it concerns, a legacy client its own by
`notifications/cancelled`, here or at a gateway that shares the state.

A notification of a session cancels that session's calls only. Modern clients cancel by closing the stream.
"""

from __future__ import annotations

import asyncio

import msgspec
from msgspec import Raw

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
    """The calls under way. Each call comes by here, and hardly any is cancelled: so one is looked for when it is."""

    def __init__(self, mail: Mail | None = None) -> None:
        """`mail` is the way to the gateways that share the state store, where there are any."""
        self.calls: dict[str, Call] = {}
        """By the call's own id, which is given once. Whoever handles one puts it in, also while it waits for a workload,
        and takes it out; how many there are is bounded by the limits."""
        self._mail = mail
        self._clock = asyncio.get_running_loop().time
        self._since = self._clock()
        self._told: dict[str, int] = {}
        """Of how many others were told since then, which is a second at most, by principal."""
        if mail is not None:
            mail.on(_CANCEL, self._hear)

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
        named, request_id = key[0], Raw(key[1])
        for call in reversed(self.calls.values()):  # an id may be in use twice: the last one
            session = call.session
            if session is not None and session.key == named and call.inbound.message.id == request_id:
                return call.task is not None and call.task.cancel()
        return False

    async def _hear(self, sender: str, letter: bytes) -> bytes:
        self._cancel(msgspec.msgpack.decode(letter, type=_Key))
        return b""
