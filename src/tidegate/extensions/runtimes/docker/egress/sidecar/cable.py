"""Cable: the two ends, their names and addresses, and what each side does with its own.

The cell makes the cable, since it can name the outlet's name space by the process it shares a PID name space
with. Both need CAP_NET_ADMIN for as long as they do this, and drop it then.
"""

from __future__ import annotations

import os
import socket
import time

from tidegate.extensions.runtimes.docker.egress.sidecar.netlink import Netlink

CELL_END, OUTLET_END = "tide0", "cell"
CELL, OUTLET, BITS = "100.127.255.2", "100.127.255.1", 30
"""Of the range that carriers share (RFC 6598): in the name spaces of cell and outlet only."""
HELLO = 1
"""TCP port by which the cell tells that its end is done, which proves the cable too."""
NOBODY = 65532

_PATIENCE, _LOOK = 20.0, 0.01
_TABLE = 100
_TRANSPARENT = 19
"""IP_TRANSPARENT (ip(7)): answer from addresses that are not this machine's."""


def plug() -> None:
    """Make the cable from the cell's side and wait until the outlet answers over it.

    Raises:
        OSError: it does not come to that.
    """
    netlink = Netlink()
    try:
        netlink.up(socket.if_nametoindex("lo"))
        netlink.cable(CELL_END, OUTLET_END, 1)
        index = socket.if_nametoindex(CELL_END)
        netlink.address(index, CELL, BITS)
        netlink.up(index)
        netlink.gateway(index, OUTLET)
    finally:
        netlink.close()
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            with socket.create_connection((OUTLET, HELLO), 1.0):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_LOOK)


def take() -> None:
    """Wait for the outlet's end, and take whatever comes over it.

    Raises:
        OSError: no cell came.
    """
    deadline = time.monotonic() + _PATIENCE
    while OUTLET_END not in (name for _, name in socket.if_nameindex()):
        if time.monotonic() > deadline:
            raise OSError("no cell came")
        time.sleep(_LOOK)
    netlink = Netlink()
    try:
        index = socket.if_nametoindex(OUTLET_END)
        netlink.address(index, OUTLET, BITS)
        netlink.up(index)
        netlink.keep(OUTLET_END, _TABLE)
    finally:
        netlink.close()


def listener(interface: str, port: int, *, any_address: bool = False) -> socket.socket:
    """Open a TCP port on one interface only; with `any_address` for every address there is."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
    if any_address:
        opened.setsockopt(socket.SOL_IP, _TRANSPARENT, 1)
    opened.bind(("0.0.0.0", port))  # noqa: S104  # of one interface, which is no one else's
    return opened


def outside() -> list[str]:
    """Give the interfaces by which the outlet reaches others, or is reached."""
    return [name for _, name in socket.if_nameindex() if name.startswith("eth")]


def drop() -> None:
    """Become nobody, for good. All capabilities go with it (capabilities(7))."""
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
