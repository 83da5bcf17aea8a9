"""An engine that is reached over TCP, plain or with TLS and a client's certificate."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trustme

from tests.integration.docker.base import docker_bench
from tidegate.domain.errors import EngineUnavailable
from tidegate.extensions.runtimes.docker import DockerSettings, check
from tidegate.extensions.runtimes.docker.settings import locate_engine
from tidegate.testing.runtime_contract import ECHO

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


@asynccontextmanager
async def engine_on_tcp(tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Listen on a port of loopback and hand everything on to the real engine."""
    real = locate_engine(DockerSettings()).removeprefix("unix://")

    async def hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(65536):
                writer.write(piece)
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(real)
        await asyncio.gather(hand_on(reader, inner_writer), hand_on(inner_reader, writer))

    server = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def certificates(place: Path) -> ssl.SSLContext:
    """Write what the docker command reads into `place`, and give the engine's side of it."""
    authority = trustme.CA()
    mine, theirs = authority.issue_cert("client@example.com"), authority.issue_cert("localhost", "127.0.0.1")
    authority.cert_pem.write_to_path(place / "ca.pem")
    mine.private_key_pem.write_to_path(place / "key.pem")
    mine.cert_chain_pems[0].write_to_path(place / "cert.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    theirs.configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def test_a_workload_answers_over_an_engine_on_tcp(tmp_path: Path) -> None:
    async with engine_on_tcp() as port:
        settings = DockerSettings(socket=f"tcp://127.0.0.1:{port}", bootstrap=True)
        async with docker_bench(tmp_path, "b" * 16, settings) as bench:
            running, heard = await bench.run(ECHO)
            running.stream.write(b"hello\n")
            await heard.until(lambda h: h.out == b"heard hello\n")


async def test_a_workload_answers_over_an_engine_with_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = certificates(tmp_path)
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    async with engine_on_tcp(tls) as port:
        settings = DockerSettings(socket=f"tcp://127.0.0.1:{port}", bootstrap=True)
        async with docker_bench(tmp_path, "c" * 16, settings) as bench:
            running, heard = await bench.run(ECHO)
            running.stream.write(b"hello\n")
            await heard.until(lambda h: h.out == b"heard hello\n")


async def test_an_engine_with_a_strangers_certificate_is_not_spoken_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    strangers = certificates(tmp_path / "other")
    certificates(tmp_path)
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    async with engine_on_tcp(strangers) as port:
        with pytest.raises(EngineUnavailable):
            await check(DockerSettings(socket=f"https://127.0.0.1:{port}"))
