"""Series of access: two hundred policies, and ten thousand principals with signed tokens of their own.

The issuer is the benchmark's: it signs the tokens beforehand, and serves its keys for as long as the series runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey

from bench import gateway
from bench.connection import Connection, Failed, connect
from bench.gateway import SERVER, Mode
from bench.process import http_upstream
from bench.series import Kind, Series, Subject, first_answer
from bench.wire import Era, Requests, Target, fault
from bench.work import Echo, Work

POLICIES = 200
PRINCIPALS = 10_000
REGIONS = ("eu", "uk", "sg", "us")
AUDIENCE = "bench"
_HOURS = 3600
_GREETERS = 8


def policies(count: int = POLICIES) -> str:
    """Give so many Cedar policies: one that allows what is called, the others about other roles, tools and regions."""
    made = [
        f'@id("p{number}")\n'
        + (
            f'permit(principal in Role::"r{number}", action, resource in Server::"{SERVER}")'
            f' when {{ resource.name like "get_{number}*" }};'
            if number % 2
            else f'forbid(principal in Role::"r{number}", action, resource)'
            f' when {{ principal has region && principal.region == "{REGIONS[number % len(REGIONS)]}" }};'
        )
        for number in range(count - 1)
    ]
    allow = f'@id("user")\npermit(principal in Role::"user", action, resource in Server::"{SERVER}");'
    return "\n".join([*made, allow])


def with_policies(place: Path) -> gateway.Settings:
    """Give the part of the settings file that has them."""
    file = place / f"bench-{secrets.token_hex(4)}.cedar"
    file.write_text(policies())
    return {"policies": [{"type": "cedar", "files": [str(file)], "attributes": {"region": "text"}}]}


@contextlib.asynccontextmanager
async def open_policies(place: Path) -> AsyncIterator[Subject]:
    """The gateway with API keys and policies, in front of the HTTP upstream."""
    async with (
        http_upstream(place) as url,
        gateway.serving(Mode.GOVERNED, gateway.remote(url), **with_policies(place)) as running,
    ):
        yield Subject(running.target, running.program, running)


@contextlib.asynccontextmanager
async def issuer(key: ECKey) -> AsyncIterator[str]:
    """Serve a key set on loopback; gives the issuer's URL."""

    async def keys(_: web.Request) -> web.Response:
        return web.json_response({"keys": [key.as_dict(private=False)]})

    app = web.Application()
    app.router.add_get("/keys", keys)
    runner = web.AppRunner(app)
    await runner.setup()
    port = gateway.unused_port()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


def tokens(
    key: ECKey, url: str, count: int, roles: Callable[[int], Sequence[str]] = lambda _: ("user",)
) -> list[str]:
    """Sign a token for each of so many principals, of four regions; `roles` gives those of each."""
    now = int(time.time())
    header = {"alg": "ES256", "typ": "at+jwt", "kid": key.kid}
    common = {"iss": url, "aud": AUDIENCE, "iat": now, "exp": now + _HOURS}
    return [
        jwt.encode(
            header,
            {
                **common,
                "sub": f"user-{number}",
                "roles": list(roles(number)),
                "region": REGIONS[number % len(REGIONS)],
            },
            key,
        )
        for number in range(count)
    ]


def signed_by(url: str, roles: Sequence[str] = ("user",)) -> gateway.Settings:
    """Give the entry of `auth` that takes the issuer's tokens, and these roles of them."""
    return {
        "type": "jwt",
        "issuer": url,
        "jwks_uri": f"{url}/keys",
        "audience": [AUDIENCE],
        "algorithms": ["ES256"],
        "roles": {"claims": ["roles"], "map": {role: role for role in roles}},
        "attributes": {"region": "region"},
        "scopes": [],
    }


def new_key() -> ECKey:
    """Make the key that an issuer signs with."""
    return ECKey.generate_key("P-256", {"kid": "bench", "use": "sig", "alg": "ES256"})


def crowd(signed: Sequence[str]) -> Callable[[Connection, Requests], Work]:
    """Give the work of connections that call for one principal after the other."""
    return lambda _, requests: Crowd(requests, signed)


class Crowd(Echo):
    """A call of echo, each for another principal."""

    def __init__(self, requests: Requests, signed: Sequence[str]) -> None:
        super().__init__(requests)
        self._signed = signed
        self._at = requests.connection * 7919  # connections do not go through them side by side

    def begin(self, number: int) -> bytes:
        """Give the call."""
        self._at += 1
        self._requests.speak_for(self._signed[self._at % len(self._signed)])
        return super().begin(number)


async def greet(target: Target, signed: Sequence[str]) -> None:
    """Call once for everybody: what a token costs when it is seen for the first time is not what its calls cost.

    Raises:
        Failed: a call was not answered rightly.
    """

    async def through(part: Sequence[str], number: int) -> None:
        connection, requests = await connect(replace(target, token=part[0]), Era.MODERN, number)
        try:
            for at, token in enumerate(part):
                requests.speak_for(token)
                words = requests.words(at)
                wrong = fault(*await connection.ask(requests.call(at, words)), at, words)
                if wrong is not None:
                    raise Failed(f"principal {at} of {len(part)}: {wrong}")
        finally:
            connection.close()

    await first_answer(Subject(target), Era.MODERN)
    async with asyncio.TaskGroup() as group:
        for number in range(_GREETERS):
            group.create_task(through(signed[number::_GREETERS], number))


@contextlib.asynccontextmanager
async def open_principals(place: Path) -> AsyncIterator[Subject]:
    """The gateway with policies and signed tokens, in front of the HTTP upstream."""
    key = new_key()
    async with issuer(key) as url, http_upstream(place) as upstream:
        more = {"auth": [{"type": "keys"}, signed_by(url)], **with_policies(place)}
        async with gateway.serving(Mode.GOVERNED, gateway.remote(upstream), **more) as running:
            signed = tokens(key, url, PRINCIPALS)
            await greet(running.target, signed)
            kind = Kind("", crowd(signed))
            yield Subject(replace(running.target, token=signed[0]), running.program, running, kind)


SERIES: Sequence[tuple[str, Callable[[Path], AbstractAsyncContextManager[Subject]], Sequence[Era]]] = (
    ("policies", open_policies, tuple(Era)),
    ("principals", open_principals, (Era.MODERN,)),
)


def all_series() -> list[Series]:
    """Give them in the order they are measured."""
    return [Series(name, "HTTP", opened, eras) for name, opened, eras in SERIES]
