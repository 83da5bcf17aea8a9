"""Spawn: runs a job by the launcher, as a child of the gateway that ends when the gateway does."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from tidegate.domain.errors import RuntimeFailure
from tidegate.extensions.runtimes.process.launcher.job import Job, write_job

_ProtocolT = TypeVar("_ProtocolT", bound=asyncio.SubprocessProtocol)
_ENTERED = 20.0
"""Seconds for the launcher to become the server, on a machine that is busy."""
_CODE = (
    "import sys; sys.path.append(sys.argv[1]); from launcher.main import main;"
    " main(int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))"
)


async def spawn(
    job: Job, protocol: Callable[[], _ProtocolT]
) -> tuple[asyncio.SubprocessTransport, _ProtocolT]:
    """Start a job; gives the child's transport once the launcher has handed over.

    The launcher's environment is empty and the job comes by a file of its own, so that no secret is in
    an argv and no variable meant for the server changes the launcher.

    Raises:
        RuntimeFailure: the launcher could not; nothing runs.
    """
    loop = asyncio.get_running_loop()
    job_fd = os.memfd_create("job")
    reads, writes = os.pipe2(os.O_CLOEXEC)
    try:
        os.write(job_fd, write_job(job))
        os.lseek(job_fd, 0, os.SEEK_SET)
        told = [str(Path(__file__).parent), str(job_fd), str(writes), str(os.getpid())]
        transport, made = await loop.subprocess_exec(
            protocol,
            sys.executable, "-I", "-S", "-B", "-c", _CODE, *told,
            pass_fds=(job_fd, writes), start_new_session=True, env={}, cwd="/",
        )  # fmt: skip
    except OSError as error:
        os.close(reads)
        raise RuntimeFailure(f"no process can be started: {error.strerror}") from error
    finally:
        os.close(job_fd)
        os.close(writes)
    try:
        async with asyncio.timeout(_ENTERED):
            said = await _read_all(reads)
    except TimeoutError:
        said = f"the sandbox was not entered within {_ENTERED:.0f} s"
    except BaseException:
        _end(transport)
        raise
    finally:
        os.close(reads)
    if said:
        _end(transport)
        raise RuntimeFailure(said)
    return transport, made


def _end(transport: asyncio.SubprocessTransport) -> None:
    with suppress(ProcessLookupError):
        transport.kill()
    transport.close()


async def _read_all(descriptor: int) -> str:
    """Read until all who could write are gone, without a thread."""
    loop = asyncio.get_running_loop()
    os.set_blocking(descriptor, False)
    done: asyncio.Future[str] = loop.create_future()
    parts: list[bytes] = []

    def more() -> None:
        data = os.read(descriptor, 4096)
        parts.append(data)
        if not data and not done.done():
            done.set_result(b"".join(parts)[:1000].decode(errors="replace"))

    loop.add_reader(descriptor, more)
    try:
        return await done
    finally:
        loop.remove_reader(descriptor)
