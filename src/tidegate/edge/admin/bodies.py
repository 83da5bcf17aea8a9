"""Bodies: what an administrator sends. Strict: what is not known is refused, and everything is bounded."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StrictBool,
    StrictInt,
    StrictStr,
    model_validator,
)

from tidegate.audit.search import MOST, Wanted
from tidegate.domain.stop import LONGEST_NAME, LONGEST_REASON, StopScope, mistake
from tidegate.domain.target import LISTED
from tidegate.gateway.named import Named

Reason = Annotated[str, Field(max_length=500)]
MOST_REPLICAS = 1000


class Body(BaseModel):
    """Nothing need be said."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ReasonBody(Body):
    """Why it is done."""

    reason: Reason = ""
    """For the journal, and for those who look at the server."""


class RestartBody(ReasonBody):
    """Why a server is restarted, and whether to wait for it."""

    wait: Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)] = 0.0
    """Seconds to wait for the end; what is not done by then goes on."""


class QuarantineBody(Body):
    """Why a server is taken out of use."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Shown to whoever calls it."""


class ScaleBody(ReasonBody):
    """How many workloads a shared server is to have, until the gateway ends or the settings change."""

    min: Annotated[int, Field(ge=0, le=MOST_REPLICAS, strict=True)]
    max: Annotated[int | None, Field(ge=1, le=MOST_REPLICAS, strict=True)] = None
    """As `min` where absent, but at least 1."""

    @model_validator(mode="after")
    def _in_order(self) -> ScaleBody:
        if self.max is not None and self.max < self.min:
            raise ValueError("max should not be below min")
        return self


class SignalBody(ReasonBody):
    """An outside signal: a storm warning, the begin of a sale."""

    on: Annotated[bool, Field(strict=True)]
    """Whether it holds."""
    seconds: Annotated[float | None, Field(gt=0, le=30 * 86400, allow_inf_nan=False)] = None
    """For which it holds; until it is taken back where absent."""


class StopBody(Body):
    """What is stopped, and why."""

    scope: StopScope
    """What the stop is about."""
    name: Annotated[str, Field(max_length=LONGEST_NAME)] = ""
    """Of the tenant, client or server; a principal's subject, or its key of 32 hex digits; `server__tool` with the
    server's own name of the tool, or a pattern such as `server__get_*`. Absent where everything is stopped."""
    issuer: Annotated[str, Field(max_length=LONGEST_NAME)] = ""
    """Who vouches for the principal; where absent, whoever does."""
    reason: Annotated[str, Field(min_length=1, max_length=LONGEST_REASON)]
    """Told to whoever is refused."""
    seconds: Annotated[float | None, Field(gt=0, le=366 * 86400, allow_inf_nan=False)] = None
    """After which it ends by itself; where absent, only when it is resumed."""

    @model_validator(mode="after")
    def _makes_sense(self) -> StopBody:
        wrong = mistake(self.scope, self.name, self.reason, self.issuer)
        if wrong is not None:
            raise ValueError(wrong)
        return self

    @property
    def server(self) -> str:
        """The server that it is about; empty where it is about none."""
        return self.name.partition("__")[0] if self.scope in (StopScope.SERVER, StopScope.TOOL) else ""


Word = Annotated[str, Field(max_length=LONGEST_NAME)]
LongName = Annotated[str, Field(max_length=8192)]
"""Names and URIs."""
_Value = StrictBool | StrictInt | StrictStr | tuple[StrictStr, ...]


class ExplainBody(Body):
    """Who would ask for what."""

    subject: Word = ""
    """Whoever asks. Where nothing more is said of it, its roles are those of its API keys."""
    key: Annotated[str, Field(max_length=64)] = ""
    """In place of a subject: the id of an API key that speaks for it."""
    issuer: Word = ""
    """Who vouches for it; `key` for API keys, which it is where absent."""
    tenant: Word | None = None
    """`default` where absent; that of an administrator who is a tenant's."""
    roles: Annotated[tuple[Word, ...], Field(max_length=256)] = ()
    groups: Annotated[tuple[Word, ...], Field(max_length=1024)] = ()
    attributes: Annotated[dict[Word, _Value], Field(max_length=128)] = Field(default_factory=dict)
    client: Word = ""
    """The OAuth client, or agent, that asks in its name."""
    scopes: Annotated[tuple[Word, ...], Field(max_length=256)] | None = None
    """Those of its token; absent for whoever has no token, or is not to be held to any."""
    endpoint: Word = "/mcp"
    tool: LongName | None = None
    """What is asked for, as the endpoint shows it; one of these four."""
    prompt: LongName | None = None
    resource: LongName | None = None
    template: LongName | None = None
    server: Annotated[str, Field(max_length=64)] = ""
    """Where it is said, the name is this server's own."""
    arguments: dict[str, JsonValue] | None = None
    """Of the call; where absent, it is told whether it is shown."""

    @model_validator(mode="after")
    def _makes_sense(self) -> ExplainBody:
        if sum(getattr(self, kind.value) is not None for kind in LISTED) != 1:
            raise ValueError("should have one of tool, prompt, resource and template")
        if bool(self.subject) == bool(self.key):
            raise ValueError("should have one of subject and key")
        if self.key and (self.issuer or self.roles or self.groups or self.attributes or self.client):
            raise ValueError("a key says itself who asks: with it nothing more is said of that")
        return self

    def named(self) -> Named:
        """Give what is asked for."""
        kind = next(kind for kind in LISTED if getattr(self, kind.value) is not None)
        return Named(self.endpoint, kind, str(getattr(self, kind.value)), self.server)


class AuditQuery(Body):
    """Which records of the journal are looked for; what is not said may be anything."""

    principal: Word = ""
    """Who asked: a subject, or a principal's key of 32 hex digits."""
    tool: Word = ""
    """A pattern on `server__tool`, the server's own name of it, or on the name that was asked for."""
    server: Annotated[str, Field(max_length=64)] = ""
    decision: Literal["", "allowed", "refused"] = ""
    reason: Annotated[str, Field(max_length=64)] = ""
    """Why it was refused: the word of the error, such as `denied`."""
    kind: Annotated[str, Field(max_length=64)] = ""
    """The kind of record: `call.intent`, `call.outcome`, `refused`, `admin`, …"""
    id: Annotated[str, Field(max_length=64)] = ""
    """Of a call: `data.id` of an error."""
    since: Annotated[float, Field(ge=0, le=1e11)] = 0.0
    """Unix seconds: not before."""
    until: Annotated[float | None, Field(ge=0, le=1e11)] = None
    """Before."""
    limit: Annotated[int, Field(ge=1, le=MOST)] = 100
    """Records of a page."""
    after: Annotated[str | None, Field(max_length=256)] = None
    """`next` of the page before: good for whoever was given it, with the same questions, for an hour."""

    def wanted(self) -> Wanted:
        """Give what is looked for."""
        return Wanted(
            self.principal, self.tool, self.server, self.decision, self.reason, self.kind, self.id, self.since,
            float("inf") if self.until is None else self.until,
        )  # fmt: skip


class ChangeBody(Body):
    """A change that a command is about to make by itself, beside the gateway."""

    event: Literal["secret_set", "secret_rm", "secret_rotate_key", "volume_restore", "volume_rm"]
    name: Annotated[str, Field(max_length=200)] = ""
    """Of the secret or the volume; never what it holds."""


class RollbackBody(Body):
    """Which version of the settings is to be in force again."""

    to: Annotated[int, Field(ge=1, lt=10**9, strict=True)]
    """Its number."""
