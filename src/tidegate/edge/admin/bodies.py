"""Bodies: what an administrator sends. Strict: what is not known is refused, and everything is bounded."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tidegate.domain.stop import LONGEST_NAME, LONGEST_REASON, StopScope, mistake

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


class ChangeBody(Body):
    """A change that a command is about to make by itself, beside the gateway."""

    event: Literal["secret_set", "secret_rm", "secret_rotate_key", "volume_restore", "volume_rm"]
    name: Annotated[str, Field(max_length=200)] = ""
    """Of the secret or the volume; never what it holds."""


class RollbackBody(Body):
    """Which version of the settings is to be in force again."""

    to: Annotated[int, Field(ge=1, lt=10**9, strict=True)]
    """Its number."""
