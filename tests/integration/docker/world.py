"""The program in the world outside: a name server, and TCP ports that give back what they get.

    world.py <name server's address> <other address> <port> <port>

Reads `name address` lines, which change where names lead, and writes what it sees.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from typing import cast

LEADS = {"api.example.test": "198.51.100.2", "one.wild.test": "198.51.100.3", "moving.test": "198.51.100.2"}
"""Where names lead at first."""


def say(line: str) -> None:
    print(line, flush=True)


class Names(asyncio.DatagramProtocol):
    """Answers A queries from the table (RFC 1035)."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        at, labels = 12, []
        while data[at]:
            labels.append(data[at + 1 : at + 1 + data[at]].decode())
            at += 1 + data[at]
        name, (kind,) = ".".join(labels).lower(), struct.unpack_from(">H", data, at + 1)
        say(f"name {name}")
        address = LEADS.get(name)
        found = address is not None and kind == 1
        head = struct.pack(">HHHHH", 0x8180 if address else 0x8183, 1, int(found), 0, 0)
        answer = struct.pack(">HHHIH", 0xC00C, 1, 1, 0, 4) + socket.inet_aton(address) if found else b""
        self.transport.sendto(data[:2] + head + data[12 : at + 5] + answer, addr)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    address, port = writer.get_extra_info("sockname")[:2]
    try:
        first = True
        while data := await reader.read(65536):
            if first:
                say(f"connection {address} {port} {data[:40].decode(errors='replace')}")
                first = False
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def main(own: str, other: str, *ports: str) -> None:
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(Names, (own, 53))
    for address in (own, other):
        for port in ports:
            await asyncio.start_server(echo, address, int(port))
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    say("ready")
    while line := await commands.readline():
        name, address = line.decode().split()
        LEADS[name] = address
        say("moved")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
