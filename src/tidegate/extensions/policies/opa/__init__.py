"""OPA: policies in Rego, decided by an Open Policy Agent that is asked by its REST API (https://www.openpolicyagent.org).

`api` asks it, within bounds, and `breaker` spares everybody the wait while it is away; `asked` says what it is told,
`said` what its answers mean, `changes` sees that its policies or their data are others, `policy` puts these together.
Only `api` knows of HTTP.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, cast
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
)

from tidegate.domain.durations import DURATION, seconds
from tidegate.domain.server import Secret
from tidegate.ports.extension import Extension, Surroundings
from tidegate.ports.policy import Policy

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PATH = r"[A-Za-z_][A-Za-z0-9_.-]*(/[A-Za-z_][A-Za-z0-9_.-]*){0,15}"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/-]{0,99}")


def _url(value: str) -> str:
    if value.startswith("unix://"):
        if not re.fullmatch(r"unix:///[^\s?#]{1,100}", value):
            raise ValueError("should be unix:// and the whole path of a socket")
        return value
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or port == 0
        or re.search(r"[\s\\]", value)
    ):
        raise ValueError("should be a URL that begins with https://, http:// (on this machine) or unix://")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("should have no user, no ?query and no #fragment")
    # Whoever stands between could answer in its place, and so allow anything.
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ValueError("should be https:// beyond this machine")
    return value.rstrip("/")


def _beside(value: Path, info: ValidationInfo) -> Path:
    base = getattr(info.context, "base", None)
    return base / value.expanduser() if isinstance(base, Path) else value


def _token(value: object, info: ValidationInfo) -> Secret:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str):
        raise ValueError("should be text; write it in quotes")  # noqa: TRY004 - pydantic collects ValueErrors
    expand = getattr(info.context, "secret", None)
    found = cast("str | Secret", expand(value)) if expand is not None else value
    token = found if isinstance(found, Secret) else Secret(found)
    if not re.fullmatch(r"[\x21-\x7e]{0,4096}", token.reveal()):
        raise ValueError("should be a token: printable, without spaces, 4096 characters at most")
    return token


def _names(value: tuple[str, ...]) -> tuple[str, ...]:
    if any(not _NAME.fullmatch(each) for each in value):
        raise ValueError("holds a name that no attribute can have")
    return value


ServerName = Annotated[str, Field(pattern=r"^[a-z0-9](-?[a-z0-9])*$", max_length=32)]
Document = Annotated[str, Field(pattern=f"^{_PATH}$", max_length=255)]
Token = Annotated[
    Secret, PlainValidator(_token), WithJsonSchema({"type": "string", "format": "text-with-references"})
]
Duration = Annotated[
    float,
    BeforeValidator(seconds),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": f"^{DURATION.pattern}$"},
            ],
            "format": "duration",
        }
    ),
]
CaFile = Annotated[
    Path,
    AfterValidator(_beside),
    Field(json_schema_extra={"type": "string", "format": "path", "minLength": 1}),
]


class OpaSettings(BaseModel):
    """Policies in Rego, decided by an Open Policy Agent ([OPA](opa.md))."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, arbitrary_types_allowed=True
    )

    url: Annotated[str, AfterValidator(_url), Field(max_length=1024)]
    """Where it answers: `http://127.0.0.1:8181`, `https://…`, or `unix:///run/opa.sock`."""
    path: Document
    """Path of the document that decides, with slashes: `tidegate/authz` for `package tidegate.authz`."""
    batch: Document | None = None
    """Path of a rule that decides about many targets at once; without it each is asked about by itself."""
    revision: Document | None = None
    """Path of a document that is another one whenever anything may be decided otherwise. Without it OPA's policies, and
    the data that they read, are read three times a second, and all that was decided is let go of when they change."""
    principal: Annotated[tuple[str, ...], AfterValidator(_names), Field(max_length=100)] | None = None
    """What OPA is told of whoever asks, beside the tenant: `subject` (with its issuer), `client`, `roles`, `groups`, and
    names of attributes. All who are alike in it are decided once. Where absent, OPA is told everything."""
    servers: Annotated[tuple[ServerName, ...], Field(min_length=1, max_length=1000)] | None = None
    """Servers that it decides about. Of others it is not asked, and says nothing, also while it is in trouble. Where
    absent, it decides about all."""
    timeout: Duration = Field(default=0.5, ge=0.01, le=5)
    """How long an answer may take; what is not answered by then is denied."""
    at_once: int = Field(default=16, ge=1, le=256)
    """Requests under way at a time; others wait, within their timeout."""
    token: Token | None = None
    """Token for OPA's own authentication, as `${env:OPA_TOKEN}` or another reference."""
    ca: CaFile | None = None
    """PEM file of the authorities to trust beside the system's and `outbound.ca_bundle`."""


@asynccontextmanager
async def open_opa(settings: OpaSettings, surroundings: Surroundings) -> AsyncGenerator[Policy, None]:
    """Open a way to it, and follow what changes there. It need not be there yet: until it answers, it denies."""
    import asyncio

    from tidegate.extensions.policies.opa.api import open_api
    from tidegate.extensions.policies.opa.policy import OpaPolicy

    async with open_api(settings, surroundings) as api:
        policy = OpaPolicy(settings, api)
        await policy.look()
        await policy.renew()
        following = asyncio.create_task(policy.follow(), name=f"changes of {settings.path}")
        try:
            yield policy
        finally:
            following.cancel()
            await asyncio.wait([following])


OPA: Extension[OpaSettings, Policy] = Extension(OpaSettings, open_opa)
