"""Outlet: accepts what the list allows, opens a connection of its own for it, and tells.

Straight code around one loop: names, listeners, watch, report. Ends with its container; nothing outlives it.
"""

from __future__ import annotations

import asyncio
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import cast

from tidegate.extensions.runtimes.docker.egress.sidecar import cable
from tidegate.extensions.runtimes.docker.egress.sidecar.names import Names
from tidegate.extensions.runtimes.docker.egress.sidecar.relay import Relay, Side
from tidegate.extensions.runtimes.docker.egress.sidecar.report import Report
from tidegate.extensions.runtimes.docker.egress.sidecar.rules import Rules
from tidegate.extensions.runtimes.docker.egress.sidecar.watch import Watch

DNS = 53
_MOST_CONNECTIONS = 512
_LOOKUPS = 8
_GREETING = 20.0
_SAME = 1.0
"""Seconds within which the same name refused in a row is told once."""
_LOOKUP, _CONNECT = 8.0, 8.0
"""Seconds until a name, and until an address, counts as not answering."""
_ADDRESSES = 4
"""Of a name's addresses, how many are tried."""
_LONGEST_QUERY = 512


@dataclass
class Sockets:
    """What was opened while there were rights to do so."""

    queries: socket.socket
    hello: socket.socket
    inner: list[socket.socket]
    """Of the ports on the list."""
    outer: list[socket.socket]
    """By which an HTTP server is reached."""
    packets: socket.socket


class Outlet:
    """What is decided and done for one workload."""

    def __init__(self, rules: Rules, report: Report, port: int | None) -> None:
        self.rules = rules
        self.report = report
        self._port = port
        self._relay = Relay(_MOST_CONNECTIONS)
        self._names = Names(rules, self._refuse_name)
        self._lookups = ThreadPoolExecutor(_LOOKUPS)
        self._greeted = False
        self._refused_last = ("", 0.0)
        self._servers: list[asyncio.Server] = []

    async def run(self, sockets: Sockets) -> None:
        """Serve until the container is ended."""
        loop = asyncio.get_running_loop()
        sockets.queries.setblocking(False)
        loop.add_reader(sockets.queries, self._query, sockets.queries)
        watch = Watch(sockets.packets, cable.OUTLET, self.judge)
        loop.add_reader(sockets.packets, watch.look)
        for listener in sockets.inner:
            self._servers.append(await self._relay.listen(listener, self._out))
        for listener in sockets.outer:
            self._servers.append(await self._relay.listen(listener, self._in))
        await self._greet(sockets.hello)
        self.report.ready()
        while True:
            await asyncio.sleep(1.0)
            self.report.tick(int(time.time()))

    async def _greet(self, hello: socket.socket) -> None:
        """Wait until the cell has done its part, once."""
        loop = asyncio.get_running_loop()
        hello.listen(1)
        hello.setblocking(False)
        try:
            async with asyncio.timeout(_GREETING):
                greeted, _ = await loop.sock_accept(hello)
            greeted.close()
        finally:
            hello.close()
        self._greeted = True

    # --- what is refused before anybody listens

    def judge(self, protocol: str, address: str, port: int) -> str | None:
        """Say why a packet is refused, and tell it; None where somebody takes it."""
        if address == cable.OUTLET and (port == DNS or (port == cable.HELLO and not self._greeted)):
            return None
        name = self._names.name_of(address)
        if protocol == "tcp":
            if name is not None and self.rules.name_allowed(name, port):
                return None
            if name is None and self.rules.address_allowed(address, port):
                return None
            reason = "the port is not on the list" if name else "the address is not on the list"
        else:
            reason = f"{protocol} is shut"
        what = {"name": name} if name else {"address": address}
        self.report.refused(reason, int(time.time()), protocol=protocol, port=port, **what)
        return reason

    def _refuse_name(self, name: str, reason: str) -> None:
        now = time.monotonic()
        again, self._refused_last = self._refused_last, (name, now)
        if again[0] == name and now - again[1] < _SAME:
            return  # a program asks for each kind of address, and again
        self.report.refused(reason, int(time.time()), protocol="dns", name=name, port=DNS)

    def _query(self, queries: socket.socket) -> None:
        for _ in range(_LOOKUPS):
            try:
                query, asker = queries.recvfrom(_LONGEST_QUERY + 1)
                answer = self._names.answer(query)
                if answer is not None:
                    queries.sendto(answer, asker)
            except BlockingIOError:
                return
            except OSError:
                continue  # an error of an answer sent before (ICMP), or a full queue: the asker asks again

    # --- connections

    async def _out(self, side: Side) -> Side | None:
        """Open what a workload asked for."""
        address, port = _own_name(side)
        name = self._names.name_of(address)
        if name is None and not self.rules.address_allowed(address, port):
            return None  # told already, when its first packet was seen
        if name is not None and not self.rules.name_allowed(name, port):
            return None
        now = int(time.time())
        if self._relay.full:
            self.report.refused("too many connections", now, protocol="tcp", name=name or "", port=port)
            return None
        if name is None:
            return await self._connect("", address, port)
        for found in await self._look_up(name, port):
            objection = self.rules.objection(name, found, port)
            if objection is not None:
                self.report.refused(objection, now, protocol="tcp", name=name, address=found, port=port)
                continue
            other = await self._connect(name, found, port)
            if other is not None:
                return other
        return None

    async def _connect(self, name: str, address: str, port: int) -> Side | None:
        if not self.report.connected(name, address, port, int(time.time())):
            return None
        return await _open(address, port)

    async def _look_up(self, name: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        target = self.rules.peers[name].target if name in self.rules.peers else name + "."
        look = loop.run_in_executor(
            self._lookups, socket.getaddrinfo, target, port, socket.AF_INET, socket.SOCK_STREAM
        )
        try:
            async with asyncio.timeout(_LOOKUP):
                found = await look
        except (OSError, TimeoutError, ValueError):
            fields = {"protocol": "tcp", "name": name, "port": port}
            self.report.refused("the name leads nowhere", int(time.time()), **fields)
            return []
        return list(dict.fromkeys(str(one[4][0]) for one in found))[:_ADDRESSES]

    async def _in(self, side: Side) -> Side | None:
        """Open the server's own port for who comes from outside."""
        return None if self._port is None or self._relay.full else await _open(cable.CELL, self._port)


async def _open(address: str, port: int) -> Side | None:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_CONNECT):
            _, side = await loop.create_connection(Side, address, port)
    except (OSError, TimeoutError):
        return None
    return side


def _own_name(side: Side) -> tuple[str, int]:
    """Give what the workload connected to."""
    if side.transport is None:
        return "", 0
    return cast("tuple[str, int]", side.transport.get_extra_info("sockname"))
