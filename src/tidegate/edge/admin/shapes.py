"""Shapes: what the gateway tells of its servers, as the control socket and the admin API give it.

They are the schema of the API; what is not named here is in no answer. No secret has a place in them.
"""

from __future__ import annotations

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict  # pydantic reads those of `typing` from Python 3.12 on only

from tidegate.edge.reloads import SettingsShape

_TOLD = ConfigDict(use_attribute_docstrings=True)


@with_config(_TOLD)
class UsageShape(TypedDict):
    """What a workload uses. Sizes in bytes; what the runtime cannot tell is 0."""

    cpu_seconds: float
    memory: int
    memory_peak: int
    pids: int
    rx: int
    tx: int
    read: int
    written: int
    companions: int


@with_config(_TOLD)
class WorkloadShape(TypedDict):
    """One running realisation of a server."""

    id: str
    state: str
    """`waiting`, `preparing`, `starting`, `ready`, `paused`, `draining`, `failed`, `quarantined`, `stopping` or `stopped`."""
    reason: str | None
    health: str
    """`healthy`, `suspect`, `ejected` or `unknown`."""
    health_reason: str | None
    version: str
    """Digest of the declaration it was made of."""
    of: str
    """Whose it is: `shared`, `unclaimed`, `principal`, `session` or `call`."""
    in_flight: int
    calls: int
    restarts: int
    started: float | None
    """Unix seconds since when it is ready."""
    era: str | None
    facts: dict[str, str]
    """What holds for it: image, digest, sandbox, limits."""
    usage: UsageShape | None


@with_config(_TOLD)
class ReplicasShape(TypedDict):
    """How many workloads there are."""

    ready: int
    wanted: int
    """Of the shared key; of servers that are not shared, as many as there are."""
    min: int
    """Of the shared key; with `sharing: call`, of those that wait for calls; else 0."""
    max: int


@with_config(_TOLD)
class ServerShape(TypedDict):
    """A server, as the table of servers shows it."""

    name: str
    state: str
    reason: str | None
    runtime: str
    transport: str
    launch: str
    """How it is launched, in one line. No argument, header or variable is in it."""
    sharing: str
    tools: int
    retry_in: float | None
    """Seconds until it is tried again."""
    replicas: ReplicasShape
    in_flight: int
    waiting: int
    """Calls that wait for a place."""
    p50: float | None
    """Seconds, of the calls of the last minute."""
    p95: float | None
    calls: int
    """In the last minute."""
    failures: int
    """In the last minute."""
    restarts: int
    """Since the gateway started."""
    memory: int | None
    """Bytes that its workloads use together; None where the runtime does not tell."""
    image: str | None
    """Image or package, with what pins it."""
    since: float | None
    """Unix seconds since when its oldest workload is ready."""
    rollout: str | None
    """What becomes of a change that is being brought in."""
    workloads: list[WorkloadShape]


@with_config(_TOLD)
class HappeningShape(TypedDict):
    """A change of a workload's state."""

    time: float
    workload: str
    state: str
    reason: str | None


@with_config(_TOLD)
class VersionShape(TypedDict):
    """One version of a server's declaration, of which there are workloads."""

    digest: str
    current: bool
    share: float
    """Of the new calls, that go to it."""
    calls: int
    """Since there is this version."""
    failures: int
    """Of those, the ones that broke or timed out."""
    errors: int
    """Of those, the ones that were answered with an error."""
    p95: float | None


@with_config(_TOLD)
class DemandShape(TypedDict):
    """What is asked of a server."""

    in_flight: int
    waiting: int
    wait: float
    """Seconds that calls waited for a place (p95 of the last 30 s)."""
    latency_p50: float | None
    latency_p95: float | None
    calls: int
    """In the last minute, as failures and errors."""
    failures: int
    errors: int
    ready: int
    starting: int
    paused: int


@with_config(_TOLD)
class DetailShape(ServerShape):
    """A server, with all there is to tell of it."""

    demand: DemandShape
    versions: list[VersionShape]
    history: list[HappeningShape]
    """The latest last."""


@with_config(_TOLD)
class DoneShape(TypedDict):
    """What was begun."""

    server: ServerShape
    done: bool
    """False where it goes on; events tell how."""


@with_config(_TOLD)
class SignalShape(TypedDict):
    """A signal from outside."""

    signal: str
    on: bool
    until: float | None
    """Unix seconds; None where it is on until it is taken back, or off."""
    servers: list[str]
    """That have replicas by it."""


@with_config(_TOLD)
class RolloutVersionShape(TypedDict):
    """One of the two versions of a rollout."""

    digest: str
    launch: str
    ready: int
    of: int
    """How many there are to be."""
    calls: int
    failures: int
    p95: float | None


@with_config(_TOLD)
class RolloutShape(TypedDict):
    """Where a rollout is, or how it ended."""

    server: str
    state: str
    strategy: str
    step: str | None
    reason: str | None
    paused: bool
    share: float | None
    """Of the calls, that the new version gets."""
    began: float
    changed: float
    old: str
    new: str
    undo: bool
    """Whether it can be undone."""
    versions: list[RolloutVersionShape]


@with_config(_TOLD)
class StopShape(TypedDict):
    """Something that is stopped. Times are Unix seconds."""

    id: str
    scope: str
    """`all`, `tenant`, `principal`, `client`, `server` or `tool`."""
    tenant: str
    """Of the administrator who made it, where that is not the operator: it is about nobody of another tenant."""
    name: str
    """Of what; empty where it is everything."""
    issuer: str
    """Who vouches for the principal; empty where it does not matter."""
    reason: str
    by: str
    since: float
    until: float | None
    """When it ends by itself, if it does."""


@with_config(_TOLD)
class QuotaUseShape(TypedDict):
    """What one principal, tenant, tool, or whatever counts by itself, has used of a quota now."""

    of: str
    used: float
    """Calls, or those under way; of a rate those that its bucket holds, which leaks."""
    seconds: float
    """Until there is room for one more; 0 where there is."""


@with_config(_TOLD)
class QuotaShape(TypedDict):
    """A quota in force."""

    name: str
    per: list[str]
    """What counts together; none: all calls."""
    limit: str
    """In words, such as `100/min, burst 20`."""
    calls: int
    period: str
    """`s`, `min`, `h` or `day`; empty where it is of calls at once."""
    burst: int
    at_once: int
    zone: str
    when_unknown: str
    """What becomes of calls while a day's count cannot be kept: `refuse` or `allow`."""
    only: dict[str, list[str]]
    """Which calls count, by `roles`, `tenants`, `endpoints`, `servers` and `tools`; what is absent stands for all."""
    unknown: str | None
    """Why it is not known how much is used, for which calls may be refused; mostly absent."""
    refused: int
    """Calls, since the gateway began."""
    keys: int
    """How many count by themselves."""
    uses: list[QuotaUseShape]
    """Those that use most, most first; at most 100."""


@with_config(_TOLD)
class QuotasShape(TypedDict):
    """The quotas in force."""

    quotas: list[QuotaShape]


@with_config(_TOLD)
class StopsShape(TypedDict):
    """What is stopped."""

    stops: list[StopShape]
    unknown: str | None
    """Why it is not known what is stopped now, for which every call is refused; mostly absent."""
    damaged: list[str]
    """Ids of stops that cannot be read, for which that is so. They can be resumed."""


@with_config(_TOLD)
class StopMadeShape(TypedDict):
    """A stop that was made."""

    stop: StopShape
    tools: list[str] | None
    """Tools that it is about, as far as they are known, by their server's own names; of a tool or a pattern only."""


@with_config(_TOLD)
class StopLiftedShape(TypedDict):
    """A stop that was taken back."""

    id: str
    stop: StopShape | None
    """What it was, where that could be read."""


@with_config(_TOLD)
class ReloadedShape(SettingsShape):
    """The version in force, and what became of the one before."""

    changes: dict[str, list[str]]
    """Names of servers, endpoints and keys, by what became of them."""


@with_config(_TOLD)
class SettingsVersionShape(TypedDict):
    """A version of the settings that is kept."""

    version: int
    time: float
    by: str
    file: str
    settings: str
    """Digest of the file's text."""
    changes: dict[str, list[str]]
    in_place_of_the_file: bool


@with_config(_TOLD)
class AdviceShape(TypedDict):
    """What each workload of a server should be given. Sizes in bytes."""

    server: str
    looks: int
    """How often its workloads were looked at."""
    killed: int
    """How many of them the kernel killed for want of memory."""
    memory: int
    """As declared."""
    memory_p95: int
    memory_highest: int
    memory_advised: int | None
    """None where too little was seen, or there is nothing to limit."""
    cpus: float
    cpus_p95: float
    cpus_advised: float | None
    reason: str
    changes: bool
    """Whether something else than what is declared is recommended."""


@with_config(_TOLD)
class AppliedShape(TypedDict):
    """What came of giving one workload what is recommended."""

    workload: str
    live: bool
    """Whether it holds now, without a restart."""
    reason: str | None


@with_config(_TOLD)
class TakenShape(TypedDict):
    """Advice that was taken."""

    advice: AdviceShape
    applied: list[AppliedShape]


@with_config(_TOLD)
class EndpointShape(TypedDict):
    """An endpoint and what it shows."""

    path: str
    servers: list[str]
    names: str
    left_out: list[str]
    tools: int


@with_config(_TOLD)
class AboutShape(TypedDict):
    """What the process tells of itself."""

    version: str
    instance: str
    pid: int
    url: str
    ready: bool
    draining: bool
    started: float
    in_flight: int
    settings: SettingsShape
    """The version in force."""


@with_config(_TOLD)
class GatewayShape(AboutShape):
    """The gateway itself."""

    endpoints: list[EndpointShape]


@with_config(_TOLD)
class StatusShape(GatewayShape):
    """The gateway with its servers: what the control socket gives at once."""

    servers: list[ServerShape]
