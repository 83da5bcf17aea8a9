"""Opening: what the outlet does with its rights, before it drops them and serves.

It is told what to allow by the variable TIDEGATE_OUTLET (JSON).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time

from tidegate.extensions.runtimes.docker.egress.sidecar import cable
from tidegate.extensions.runtimes.docker.egress.sidecar.outlet import DNS, Outlet, Sockets
from tidegate.extensions.runtimes.docker.egress.sidecar.report import Report
from tidegate.extensions.runtimes.docker.egress.sidecar.rules import Peer, Rules
from tidegate.extensions.runtimes.docker.egress.sidecar.watch import open_watch


def serve() -> None:
    """Take the cable, open what needs rights, drop them, serve. Does not return."""
    signal.signal(signal.SIGTERM, _end)  # the first process has no default for it
    told = json.loads(os.environ.pop("TIDEGATE_OUTLET"))
    rules = Rules(told["egress"], [Peer(*each) for each in told["peers"]], told["networks"], told["own"])
    port = told["port"]
    report = Report(sys.stdout.fileno(), time.monotonic)
    try:
        cable.take()
        sockets = _open(rules, port)
        cable.drop()
    except OSError as error:
        report.failed(f"the network cannot be furnished: {error}")
        raise
    asyncio.run(_serve(Outlet(rules, report, port), report, sockets))


def _end(_: int, __: object) -> None:
    os._exit(0)


def _open(rules: Rules, port: int | None) -> Sockets:
    queries = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    queries.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, cable.OUTLET_END.encode() + b"\0")
    queries.bind((cable.OUTLET, DNS))
    inner = sorted(rules.ports - {cable.HELLO})
    return Sockets(
        queries=queries,
        hello=cable.listener(cable.OUTLET_END, cable.HELLO),
        inner=[cable.listener(cable.OUTLET_END, each, any_address=True) for each in inner],
        outer=[] if port is None else [cable.listener(name, port) for name in cable.outside()],
        packets=open_watch(cable.OUTLET_END),
    )


async def _serve(outlet: Outlet, report: Report, sockets: Sockets) -> None:
    loop = asyncio.get_running_loop()
    os.set_blocking(0, False)

    def hear() -> None:
        try:
            data = os.read(0, 4096)
        except BlockingIOError:
            return
        if data:
            report.heard(data)
        else:
            loop.remove_reader(0)  # nobody will record anything any more

    loop.add_reader(0, hear)
    await outlet.run(sockets)
