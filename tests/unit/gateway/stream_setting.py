"""Streams without an edge: gateways that may share a state store, clients' connections that note what comes."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from dataclasses import dataclass, field
from typing import Any

from tests.unit.gateway.setting import KEY, Named
from tidegate.access.authenticate import Authenticator
from tidegate.access.authorize import Authorizer
from tidegate.domain.endpoint import EndpointSpec
from tidegate.domain.principal import Principal
from tidegate.extensions.state.memory import MemoryState
from tidegate.gateway.call import Call
from tidegate.gateway.catalog import Endpoint
from tidegate.gateway.event_ids import EventIds
from tidegate.gateway.mail import Mail
from tidegate.gateway.questions import Questions
from tidegate.gateway.relays import Relays
from tidegate.gateway.sessions import Session, Sessions
from tidegate.gateway.streams import Streams
from tidegate.ports.identity import Credentials, Vouched
from tidegate.protocol.codec import Message, decode_message
from tidegate.protocol.inbound import Inbound
from tidegate.telemetry import Metrics

PATH = "/mcp"
_SPEC = EndpointSpec(PATH, ())
ENDPOINT = Endpoint(_SPEC, Authorizer(_SPEC))


@dataclass(eq=False)
class Connection:
    """A client's connection that takes events."""

    gone: bool = False
    begun: bool = False
    ended: bool = False
    data: bytearray = field(default_factory=bytearray)
    reading: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.reading.set()

    def begin(self) -> None:
        self.begun = True

    async def send(self, data: bytes) -> bool:
        if self.gone:
            return False
        self.data += data
        await self.reading.wait()
        return not self.gone

    def end(self, data: bytes = b"") -> None:
        if not self.gone and not self.ended:
            self.data += data
            self.ended = True

    @property
    def blocks(self) -> list[bytes]:
        """The events that came whole."""
        return [block for block in bytes(self.data).split(b"\n\n")[:-1] if block]

    @property
    def messages(self) -> list[Any]:
        """The messages that came."""
        found = [re.search(rb"^data: (.+)$", block, re.MULTILINE) for block in self.blocks]
        return [json.loads(each[1]) for each in found if each is not None]

    @property
    def methods(self) -> list[str]:
        """Their methods; of answers, `answer`."""
        return [each.get("method", "answer") for each in self.messages]

    @property
    def ids(self) -> list[str]:
        """The ids of the events that came."""
        found = [re.search(rb"^id: (.+)$", block, re.MULTILINE) for block in self.blocks]
        return [each[1].decode() for each in found if each is not None]

    async def lose(self) -> None:
        """Have the client go away."""
        self.gone = True
        self.reading.set()
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])


class Site:
    """One gateway's streams, questions and sessions."""

    def __init__(self, boot: str, state: MemoryState | None = None, *, shared: bool = False) -> None:
        self.state = state or MemoryState()
        self.identity = Named()
        self.metrics = Metrics()
        self.mail = Mail(self.state, boot) if shared else None
        self.sessions = Sessions({KEY[:4]: KEY}, KEY[:4], self.state, lambda: 1e6, self.mail)
        self.authenticator = Authenticator([self.identity], lambda: 1e6)
        self.relays = None if self.mail is None else Relays(self.mail)
        ids = EventIds(KEY, boot)
        self.streams = Streams(ids, self.authenticator, self.sessions, self.relays)
        self.questions = Questions(self.streams, boot, self.metrics, self.mail)
        self.sessions.when_ended.append(self.questions.end_session)
        self.connections: list[Connection] = []
        self._ids = itertools.count(1)
        self._running: list[asyncio.Task[None]] = []

    def run(self) -> Site:
        """Run what runs in the background."""
        works = [self.sessions.run(), self.streams.run(), *([self.mail.run()] if self.mail else [])]
        self._running = [asyncio.create_task(each) for each in works]
        return self

    async def close(self) -> None:
        """End everything."""
        if self.relays is not None:
            await self.relays.close()
        tasks = [*self._running, *(each.task for each in self.connections if each.task is not None)]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def initialize(self, who: str = "ann", revision: str = "2025-11-25") -> str:
        """Make a session's id."""
        return self.sessions.create(self._principal(who), PATH, revision, "c 1", b"{}")

    def _principal(self, who: str) -> Principal:
        return Principal("t", "test", who, frozenset({"user"}))

    async def call(self, session: str | None, who: str = "ann", body: object = None) -> Call:
        """Make a call that was identified."""
        message = Message(None, None, {}, {}) if body is None else decode_message(json.dumps(body).encode())
        inbound = Inbound(message, False, "2025-11-25", session=session)
        credentials = Credentials(who.encode(), "192.0.2.1")
        call = Call(f"call-{next(self._ids)}", inbound, ENDPOINT, credentials, 0.0)
        call.vouched = Vouched(self._principal(who))
        if session is not None:
            call.session = await self.sessions.open(session, call.principal, PATH)
        return call

    async def session(self, session_id: str, who: str = "ann") -> Session:
        """Give an opened session."""
        return await self.sessions.open(session_id, self._principal(who), PATH)

    async def get(self, session: str | None, last: str | None = None, who: str = "ann") -> Connection:
        """Open a stream, as a client's GET does, and wait until it is. Raises what it is refused with."""
        call, made = await self.call(session, who), Connection()
        made.task = asyncio.create_task(self.streams.serve(call, made, last))
        self.connections.append(made)
        while not made.begun and not made.task.done():
            await asyncio.sleep(0)
        if made.task.done():
            made.task.result()
        return made

    async def post(self, session: str, request_id: object = 7, who: str = "ann") -> tuple[Call, Connection]:
        """Begin the stream of a call."""
        body = {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": {"name": "x"}}
        return await self.call(session, who, body), Connection()


async def settled(condition: Any, seconds: float = 5.0) -> None:
    """Wait for a condition to hold, with a deadline."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0)
