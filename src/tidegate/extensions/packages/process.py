"""Process: runs an index's client, bounded in time and in what it writes.

The child gets an argv and the few variables that such a client reads, never a shell, never the
gateway's whole environment. Its words are kept for the error, without secrets.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import ssl
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from tidegate.domain.errors import RuntimeFailure
from tidegate.ports.extension import Surroundings

_KEPT = re.compile(
    r"(PATH|HOME|LANG|LC_ALL|XDG_CONFIG_HOME|XDG_CACHE_HOME|PIP_\w+|NPM_CONFIG_\w+|SSL_CERT_FILE|"
    r"SSL_CERT_DIR|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|NODE_EXTRA_CA_CERTS|(HTTPS?|ALL|NO)_PROXY)\Z",
    re.IGNORECASE,
)
_TIME = 900.0
_SIZE = 1024 * 1024 * 1024
"""Largest sum of the files that one package may bring, in bytes."""
_LOOK = 0.5
_LINES = 40
_CONFLICT = "The conflict is caused by:"
"""After it pip names each requirement of a conflict on a line of its own, up to an empty one."""
_LINE = 300


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a client: what to run, where it writes, and how to call it."""

    argv: Sequence[str]
    directory: Path
    """Working directory."""
    scratch: Path
    """Where everything it writes is, the working directory too; watched for its size."""
    env: Mapping[str, str]
    what: str
    """For people: `mcp-server-time 2026.10.19`."""
    done: str = "fetched"
    """What has been done to it in the end, for the error."""


def environment(surroundings: Surroundings, scratch: Path) -> dict[str, str]:
    """Give the variables for a client: this process's few that it reads, with proxy and authorities.

    The system's authorities and `surroundings.ca_bundle` are joined in a file below `scratch`.
    """
    env = {name: value for name, value in os.environ.items() if _KEPT.match(name)}
    env |= {
        "TMPDIR": str(scratch),
        "NO_UPDATE_NOTIFIER": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "NO_COLOR": "1",
    }
    if surroundings.proxy is not None:
        for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"):
            env[name] = surroundings.proxy
    if surroundings.ca_bundle is not None:
        system = env.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
        joined = scratch / "authorities.pem"
        parts = [Path(system)] if system and Path(system).is_file() else []
        try:
            joined.write_bytes(b"\n".join(part.read_bytes() for part in (*parts, surroundings.ca_bundle)))
        except OSError as error:
            raise RuntimeFailure(f"the CA bundle cannot be used: {error.strerror}") from error
        for name in ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"):
            env[name] = str(joined)
        env["npm_config_cafile"] = str(joined)
    return env


async def run(run: Run, say: Callable[[str], None]) -> None:
    """Run to the end; whatever is left of it is killed.

    Raises:
        RuntimeFailure: it failed, took too long or wrote too much; with its own last word.
    """
    try:
        child = await asyncio.create_subprocess_exec(
            *run.argv,
            cwd=run.directory,
            env=dict(run.env),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise RuntimeFailure(f"{run.what} cannot be {run.done}: {run.argv[0]}: {error.strerror}") from error
    lines: deque[str] = deque(maxlen=_LINES)
    try:
        async with asyncio.timeout(_TIME), asyncio.TaskGroup() as tasks:
            tasks.create_task(_listen(child, lines))
            bounded = tasks.create_task(_watch(run, child, say))
    except TimeoutError as error:
        raise RuntimeFailure(f"{run.what} cannot be {run.done}: not done within {_TIME:.0f} s") from error
    finally:
        _kill(child)
        await asyncio.shield(child.wait())
    if not bounded.result():
        raise RuntimeFailure(f"{run.what} cannot be {run.done}: it is larger than {_SIZE >> 20} MiB")
    if child.returncode != 0:
        raise RuntimeFailure(f"{run.what} cannot be {run.done}: {last_word(lines)}")


def _kill(child: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


async def _listen(child: asyncio.subprocess.Process, lines: deque[str]) -> None:
    rest = b""
    while child.stdout is not None and (data := await child.stdout.read(65536)):
        *whole, rest = (rest + data).split(b"\n")
        rest = rest[-4096:]
        lines.extend(line.decode(errors="replace").strip()[:4096] for line in whole)
    lines.append(rest.decode(errors="replace").strip())
    await child.wait()


async def _watch(run: Run, child: asyncio.subprocess.Process, say: Callable[[str], None]) -> bool:
    """Say how much is there until the child has ended; end it where it is too much, and give False."""
    told = -1
    while child.returncode is None:
        files, size = await asyncio.to_thread(measure, run.scratch)
        if size != told:
            say(f"fetching {run.what}: {files} files, {size / 1048576:.1f} MiB")
            told = size
        if size > _SIZE:
            _kill(child)
            return False
        with suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), _LOOK)
    return True


def measure(directory: Path) -> tuple[int, int]:
    """Give the number and the size in bytes of the files below `directory`, which may be changing."""
    files = size = 0
    for parent, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):
                size += os.lstat(os.path.join(parent, name)).st_size
                files += 1
    return files, size


def last_word(lines: Sequence[str]) -> str:
    """Choose the line that says why a client failed, and take credentials out of it."""
    told = [line for line in lines if line]
    if _CONFLICT in lines:
        # What pip says last names a page about conflicts, not this conflict.
        caused = takewhile(bool, list(lines)[list(lines).index(_CONFLICT) + 1 :])
        return clean("conflicting requirements: " + "; ".join(caused))
    errors = [line for line in told if line.startswith("ERROR:")][-1:]
    errors += [
        line for line in told if re.match(r"npm (error|ERR!) (?!code |errno|syscall|A complete log)\S", line)
    ][:1]
    chosen = (errors or told[-1:] or ["it ended without a word"])[0]
    chosen = re.sub(r"^(ERROR: |npm (error|ERR!) )", "", chosen)
    return clean(chosen)


def clean(text: str) -> str:
    """Take what may be a credential in a URL out of `text`, and bound it."""
    text = re.sub(r"(\w+://)[^/@\s]*@", r"\1", text)
    text = re.sub(r"(\w+://[^\s?]*)\?\S*", r"\1", text)
    return "".join(char for char in text if char.isprintable())[:_LINE]
