"""Helper: secrets that a `docker-credential-*` program keeps: an operating system's keychain, `pass`.

Speaks the helpers' protocol (docker/docker-credential-helpers): `get`, the server's URL on standard
input, JSON on standard output. The program is run without a shell and with few variables; what it says
when it fails is not repeated, since it may hold anything.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Field

from tidegate.domain.errors import SecretUnavailable
from tidegate.domain.server import Secret
from tidegate.ports.extension import Extension, Surroundings
from tidegate.ports.secrets import Secrets
from tidegate.secret_text import MAX_SECRET, checked

_NAME = re.compile(
    r"(?P<program>[a-z0-9][a-z0-9._-]{0,62})/(?P<url>[!-~]{1,1000}?)(#(?P<field>username|secret))?"
)
_ANSWER = 2 * MAX_SECRET
_VARIABLES = (
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "TMPDIR", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME", "XDG_DATA_HOME", "DISPLAY", "WAYLAND_DISPLAY", "GNUPGHOME", "PASSWORD_STORE_DIR",
)  # fmt: skip
"""What keychains need to be found. No more: others of the gateway's variables may be secrets."""
_AT_ONCE = 4
_NOT_THERE = b"credentials not found in native keychain"
"""What a helper says where it has nothing by that URL (credentials.ErrCredentialsNotFound)."""


class HelperSettings(BaseModel):
    """Programs that keep credentials: `${helper:PROGRAM/URL}` asks `docker-credential-PROGRAM` for the secret of that URL, with `#username` for its user's name."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    directory: str | None = Field(default=None, pattern="^/", max_length=4096)
    """Where the programs are; where absent, they are looked for on `PATH`."""
    timeout: float = Field(default=10.0, gt=0, le=300)
    """Seconds that one may take. One that asks its user for a password needs more."""
    variables: tuple[str, ...] = Field(default=(), max_length=64)
    """Variables of the gateway that the programs get beside those by which a keychain is found."""


class HelperSecrets:
    """See `tidegate.ports.secrets.Secrets`. A name is `PROGRAM/URL`, `PROGRAM/URL#username` or `…#secret`."""

    def __init__(self, settings: HelperSettings) -> None:
        self._settings = settings
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def get(self, name: str) -> Secret:
        """Ask a program."""
        match = _NAME.fullmatch(name)
        if match is None:
            raise SecretUnavailable("helper: should be PROGRAM/URL, such as secretservice/https://host")
        program = f"docker-credential-{match['program']}"
        found = shutil.which(program, path=self._settings.directory or os.environ.get("PATH"))
        if found is None:
            raise SecretUnavailable(f"helper: there is no program {program}")
        async with self._turns:
            answer = await self._ask(found, program, match["url"])
        field = "Username" if match["field"] == "username" else "Secret"
        try:
            value = cast("dict[str, Any]", json.loads(answer))[field]
            if not isinstance(value, str) or not value:
                raise TypeError
            return Secret(checked(value, f"helper: what {program} gave"), (f"helper:{name}",))
        except (KeyError, TypeError, RecursionError):
            raise SecretUnavailable(f"helper: {program} gave no {field}") from None
        except ValueError as error:
            # What JSON's own errors say is the text that was read.
            why = (
                "what is not JSON" if isinstance(error, json.JSONDecodeError | UnicodeError) else "no secret"
            )
            raise SecretUnavailable(f"helper: {program} gave {why}") from None

    async def _ask(self, path: str, program: str, url: str) -> bytes:
        names = (*_VARIABLES, *self._settings.variables)
        environment = {name: os.environ[name] for name in names if name in os.environ}
        try:
            process = await asyncio.create_subprocess_exec(
                path, "get",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
                env=environment, cwd="/", start_new_session=True, limit=_ANSWER,
            )  # fmt: skip
        except OSError as error:
            raise SecretUnavailable(f"helper: {program} cannot be run: {error.strerror}") from None
        try:
            async with asyncio.timeout(self._settings.timeout):
                answer = await _talk(process, url.encode())
                status = await process.wait()
        except TimeoutError:
            raise SecretUnavailable(
                f"helper: {program} did not answer within {self._settings.timeout:g} s"
            ) from None
        finally:
            await _end(process)
        if status == 0:
            return answer
        if answer.strip() == _NOT_THERE:
            raise SecretUnavailable(f"helper: {program} has nothing for {url}")
        raise SecretUnavailable(f"helper: {program} ended with status {status}")


async def _talk(process: asyncio.subprocess.Process, url: bytes) -> bytes:
    """Say the URL and hear the answer, up to a bound."""
    if process.stdin is None or process.stdout is None:
        raise SecretUnavailable("helper: the program has no pipes")
    process.stdin.write(url)
    with suppress(ConnectionError):  # one that does not read may still answer
        await process.stdin.drain()
        process.stdin.close()
    heard = bytearray()
    while piece := await process.stdout.read(_ANSWER):
        heard += piece
        if len(heard) > _ANSWER:
            raise SecretUnavailable(f"helper: the answer is larger than {_ANSWER} bytes")
    return bytes(heard)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End it and what it started, and collect it."""
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, 9)
    await asyncio.shield(process.wait())


@asynccontextmanager
async def open_helper(
    settings: HelperSettings, surroundings: Surroundings
) -> AsyncGenerator[HelperSecrets, None]:
    """Open it; no program is run yet."""
    yield HelperSecrets(settings)


HELPER: Extension[HelperSettings, Secrets] = Extension(HelperSettings, open_helper)
