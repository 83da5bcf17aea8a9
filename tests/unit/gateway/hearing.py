"""A gateway's ears without the rest of it: endpoints, tasks and subscriptions are real, workloads are told what to say."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from msgspec import Raw

from tests.unit.fleet.setting import spec
from tidegate.access.authorize import Authorizer
from tidegate.access.stops import Stops
from tidegate.channels.channel import Outbound, Reply
from tidegate.domain.endpoint import Effect, EndpointSpec, Rule
from tidegate.domain.errors import ChannelFailure, Refusal, ServerUnavailable, Unauthenticated
from tidegate.domain.principal import Principal
from tidegate.domain.server import ServerSpec, Sharing
from tidegate.domain.workload import SHARED, Upstream, WorkloadIdentity, WorkloadKey
from tidegate.extensions.state.memory import MemoryState
from tidegate.fleet.launcher import Launcher
from tidegate.fleet.owner import Owner
from tidegate.fleet.track import Track
from tidegate.fleet.workload import Workload
from tidegate.gateway.call import Call
from tidegate.gateway.definitions import Definitions
from tidegate.gateway.endpoint import Endpoint
from tidegate.gateway.seal import Seal
from tidegate.gateway.sessions import Session, Sessions
from tidegate.gateway.subscriptions import Subscriptions
from tidegate.gateway.task_list import TaskList
from tidegate.gateway.tasks import Tasks
from tidegate.gateway.view import View
from tidegate.ports.identity import Credentials, Vouched
from tidegate.protocol import inbound, revisions
from tidegate.protocol.codec import Object, decode_message, decode_object, decode_value, encode
from tidegate.protocol.tasks import EXTENSION
from tidegate.testing.loop_time import LoopTime

Json = dict[str, Any]
KEY = bytes(range(32))
CAPABILITIES = (
    b'{"tools":{"listChanged":true},"resources":{"subscribe":true,"listChanged":true},'
    b'"extensions":{"io.modelcontextprotocol/tasks":{}},"tasks":{"requests":{"tools":{"call":{}}}}}'
)
ROLES = (Rule(Effect.DENY, frozenset({"barred"})), Rule(Effect.ALLOW, frozenset({"user"})))


def principal(name: str, role: str = "user") -> Principal:
    """Give a principal."""
    return Principal("t", "test", name, frozenset({role}))


class WatchChannel:
    """A channel that can only be asked to tell of something."""

    def __init__(self, capabilities: bytes = CAPABILITIES) -> None:
        self.upstream = Upstream("legacy", "2025-11-25", b"{}", capabilities)
        self.asked: list[tuple[set[str], set[str]]] = []
        """What was asked for, each time."""
        self.refuses: set[str] = set()
        self.questions: list[Outbound] = []
        self.answers: dict[str, Json | ChannelFailure] = {}
        """By task: how it is."""
        self.failing: ChannelFailure | None = None
        self.silent = asyncio.Event()
        self.silent.set()

    @property
    def watched(self) -> set[str]:
        """What it tells of now."""
        return set() if not self.asked else set().union(*self.asked[-1]) - self.refuses

    async def ask(self, outbound: Outbound) -> Reply:
        """As `Channel.ask`."""
        self.questions.append(outbound)
        answer = self.answers.get(json.loads(bytes(outbound.params["taskId"])))
        if isinstance(answer, ChannelFailure):
            raise answer
        if answer is None:
            return Reply(None, Raw(b'{"code":-32602,"message":"no such task"}'))
        return Reply(Raw(json.dumps(answer).encode()), None)

    async def watch(self, uris: frozenset[str], tasks: frozenset[str]) -> None:
        """As `Channel.watch`."""
        self.asked.append((set(uris), set(tasks)))
        await self.silent.wait()
        if self.failing is not None:
            raise self.failing
        if self.refuses & (uris | tasks):
            raise ChannelFailure("server refuses some of it")


@dataclass
class FakeLease:
    """A place."""

    workload: Workload
    released: bool = False

    @property
    def channel(self) -> WatchChannel:
        return cast("WatchChannel", self.workload.channel)

    def __enter__(self) -> FakeLease:
        return self

    def __exit__(self, *exception: object) -> None:
        self.released = True


@dataclass
class FakePool:
    """One server's workloads."""

    spec: ServerSpec
    workloads: dict[str, Workload] = field(default_factory=dict[str, Workload])

    def holder(self, sharing: str, workload: str) -> Workload | None:
        """As `Pool.holder`."""
        found = self.workloads.get(sharing)
        return found if found is not None and found.identity.id == workload else None


class FakeFleet:
    """Brings workloads up as soon as they are asked for."""

    def __init__(self, specs: Sequence[ServerSpec]) -> None:
        self.pools = {each.name: FakePool(each) for each in specs}
        self.capabilities: dict[str, bytes] = {}
        self.failing: Refusal | None = None
        self.leases: list[FakeLease] = []
        self.offers: list[object] = []
        self._numbers = itertools.count(1)

    def start(self, server: str, sharing: str, name: str = "") -> Workload:
        """Have a workload run, anew where there is one."""
        pool = self.pools[server]
        name = name or f"tg-{server}-{next(self._numbers)}"
        identity = WorkloadIdentity(name, "i", WorkloadKey(server, pool.spec.digest(), sharing))
        track = Track(pool.spec, cast("Launcher", None), pool.spec.digest(), asyncio.get_running_loop().time)
        made = Workload(track, identity, cast("Owner", None))
        made.sharing = sharing
        made.channel = cast("Any", WatchChannel(self.capabilities.get(server, CAPABILITIES)))
        pool.workloads[sharing] = made
        return made

    async def lease(
        self, server: str, sharing: str, asker: object, timeout: float, *, offer: object = None
    ) -> FakeLease:
        """As `Fleet.lease`."""
        if self.failing is not None:
            raise self.failing
        workload = self.pools[server].workloads.get(sharing) or self.start(server, sharing)
        self.offers.append(offer)
        self.leases.append(FakeLease(workload))
        return self.leases[-1]


class FakeStreams:
    """Sessions' streams: what each got."""

    def __init__(self) -> None:
        self.got: dict[str, list[tuple[str, Json]]] = {}
        self.held_by: dict[str, Principal] = {}
        """Who holds each, where that is another principal than the one that subscribed."""
        self._at: dict[str, str] = {}
        self._whose: dict[str, str] = {}

    def open(self, session: str, endpoint: str = "/mcp", principal: str = "") -> list[tuple[str, Json]]:
        """Open a session's stream; give what it gets."""
        self._at[session] = endpoint
        self._whose[session] = principal
        return self.got.setdefault(session, [])

    def shut(self, session: str) -> None:
        """Lose it."""
        del self.got[session], self._at[session]

    def notify(self, session: str, method: str, params: Object) -> bool:
        """As `Streams.notify`."""
        if session not in self.got:
            return False
        self.got[session].append((method, cast("Json", decode_value(encode(params)))))
        return True

    def holder(self, session: str) -> Principal | None:
        """As `Streams.holder`."""
        return self.held_by.get(session)

    def sessions(self, endpoint: str, principal: str = "") -> Iterator[str]:
        """As `Streams.sessions`."""
        yield from [
            each
            for each, path in self._at.items()
            if path == endpoint and principal in ("", self._whose.get(each, ""))
        ]


class Ears:
    """One gateway; `again` gives the next one on the same state."""

    def __init__(
        self, *specs: ServerSpec, state: MemoryState | None = None, endpoints: Sequence[EndpointSpec] = ()
    ) -> None:
        self.time = LoopTime()
        self.specs = specs or (spec("one", sharing=Sharing.SHARED),)
        names = tuple(each.name for each in self.specs)
        self.declared = endpoints or [EndpointSpec("/mcp", names, rules=ROLES)]
        self.endpoints = {each.path: self._endpoint(each) for each in self.declared}
        self.state = state or MemoryState(clock=self.time)
        self.fleet = FakeFleet(self.specs)
        self.streams = FakeStreams()
        self.sessions = Sessions({KEY[:4]: KEY}, KEY[:4], self.state, self.now)
        self.tasks = Tasks(Seal({KEY[:4]: KEY}, KEY[:4], self.now), self.time)
        self.stops = Stops()
        self.list = TaskList(cast("Any", self.fleet), self.state, self.tasks, self.now, self.stops)
        self.revoked: set[str] = set()
        self.subscriptions = Subscriptions(
            cast("Any", self.fleet), self.state, self.tasks, self.streams, self.endpoints,
            sharing=self.sharing, now=self.now, stops=self.stops,
        )  # fmt: skip
        self.subscriptions.look_again = self.look_again
        self._numbers = itertools.count(1)

    def again(self) -> Ears:
        """Give the next gateway."""
        return Ears(*self.specs, state=self.state, endpoints=self.declared)

    def now(self) -> float:
        """Give Unix seconds."""
        return 1_800_000_000.0 + self.time()

    async def sharing(self, call: Call, server: str) -> str:
        """Say whose workload a call goes to."""
        shared = self.fleet.pools[server].spec.sharing is Sharing.SHARED
        return SHARED if shared else call.principal.key + call.offer.suffix

    async def look_again(self, call: Call) -> None:
        """See whether who calls still may."""
        if call.principal.subject in self.revoked:
            raise Unauthenticated("no such key")

    def _endpoint(self, declared: EndpointSpec) -> Endpoint:
        endpoint = Endpoint(declared, Authorizer(declared))
        known = {name: Definitions(capabilities=decode_object(CAPABILITIES)) for name in declared.servers}
        endpoint.show(View(declared, definitions=known))
        return endpoint

    # -- clients ------------------------------------------------------------------------------

    async def session(self, who: Principal, path: str = "/mcp", capabilities: Json | None = None) -> Session:
        """Initialise a legacy client."""
        declared = json.dumps(capabilities or {}).encode()
        session_id = self.sessions.create(who, path, "2025-11-25", "c 1", declared)
        return await self.sessions.open(session_id, who, path)

    def legacy(
        self, who: Principal, session: Session, method: str, path: str = "/mcp", **params: Any
    ) -> Call:
        """Make a legacy client's request."""
        headers = {b"mcp-protocol-version": b"2025-11-25", b"mcp-session-id": b"s"}
        call = self._call(headers, who, path, next(self._numbers), method, params)
        call.session = session
        return call

    def modern(
        self,
        who: Principal,
        method: str,
        path: str = "/mcp",
        *,
        tasks: bool = True,
        request_id: object = 7,
        **params: Any,
    ) -> Call:
        """Make a modern client's request."""
        declared = {"extensions": {EXTENSION: {}}} if tasks else {}
        meta = {revisions.META_VERSION: revisions.MODERN, revisions.META_CAPABILITIES: declared}
        headers = {b"mcp-protocol-version": revisions.MODERN.encode(), b"mcp-method": method.encode()}
        if "taskId" in params:
            headers[b"mcp-name"] = str(params["taskId"]).encode()
        elif "name" in params:
            headers[b"mcp-name"] = str(params["name"]).encode()
        return self._call(headers, who, path, request_id, method, {**params, "_meta": meta})

    def _call(
        self,
        headers: dict[bytes, bytes],
        who: Principal,
        path: str,
        request_id: object,
        method: str,
        params: Json,
    ) -> Call:
        body = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
        read = inbound.read(headers, decode_message(json.dumps(body).encode()))
        endpoint = self.endpoints[path]
        call = Call(f"c{next(self._numbers)}", read, endpoint, Credentials(None, "192.0.2.1"), self.time())
        call.vouched = Vouched(who)
        return call

    def listen(self, who: Principal, *, call: Call | None = None, **wanted: Any) -> Stream:
        """Open a modern client's stream."""
        call = call or self.modern(who, "subscriptions/listen", notifications=wanted)
        return Stream(self, call)


class Stream:
    """A modern client's stream: what it got."""

    def __init__(self, ears: Ears, call: Call) -> None:
        self.got: list[Json] = []
        self.gone = False
        """Whether the client takes nothing more."""
        call.say = self._say
        self.task = asyncio.create_task(ears.subscriptions.listen(call))

    def _say(self, message: bytes) -> bool:
        if not self.gone:
            self.got.append(json.loads(message))
        return not self.gone

    @property
    def honoured(self) -> Json:
        """What the first message says."""
        assert self.got[0]["method"] == "notifications/subscriptions/acknowledged"
        found: Json = self.got[0]["params"]["notifications"]
        return found

    @property
    def told(self) -> list[tuple[str, Json]]:
        """What came after it: methods, and params without their `_meta`."""
        return [
            (each["method"], {key: value for key, value in each["params"].items() if key != "_meta"})
            for each in self.got[1:]
        ]


def updated(uri: str) -> Object:
    """Give the params of a notice."""
    return {"uri": Raw(encode(uri))}


UNAVAILABLE = ServerUnavailable("server one is not available: it is broken")
