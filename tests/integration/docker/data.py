"""What the tests of volumes and companions share: a small database in Python, and a server that asks it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tests.integration.docker.base import engine, python_base, python_spec
from tidegate.domain.server import Companion, Secret, ServerSpec
from tidegate.domain.workload import WorkloadIdentity, WorkloadKey
from tidegate.ports.stream import Stream
from tidegate.testing.runtime_contract import Bench, Heard, nothing_said

DATABASE = """
import os, socket, sys, time
before = os.environ.get("AFTER")
if before:  # ends where what it needs does not answer at once
    socket.create_connection((before, 5000), 1).close()
count = int(open("/kept/count").read()) if os.path.exists("/kept/count") else 0
time.sleep(float(os.environ.get("SLOW", "0")))
print("listening", flush=True)
listening = socket.create_server(("0.0.0.0", 5000))
while True:
    there, _ = listening.accept()
    with there:
        asked = there.recv(100).decode()
        if asked == "end":
            os._exit(3)
        if asked.startswith("take"):
            left = int(asked[4:])
            there.sendall(b"go")
            while left:
                left -= len(there.recv(65536))
        if asked.startswith("fill"):
            open("/kept/much", "wb").write(bytes(int(asked[4:])))
        count += bool(asked)
        if os.path.isdir("/kept"):
            open("/kept/count", "w").write(str(count))
        there.sendall(f"{count} {os.environ['WORD']} {os.getuid()}".encode())
"""

CLIENT = """
import socket, sys
for line in sys.stdin:
    host, word = line.split()
    try:
        with socket.create_connection((host, 22 if word == "ssh" else 5000), 1) as there:
            there.sendall(word.encode())
            if word.startswith("take"):
                there.recv(2)
                there.sendall(bytes(int(word[4:])))
            print(there.recv(100).decode() or "nothing", flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"""


@dataclass
class Talk:
    """A server that was started, and what is said to it: a line for a line."""

    identity: WorkloadIdentity
    stream: Stream
    heard: Heard

    async def ask(self, line: str) -> str:
        before = len(self.heard.out)
        self.stream.write(line.encode() + b"\n")
        await self.heard.until(lambda h: h.out[before:].endswith(b"\n"))
        return self.heard.out[before:].decode().strip()


async def database(name: str = "db", **changes: Any) -> Companion:
    image = await python_base()
    env = {"WORD": Secret("quiet")}
    made = Companion(name, image, ("-u", "-c", DATABASE), ("python3",), env=env, port=5000)
    return replace(made, **changes)


async def beside(*companions: Companion, **changes: Any) -> ServerSpec:
    return python_spec(await python_base(), CLIENT, companions=companions, **changes)


def named(bench: Bench, spec: ServerSpec, sharing: str = "shared") -> WorkloadIdentity:
    identity = bench.identity(spec)
    return replace(identity, key=WorkloadKey(spec.name, spec.digest(), sharing))


async def start(bench: Bench, spec: ServerSpec, sharing: str = "shared") -> Talk:
    await bench.runtime.prepare(spec, nothing_said)
    heard = Heard()
    running = await bench.runtime.start(spec, named(bench, spec, sharing), heard)
    return Talk(running.identity, running.stream, heard)


async def left(instance: str) -> list[str]:
    """Give the names of what an instance has on the engine, volumes aside."""
    async with engine() as opened:
        label = f"dev.tidegate.instance={instance}"
        containers = [str(one["Names"][0]) for one in await opened.containers(label)]
        return sorted(containers + [str(one["Name"]) for one in await opened.networks(label)])
