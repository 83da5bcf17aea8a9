"""Build: the parts of the path of a call, put together. Opens nothing; decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field

from tidegate.access.authenticate import Authenticator
from tidegate.access.limits import CallLimits
from tidegate.access.quotas import Quotas
from tidegate.access.stops import Stops
from tidegate.audit.journal import Journal
from tidegate.fleet.fleet import Fleet
from tidegate.fleet.workload import Workload
from tidegate.gateway.cache import ReadCache
from tidegate.gateway.catalog import Catalog
from tidegate.gateway.elsewhere import Elsewhere
from tidegate.gateway.endpoint import Endpoint
from tidegate.gateway.event_ids import EventIds
from tidegate.gateway.exchange import Exchange
from tidegate.gateway.forward import Forward
from tidegate.gateway.halt import Halt
from tidegate.gateway.inquiries import Inquiries
from tidegate.gateway.local import LocalAnswers
from tidegate.gateway.mail import Mail
from tidegate.gateway.parked import ParkedCalls
from tidegate.gateway.pipeline import Pipeline
from tidegate.gateway.places import Places
from tidegate.gateway.questions import Questions
from tidegate.gateway.relays import Relays
from tidegate.gateway.replies import Replies
from tidegate.gateway.rights import Rights
from tidegate.gateway.rounds import Rounds
from tidegate.gateway.routes import Routes
from tidegate.gateway.running import Running
from tidegate.gateway.seal import Seal
from tidegate.gateway.sessions import Sessions
from tidegate.gateway.streams import Streams
from tidegate.gateway.subscriptions import Subscriptions
from tidegate.gateway.task_list import TaskList
from tidegate.gateway.tasks import Tasks
from tidegate.ports.state import State
from tidegate.protocol.codec import Object
from tidegate.telemetry import Metrics


@dataclass(frozen=True, slots=True)
class Given:
    """What there is already."""

    state: State
    fleet: Fleet
    catalog: Catalog
    journal: Journal
    authenticator: Authenticator
    limits: CallLimits
    metrics: Metrics
    keys: Mapping[bytes, bytes] = field(repr=False)
    """32-byte keys by their 4-byte ids, for all that clients carry sealed."""
    key_id: bytes
    """The key that seals."""
    now: Callable[[], float]
    """Unix seconds."""
    boot: str
    """Names this process, of letters and digits."""
    new_id: Callable[[], str]
    mail: Mail | None = None
    """The way to the gateways that share the state store, where there are any."""
    stops: Stops = field(default_factory=Stops)
    quotas: Quotas | None = None


@dataclass(frozen=True, slots=True)
class Path:
    """The path of a call."""

    pipeline: Pipeline
    sessions: Sessions
    streams: Streams
    subscriptions: Subscriptions
    parked: ParkedCalls
    inquiries: Inquiries
    task_list: TaskList
    relays: Relays | None
    rights: Rights

    def background(self) -> Mapping[str, Coroutine[None, None, None]]:
        """Give what is to run for as long as the gateway does, by name."""
        return {
            "session keeper": self.sessions.run(),
            "stream keeper": self.streams.run(),
            "subscription keeper": self.subscriptions.run(),
            "rights keeper": self.rights.run(),
        }

    def drain(self) -> None:
        """Take no more calls, and end what would not end by itself."""
        self.pipeline.draining = True
        self.streams.drain()
        self.subscriptions.drain()

    def leave(self, endpoints: Iterable[Endpoint]) -> None:
        """End what clients hold open at endpoints that are served no more. Calls under way there end by themselves."""
        for endpoint in endpoints:
            self.streams.leave(endpoint.path)
            self.subscriptions.listeners.leave(endpoint.path)

    async def close(self) -> None:
        """End what waits for clients."""
        await self.subscriptions.close()
        await self.task_list.close()
        await self.parked.close()
        await self.inquiries.close()
        if self.relays is not None:
            await self.relays.close()


def build(given: Given) -> Path:
    """Put the path of a call together."""
    fleet, metrics, journal, stops = given.fleet, given.metrics, given.journal, given.stops
    clock = asyncio.get_running_loop().time
    sessions = Sessions(given.keys, given.key_id, given.state, given.now, given.mail)
    seal = Seal(given.keys, given.key_id, given.now)
    relays = None if given.mail is None else Relays(given.mail)
    ids = EventIds(given.keys[given.key_id], given.boot)
    streams = Streams(ids, given.authenticator, sessions, relays, stops)
    questions = Questions(streams, given.boot, metrics, given.mail)
    inquiries = Inquiries(questions, journal, metrics, stops)
    tasks = Tasks(seal, clock)
    tasks.questions.admit = inquiries.admit
    task_list = TaskList(fleet, given.state, tasks, given.now, stops)
    rounds = Rounds(seal, inquiries)
    parked = ParkedCalls(given.limits, inquiries, given.new_id)
    replies = Replies(rounds, tasks)
    cache = ReadCache(clock)
    routes = Routes(tasks)
    places = Places(fleet, routes, inquiries, clock, stops)
    exchange = Exchange(places, routes, tasks, rounds, parked, cache)
    exchange.reread = given.catalog.reread
    forward = Forward(
        routes, places, exchange, tasks, rounds, parked, replies, streams, journal, metrics, clock,
        given.quotas or Quotas(clock=clock, now=given.now),
        None if given.mail is None else Elsewhere(parked, given.mail),
    )  # fmt: skip
    subscriptions = Subscriptions(
        fleet, given.state, tasks, streams, given.catalog.endpoints, sharing=places.sharing, now=given.now,
        stops=stops,
    )  # fmt: skip
    local = LocalAnswers(sessions, journal, metrics, {**subscriptions.methods, **task_list.methods})
    running = Running(given.mail)
    pipeline = Pipeline(
        given.authenticator, sessions, local, forward, questions, streams, journal, given.limits, metrics,
        running, stops,
    )  # fmt: skip
    halt = Halt(stops, running, parked, inquiries, streams, subscriptions, given.catalog)
    stops.when_changed.append(halt.changed)
    streams.missed, streams.opened = subscriptions.missed, subscriptions.stream_opened
    subscriptions.look_again = pipeline.look_again
    rights = Rights(given.catalog.endpoints, parked, subscriptions.changed, pipeline.look_again)

    def ended(key: str, principal: str) -> None:
        fleet.end_session(f"{principal}.{key}")

    fleet.wanted = subscriptions.held
    sessions.when_ended += [questions.end_session, subscriptions.end_session, ended]
    _listen(given.catalog, subscriptions, cache)
    return Path(pipeline, sessions, streams, subscriptions, parked, inquiries, task_list, relays, rights)


def _listen(catalog: Catalog, subscriptions: Subscriptions, cache: ReadCache) -> None:
    """Have what the fleet and the catalog tell reach those whom it concerns."""

    def ready(workload: Workload) -> None:
        cache.forget(workload.spec.name)
        subscriptions.workload_ready(workload)

    def heard(server: str, workload: Workload, method: str, params: Object) -> None:
        cache.notified(server, method, params)
        subscriptions.notified(server, workload, method, params)

    catalog.ready, catalog.heard = ready, heard
    catalog.changed = catalog.changed_own = subscriptions.changed
