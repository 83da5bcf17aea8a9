"""Outbound requests: what a server gets of a client's call, in its own names and with what it may know."""

from __future__ import annotations

from msgspec import Raw

from tidegate.channels.channel import Asked, Outbound
from tidegate.domain.errors import ParseFailure
from tidegate.domain.server import Timeouts
from tidegate.domain.workload import Upstream
from tidegate.gateway.call import LEVEL, Call
from tidegate.gateway.routes import Route
from tidegate.protocol import bridge, capabilities, tasks
from tidegate.protocol.codec import Object, decode_object
from tidegate.protocol.rounds import RETRY

_NOTHING = Raw(b"{}")
_MOST, _LARGEST = 1024, 4096
"""Capabilities of clients that are known again, and bytes of one: clients decide how large theirs are."""
_LONGEST_TOKEN = 256
"""Bytes of a progress token that are taken, as of a request's id."""
_DEFAULT_LEVEL = "info"
"""What a modern server is told for a legacy client that set no level: there the server decides."""


class Outbounds:
    """Makes outbound requests."""

    def __init__(self) -> None:
        self._told: dict[tuple[bytes, bytes], Raw] = {}
        """What servers are told that clients can do, by both sides' capabilities."""

    def make(
        self, call: Call, route: Route, upstream: Upstream, timeouts: Timeouts, asked: Asked | None = None
    ) -> Outbound:
        """Make the request of a call for the server that it goes to."""
        params, modern = route.params, upstream.era == "modern"
        if call.inbound.modern and not modern and not params.keys().isdisjoint(RETRY):
            params = {key: value for key, value in params.items() if key not in RETRY}
        meta = call.inbound.message.meta
        if meta:
            meta = bridge.hop_free(meta)
            if len(meta.get("progressToken", b"")) > _LONGEST_TOKEN:  # it comes back with each notice
                meta = {name: value for name, value in meta.items() if name != "progressToken"}
        notify = None if call.notify is None else call.hear
        outbound = Outbound(call.method, params, meta, route.name, timeouts.call, notify)
        if route.mirrored:
            outbound.mirrored = dict(route.mirrored)
        # On a pipe nothing says whose a question or a log message is.
        outbound.holder = call.id if call.session is None else call.session.key
        if modern:
            outbound.capabilities = self._told_of(call, upstream)
            outbound.log_level = _level(call, upstream)
        else:
            outbound.asked = asked
        return outbound

    def _told_of(self, call: Call, upstream: Upstream) -> Raw:
        session = call.session
        declared = call.inbound.capabilities if session is None else session.declared.capabilities
        if not declared:
            return _NOTHING
        if session is not None:
            # Tasks of the extension are for modern clients alone; else a server would make one that nobody can take.
            declared = tasks.without(declared)
        key = capabilities.fingerprint(declared), upstream.capabilities
        found = self._told.get(key)
        if found is None:
            found = capabilities.for_server(declared, _object(upstream.capabilities))
            if len(self._told) >= _MOST:
                self._told.clear()
            if len(key[0]) <= _LARGEST:
                self._told[key] = found
        return found


def _level(call: Call, upstream: Upstream) -> str | None:
    if call.session is None:
        return call.inbound.log_level
    if LEVEL in call.session.data:
        return call.log_level
    return _DEFAULT_LEVEL if b'"logging"' in upstream.capabilities and call.notify is not None else None


def _object(data: bytes) -> Object:
    try:
        return decode_object(data)
    except ParseFailure:
        return {}
