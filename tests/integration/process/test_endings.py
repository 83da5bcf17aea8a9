"""How a server ends: asked, told, killed; and with the gateway that started it, however that ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.process.bench import INSTANCE, Benched, benched
from tidegate.domain.errors import ChannelClosed
from tidegate.domain.server import Mount

NOTES = """
import os, signal, sys, time
place = sys.argv[1]
def note(text):
    with open(os.path.join(place, text), "w") as opened:
        opened.write("x")
def ended(number, frame):
    note("term")
    os._exit(0)
signal.signal(signal.SIGTERM, ended)
print("up", flush=True)
sys.stdin.read()
note("eof")
time.sleep(600)
"""
FAMILY = """
import os, sys, time
for _ in range(3):
    if os.fork() == 0:
        if os.fork():
            os._exit(0)
        os.setsid()
        time.sleep(600)
print("up", flush=True)
time.sleep(600)
"""
GATEWAY = """
import asyncio, os, sys
from pathlib import Path
from tests.integration.process.bench import benched
async def main():
    async with benched(Path(sys.argv[1]), sys.argv[2]) as bench:
        running, heard = await bench.start(bench.spec(sys.argv[3], sys.argv[4]))
        await heard.until(lambda h: h.out == b"up\\n")
        print("ready", flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""


def alive(mark: str) -> list[int]:
    """Give the processes whose argv ends in `mark`, which are the server and its children."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().rstrip(b"\0").endswith(mark.encode()):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def test_a_stop_ends_the_input_then_asks_then_kills(bench: Benched, tmp_path: Path) -> None:
    work = bench.writable(tmp_path / "work")
    spec = bench.spec(NOTES, str(work), mounts=(Mount(str(work), str(work), writable=True),))
    running, heard = await bench.start(spec)
    await heard.until(lambda h: h.out == b"up\n")
    await bench.runtime.stop(running.identity, 10)
    assert sorted(path.name for path in work.iterdir()) == ["eof", "term"]
    assert heard.reasons == []


async def test_a_server_that_ends_with_its_input_is_stopped_at_once(bench: Benched) -> None:
    running, heard = await bench.start(bench.spec("import sys; print('up', flush=True); sys.stdin.read()"))
    await heard.until(lambda h: h.out == b"up\n")
    began = time.monotonic()
    await bench.runtime.stop(running.identity, 10)
    assert time.monotonic() - began < 0.9


async def test_nothing_of_a_server_outlives_its_stop(bench: Benched) -> None:
    mark = f"mark-{os.urandom(8).hex()}"
    running, heard = await bench.start(bench.spec(FAMILY, mark))
    await heard.until(lambda h: h.out == b"up\n")
    await until(lambda: len(alive(mark)) >= 4)
    await bench.runtime.stop(running.identity, 0.1)
    assert alive(mark) == []


async def test_nothing_of_a_server_outlives_its_main_process(bench: Benched) -> None:
    mark = f"mark-{os.urandom(8).hex()}"
    program = FAMILY.replace('print("up", flush=True)\ntime.sleep(600)', "sys.exit(3)")
    running, heard = await bench.start(bench.spec(program, mark))
    await heard.until(lambda h: h.reasons == ["exited with status 3"])
    await until(lambda: alive(mark) == [])
    await bench.runtime.stop(running.identity, 1)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_gateway_that_is_killed_leaves_nothing_running(
    bench: Benched, tmp_path: Path, root: Path, number: signal.Signals
) -> None:
    state, mark = tmp_path / "second", f"mark-{os.urandom(8).hex()}"
    gateway = await asyncio.create_subprocess_exec(
        sys.executable, "-c", GATEWAY, str(state), bench.sandbox, FAMILY, mark,
        stdout=asyncio.subprocess.PIPE, cwd=root,
    )  # fmt: skip
    assert gateway.stdout is not None
    async with asyncio.timeout(30):
        assert await gateway.stdout.readline() == b"ready\n"
    await until(lambda: len(alive(mark)) >= 2)  # the gateway's own argv, and the server's
    gateway.send_signal(number)
    await gateway.wait()
    await until(lambda: alive(mark) == [])
    async with benched(state, bench.sandbox) as after:
        left = await after.runtime.observe()
        assert [one.running for one in left] == [False]
        assert left[0].identity.instance == INSTANCE
        await after.runtime.stop(left[0].identity, 1)
        assert await after.runtime.observe() == []


async def test_a_server_killed_by_a_signal_says_which(bench: Benched) -> None:
    program = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    running, heard = await bench.start(bench.spec(program))
    await heard.until(lambda h: bool(h.reasons))
    assert heard.reasons == ["killed by SIGSEGV"]
    with pytest.raises(ChannelClosed):
        running.stream.write(b"x")
    await bench.runtime.stop(running.identity, 1)


async def test_what_a_server_does_not_read_is_counted_and_does_not_hold_up_a_stop(bench: Benched) -> None:
    program = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    running, heard = await bench.start(bench.spec(program))
    await heard.until(lambda h: h.out == b"up\n")
    for _ in range(64):
        running.stream.write(b"x" * 65536)
    assert running.stream.backlog > 2 * 1024 * 1024
    async with asyncio.timeout(5):
        await bench.runtime.stop(running.identity, 0.5)


async def test_the_loop_goes_on_while_servers_flood_and_are_stopped(bench: Benched) -> None:
    flood = "import os\nwhile True: os.write(1, b'x' * 65536); os.write(2, b'y' * 65536)"
    started = [await bench.start(bench.spec(flood)) for _ in range(2)]
    for _, heard in started:
        await heard.until(lambda h: h.count > 4 * 1024 * 1024)
    longest, last, going = 0.0, time.monotonic(), True

    async def tick() -> None:
        nonlocal longest, last
        while going:
            await asyncio.sleep(0.001)
            now = time.monotonic()
            longest, last = max(longest, now - last), now

    ticking = asyncio.ensure_future(tick())
    async with asyncio.timeout(10):
        await asyncio.gather(*(bench.runtime.stop(running.identity, 1) for running, _ in started))
    going = False
    await ticking
    assert longest < 0.5


async def test_closing_the_runtime_ends_what_runs(tmp_path: Path) -> None:
    mark = f"mark-{os.urandom(8).hex()}"
    async with benched(tmp_path / "state", "bubblewrap") as bench:
        _, heard = await bench.start(bench.spec(FAMILY, mark))
        await heard.until(lambda h: h.out == b"up\n")
    assert alive(mark) == []
    assert list((tmp_path / "state" / "runtime" / "process").glob("*.json")) == []
