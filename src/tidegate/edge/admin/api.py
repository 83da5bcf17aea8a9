"""The admin API: `/api/v1`, as FastAPI serves and documents it. Imported at the first request to it.

It decides nothing: who asks was decided at the door, and what may be done is in `operations`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Depends, FastAPI, Header, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from tidegate import __version__
from tidegate.domain.errors import TidegateError
from tidegate.edge.admin import actions, problem
from tidegate.edge.admin.bodies import (
    AuditQuery,
    Body,
    ExplainBody,
    QuarantineBody,
    ReasonBody,
    RestartBody,
    RollbackBody,
    ScaleBody,
    SignalBody,
    StopBody,
)
from tidegate.edge.admin.door import Actor
from tidegate.edge.admin.explained import ExplanationShape, RecalledShape
from tidegate.edge.admin.feed import KEPT, Follower
from tidegate.edge.admin.parts import Parts
from tidegate.edge.admin.quotas import all_quotas
from tidegate.edge.admin.shapes import (
    AdviceShape,
    DetailShape,
    DoneShape,
    GatewayShape,
    QuotasShape,
    ReloadedShape,
    RolloutShape,
    ServerShape,
    SettingsVersionShape,
    SignalShape,
    StopLiftedShape,
    StopMadeShape,
    StopsShape,
    TakenShape,
)
from tidegate.edge.admin.sight import Sight, servers_in, sight_of
from tidegate.edge.reloads import SettingsShape

PREFIX = "/api/v1"
_KEY = HTTPBearer(auto_error=False, description="An API key with the role `admin`; looked at before this is.")


class ProblemAnswer(BaseModel):
    """Why a request was not done (RFC 9457)."""

    type: str
    title: str
    status: int
    reason: str
    """A stable word."""
    detail: str


class ServersAnswer(BaseModel):
    """The servers."""

    servers: list[ServerShape]


class RolloutsAnswer(BaseModel):
    """The rollouts."""

    rollouts: list[RolloutShape]


class SignalsAnswer(BaseModel):
    """The signals from outside."""

    signals: list[SignalShape]


class AdviceAnswer(BaseModel):
    """What is recommended."""

    advice: list[AdviceShape]


class RecordsAnswer(BaseModel):
    """Records of the journal."""

    records: list[dict[str, Any]]
    """As they stand there, newest first (docs/journal.md); what names other tenants is left out for administrators of one."""
    next: str | None
    """What to ask for as `after`, with the same questions, to have the next page; null where nothing is left. A page may be empty and not the last."""


class VersionsAnswer(BaseModel):
    """Versions of the settings; the one in force last."""

    versions: list[SettingsVersionShape]


router = APIRouter(prefix=PREFIX)
_PROBLEM: dict[str, Any] = {"model": ProblemAnswer, "content": {problem.KIND: {}}}


def _parts(request: Request) -> Parts:
    return cast("Parts", request.app.state.parts)


def _actor(request: Request) -> Actor:
    return cast("Actor", request.state.actor)


def _sight(request: Request) -> Sight:
    return sight_of(_actor(request), _parts(request).tenants())


def _enter(request: Request) -> None:
    """See that the operation is one for whoever asks, as are the servers that it is about."""
    operation = cast("str", request.scope["route"].name)
    _sight(request).enter(operation, servers_in(request.path_params, request.query_params, operation))


With = Annotated[Parts, Depends(_parts)]
Seen = Annotated[Sight, Depends(_sight)]
By = Annotated[Actor, Depends(_actor)]
Name = Annotated[str, Path(max_length=64, description="The server's name.")]


@router.get("/gateway", response_model=GatewayShape)
async def gateway(parts: With) -> GatewayShape:
    """Tell of the gateway itself, whether it takes calls, and of its endpoints."""
    return {**parts.about(), "endpoints": parts.views.endpoints()}


@router.get("/servers", response_model=ServersAnswer)
async def servers(parts: With, seen: Seen) -> Mapping[str, object]:
    """List the servers, with state, replicas, calls and what they use."""
    return {"servers": [each for each in parts.views.servers() if seen.sees(each["name"])]}


@router.get("/servers/{name}", response_model=DetailShape)
async def server(name: Name, parts: With) -> DetailShape:
    """Tell all of one server: its workloads, their health, demand, versions, history."""
    return parts.views.detail(parts.operations.pool(name))


@router.post("/servers/{name}/restart", response_model=DoneShape, status_code=202)
async def restart(name: Name, body: RestartBody, parts: With, by: By) -> DoneShape:
    """Replace each workload of a server, one at a time, each when its calls have ended."""
    return await actions.restart(parts, name, body, by)


@router.post("/servers/{name}/scale", response_model=DoneShape)
async def scale(name: Name, body: ScaleBody, parts: With, by: By) -> DoneShape:
    """Set how many workloads a shared server has, until the gateway ends or its settings change."""
    return await actions.scale(parts, name, body, by)


@router.post("/servers/{name}/quarantine", response_model=DoneShape)
async def quarantine(name: Name, body: QuarantineBody, parts: With, by: By) -> DoneShape:
    """Take a server out of use. It stays so until it is released."""
    return await actions.quarantine(parts, name, body, by)


@router.post("/servers/{name}/release", response_model=DoneShape)
async def release(name: Name, body: ReasonBody, parts: With, by: By) -> DoneShape:
    """Take a server out of quarantine: it is started again."""
    return await actions.release(parts, name, body, by)


@router.get("/signals", response_model=SignalsAnswer)
async def signals(parts: With, seen: Seen) -> Mapping[str, object]:
    """List the signals from outside: which are on, until when, and which servers have replicas by them."""
    return {"signals": parts.operations.signals(seen)}


@router.post("/signals/{name}", response_model=SignalShape)
async def signal(
    name: Annotated[str, Path(max_length=64, description="The signal's name, as `scaling.signals` has it.")],
    body: SignalBody,
    parts: With,
    by: By,
    seen: Seen,
) -> SignalShape:
    """Turn a signal from outside on, for a time or until it is taken back, or off. It is kept over a restart."""
    return await actions.signal(parts, name, body, by, seen)


@router.get("/quotas", response_model=QuotasShape)
async def quotas(parts: With, seen: Seen) -> QuotasShape:
    """List the quotas, with what is used of each now."""
    return all_quotas(parts.quotas, seen)


@router.get("/stops", response_model=StopsShape)
async def stops(parts: With, seen: Seen) -> StopsShape:
    """List what is stopped."""
    return await parts.stopping.all(seen)


@router.post("/stops", response_model=StopMadeShape, status_code=201)
async def stop(body: StopBody, parts: With, by: By, seen: Seen) -> StopMadeShape:
    """Stop calls: new ones are refused with the reason, those under way are cancelled. Workloads run on."""
    return await parts.stopping.add(body, by, seen)


@router.delete("/stops/{id}", response_model=StopLiftedShape)
async def resume(
    stop_id: Annotated[str, Path(alias="id", max_length=64, description="The stop's id.")],
    parts: With,
    by: By,
    seen: Seen,
    reason: Annotated[str, Query(max_length=500, description="Why, for the journal.")] = "",
) -> StopLiftedShape:
    """Take a stop back: new calls are taken again. What was ended is not begun anew."""
    return await actions.resume(parts, stop_id, ReasonBody(reason=reason), by, seen)


@router.post("/explain", response_model=ExplanationShape)
async def explain(body: ExplainBody, parts: With, by: By, seen: Seen) -> ExplanationShape:
    """Tell what would become of a call: allowed or denied, by what, and what would have allowed it. Nothing is called."""
    return await parts.explaining.explain(body, by, seen)


@router.get("/explain/{id}", response_model=RecalledShape)
async def recall(
    call: Annotated[
        str, Path(alias="id", max_length=64, description="`data.id` of an error, or a call's id.")
    ],
    parts: With,
    by: By,
    seen: Seen,
) -> RecalledShape:
    """Tell what became of a call, by what, and what would become of it now."""
    return await parts.explaining.recall(call, by, seen)


@router.get("/audit", response_model=RecordsAnswer)
async def audit(parts: With, by: By, seen: Seen, given: Annotated[AuditQuery, Query()]) -> Response:
    """Look up the journal, a page at a time. What is looked for is recorded."""
    body = await parts.auditing.page(given.wanted(), given.limit, given.after, by, seen)
    return Response(body, media_type="application/json")


@router.get("/advice", response_model=AdviceAnswer)
async def advice(parts: With, seen: Seen) -> Mapping[str, object]:
    """Tell what each server's workloads should be given, by what they were seen to use."""
    return {"advice": [each for each in parts.operations.advice() if seen.sees(each["server"])]}


@router.post("/advice/{name}", response_model=TakenShape)
async def take_advice(name: Name, body: Body, parts: With, by: By) -> TakenShape:
    """Give a server's workloads what is recommended, where their runtime can change it while they run."""
    return await parts.operations.take_advice(name, by)


@router.get("/rollouts", response_model=RolloutsAnswer)
async def rollouts(
    parts: With,
    seen: Seen,
    server: Annotated[str | None, Query(max_length=64, description="That of this server only.")] = None,
) -> Mapping[str, object]:
    """Tell where changes of servers are, and how the last one of each ended."""
    return {"rollouts": [each for each in parts.operations.rollouts(server) if seen.sees(each["server"])]}


@router.post("/rollouts/{name}/{action}", response_model=RolloutsAnswer)
async def rollout(
    name: Name, action: Literal["pause", "promote", "undo"], body: Body, parts: With, by: By
) -> Mapping[str, object]:
    """Have a rollout stay where it is, go on without waiting and judging, or be taken back."""
    await parts.operations.steer(name, action, by)
    return {"rollouts": parts.operations.rollouts(name)}


@router.post("/reload", response_model=ReloadedShape)
async def reload(body: Body, parts: With, by: By) -> Mapping[str, object]:
    """Take the settings file as it stands. Where it cannot be taken whole, nothing changes."""
    return await parts.operations.reload(by)


@router.get("/config", response_model=SettingsShape)
async def config(parts: With) -> SettingsShape:
    """Tell which version of the settings is in force, and what is wrong with the file."""
    return parts.operations.reloads.about()


@router.get("/config/versions", response_model=VersionsAnswer)
async def versions(parts: With) -> Mapping[str, object]:
    """List the versions of the settings that are kept, without their texts."""
    return {"versions": await parts.operations.reloads.versions()}


@router.post("/config/rollback", response_model=ReloadedShape)
async def rollback(body: RollbackBody, parts: With, by: By) -> Mapping[str, object]:
    """Put an earlier version of the settings in force, in place of the file until that changes."""
    return await parts.operations.roll_back(body.to, by)


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def events(
    request: Request,
    parts: With,
    recent: Annotated[int, Query(ge=0, le=KEPT, description="How many of the past to begin with.")] = 0,
    server: Annotated[str | None, Query(max_length=64, description="Those of this server only.")] = None,
    last_event_id: Annotated[
        str | None, Header(max_length=64, description="Go on after this one, as far as it is kept.")
    ] = None,
) -> StreamingResponse:
    """Follow what happens, as server-sent events, until the client goes away."""

    def hears(tenant: str, named: str | None) -> bool:
        return _sight(request).hears(tenant, named)  # as it is then

    return _Events(parts.feed.follow(last_event_id, recent=recent, server=server, hears=hears))


class _Events(StreamingResponse):
    """An event stream that lets go of who followed, also where nothing of it was sent."""

    def __init__(self, follower: Follower) -> None:
        super().__init__(
            follower.pieces(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
        )
        self._follower = follower

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._follower.leave()


def make(parts: Parts) -> FastAPI:
    """Make the application."""
    api = _bare()
    api.state.parts = parts
    api.openapi()  # made once, off the loop
    return api


def document() -> dict[str, Any]:
    """Give the OpenAPI document."""
    return _bare().openapi()


def _bare() -> FastAPI:
    api = FastAPI(
        title="tidegate admin API",
        version=__version__,
        summary="What a tidegate gateway runs, how it does, and what may be done about it.",
        description="Only for administrators: API keys with the role `admin`. Those of a tenant see and do what has to do "
        "with its own servers and principals.",
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses={"4XX": _PROBLEM, "5XX": _PROBLEM},
    )
    api.include_router(router, dependencies=[Depends(_KEY), Depends(_enter)])
    api.add_exception_handler(TidegateError, _told)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(HTTPException, _no_such)
    return api


async def _told(request: Request, error: Exception) -> Response:
    told = problem.as_problem(cast("TidegateError", error))
    headers = {"Retry-After": "1"} if told.status in (429, 503) else None
    return _answer(told.status, told.reason, str(told), headers)


async def _invalid(request: Request, error: Exception) -> Response:
    """Say what is wrong, and never what was sent."""
    said = actions.said(cast("RequestValidationError", error).errors())
    return _answer(422, "invalid_params", said)


async def _no_such(request: Request, error: Exception) -> Response:
    fault = cast("HTTPException", error)
    reason = {404: "no_such_path", 405: "method_not_allowed"}.get(fault.status_code, "invalid_request")
    return _answer(fault.status_code, reason, str(fault.detail), fault.headers)


def _answer(status: int, reason: str, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(problem.body(status, reason, detail), status, headers, media_type=problem.KIND)
