"""MCP servers over stdio that misbehave, one way each.

The first `--after` requests are answered as `legacy_stdio` does; from then on the named way holds. Standard
library only.

    python broken.py WAY [--after N] [--amount N] [--seconds S] …      (python broken.py --ways lists them)
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from scripted import Message, Script, options, result

NEVER_ENDS = 1 << 62


class Turn:
    """What a way has to work with: the request at hand (None before the first), and the pipes."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.chosen = chosen
        self.script = Script(chosen)
        self.message: Message | None = None
        self._lock = threading.Lock()

    def raw(self, data: bytes) -> None:
        """Write bytes to standard output as they are."""
        with self._lock:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    def send(self, message: Any) -> None:
        """Write one line, whole."""
        self.raw(json.dumps(message).encode() + b"\n")

    def proper(self) -> None:
        """Answer the request at hand as a good server does, before going on."""
        if self.message is not None:
            thread = self.script.take(self.message, self.send)
            if thread is not None:
                thread.join()

    def answers(self) -> list[Message]:
        """Give what a good server would send for the request at hand."""
        sent: list[Message] = []
        if self.message is not None:
            thread = self.script.take(self.message, sent.append)
            if thread is not None:
                thread.join()
        return sent


def silent(turn: Turn) -> None:
    """Never answers, and goes on reading."""


def deaf(turn: Turn) -> None:
    """Never answers and reads no more."""
    _sleep_for_ever()


def exits(turn: Turn) -> None:
    """Ends at once, with status `--amount` (1 by default)."""
    print("giving up: no configuration found", file=sys.stderr, flush=True)
    os._exit(turn.chosen.amount or 1)


def killed(turn: Turn) -> None:
    """Ends by a signal."""
    os.kill(os.getpid(), signal.SIGKILL)


def floods_bytes(turn: Turn) -> None:
    """Writes `--amount` bytes (without end by default) with no newline."""
    _flood(turn, b"x" * 65536)


def floods_lines(turn: Turn) -> None:
    """Writes `--amount` bytes (without end by default) of notifications."""
    line = b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"flood"}}\n'
    _flood(turn, line * 700)


def floods_stderr(turn: Turn) -> None:
    """Writes `--amount` bytes (without end by default) to standard error, while answering."""
    left = turn.chosen.amount or NEVER_ENDS

    def flood() -> None:
        nonlocal left
        while left > 0:
            left -= os.write(2, b"all work and no play makes a dull log\n" * 1000)

    threading.Thread(target=flood, daemon=True).start()
    turn.proper()
    _answer_the_rest(turn)


def wrong_ids(turn: Turn) -> None:
    """Answers every request with ids nobody used, and never with the right one."""
    for answer in turn.answers():
        for foreign in (f"{answer['id']}", 10**9, None, "tg-0-1", [1], True):
            turn.send({**answer, "id": foreign if foreign != answer["id"] else "other"})


def duplicates(turn: Turn) -> None:
    """Answers every request three times, the second and third time with other words."""
    for answer in turn.answers():
        turn.send(answer)
        turn.send(result(answer, {"content": [{"type": "text", "text": "second answer"}], "isError": False}))
        turn.send(
            {"jsonrpc": "2.0", "id": answer["id"], "error": {"code": -32000, "message": "third answer"}}
        )


def chatters(turn: Turn) -> None:
    """Sends unknown notifications, foreign progress and requests nobody may expect, then the answer."""
    turn.send({"jsonrpc": "2.0", "method": "notifications/of/its/own", "params": {"x": 1}})
    turn.send(
        {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 99, "progress": 1}}
    )
    turn.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 12345}})
    turn.send(
        {"jsonrpc": "2.0", "id": "mine-1", "method": "sampling/createMessage", "params": {"messages": []}}
    )
    turn.send({"jsonrpc": "2.0", "id": "mine-2", "method": "unheard/of"})
    turn.proper()


def huge_line(turn: Turn) -> None:
    """Answers with one line of `--amount` bytes (16 MiB by default)."""
    size = turn.chosen.amount or 16 << 20
    for answer in turn.answers():
        turn.send(result(answer, {"content": [{"type": "text", "text": "x" * size}], "isError": False}))


def half_line(turn: Turn) -> None:
    """Writes half of the answer, waits `--seconds`, then the rest."""
    for answer in turn.answers():
        line = json.dumps(answer).encode() + b"\n"
        turn.raw(line[: len(line) // 2])
        time.sleep(turn.chosen.seconds)
        turn.raw(line[len(line) // 2 :])


def byte_by_byte(turn: Turn) -> None:
    """Writes the answer one byte at a time."""
    for answer in turn.answers():
        for byte in json.dumps(answer, ensure_ascii=False).encode() + b"\n":
            turn.raw(bytes([byte]))


def garbage(turn: Turn) -> None:
    """Writes what is no JSON-RPC, then the answer."""
    turn.raw(b"Welcome to the server!\n\n   \n\r\n")
    turn.raw(b'\xff\xfe\x00not utf-8\n{\n}\n[]\n[1,2]\nnull\n42\n"text"\n{"jsonrpc":"2.0"}\n')
    turn.raw(b'{"jsonrpc":"2.0","id":1,"id":2,"result":{}}\n{"jsonrpc":"1.0","id":1,"result":{}}\n')
    turn.proper()


def deep(turn: Turn) -> None:
    """Answers with JSON nested `--amount` deep (100,000 by default)."""
    depth = turn.chosen.amount or 100_000
    for answer in turn.answers():
        identity = json.dumps(answer["id"]).encode()
        nested = b"[" * depth + b"]" * depth
        turn.raw(b'{"jsonrpc":"2.0","id":%s,"result":{"content":%s}}\n' % (identity, nested))


def eats_memory(turn: Turn) -> None:
    """Takes memory until it is stopped, `--amount` bytes at most (without end by default)."""
    hoard: list[bytearray] = []
    while len(hoard) << 20 < (turn.chosen.amount or NEVER_ENDS):
        hoard.append(bytearray(os.urandom(1 << 20)))
    turn.proper()


def eats_processes(turn: Turn) -> None:
    """Starts `--amount` processes that sleep (as many as it can by default), then answers."""
    children: list[subprocess.Popen[bytes]] = []
    try:
        while len(children) < (turn.chosen.amount or 100_000):
            children.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]))
    except OSError as problem:
        print(f"stopped at {len(children)} processes: {problem}", file=sys.stderr, flush=True)
    turn.proper()


def stubborn(turn: Turn) -> None:
    """Ignores SIGTERM and the end of its input; only a kill ends it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    turn.proper()
    _answer_the_rest(turn)
    _sleep_for_ever()


def orphans(turn: Turn) -> None:
    """Leaves behind a child in a session of its own that keeps the pipes open and ignores SIGTERM."""
    code = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    print(f"left {child.pid} behind", file=sys.stderr, flush=True)
    turn.proper()


def closes_stdout(turn: Turn) -> None:
    """Closes its standard output and lives on."""
    os.close(1)
    _sleep_for_ever()


def _sleep_for_ever() -> None:
    while True:
        time.sleep(3600)


def _flood(turn: Turn, block: bytes) -> None:
    left = turn.chosen.amount or NEVER_ENDS
    while left > 0:
        turn.raw(block[:left] if left < len(block) else block)
        left -= len(block)


def _answer_the_rest(turn: Turn) -> None:
    for line in sys.stdin:
        if line.strip():
            turn.message = json.loads(line)
            turn.proper()


WAYS: dict[str, Callable[[Turn], None]] = {
    way.__name__.replace("_", "-"): way
    for way in (
        silent, deaf, exits, killed, floods_bytes, floods_lines, floods_stderr, wrong_ids, duplicates, chatters,
        huge_line, half_line, byte_by_byte, garbage, deep, eats_memory, eats_processes, stubborn, orphans,
        closes_stdout,
    )
}  # fmt: skip
AT_ONCE = frozenset(
    {"deaf", "exits", "killed", "floods-bytes", "floods-lines", "eats-memory", "closes-stdout"}
)
"""Ways that, with `--after 0`, do not wait for the first request."""


def main() -> None:
    """Answer the first requests, then misbehave."""
    if sys.argv[1:] == ["--ways"]:
        for name, way in WAYS.items():
            print(f"{name:16} {(way.__doc__ or '').splitlines()[0]}")
        return
    parser = options(__doc__ or "")
    parser.add_argument("way", choices=list(WAYS))
    parser.add_argument("--after", type=int, default=0, help="requests answered properly before it begins")
    parser.add_argument("--amount", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1.0)
    chosen = parser.parse_args()
    time.sleep(chosen.start_delay)
    turn, way, answered = Turn(chosen), WAYS[chosen.way], 0
    if not chosen.after and chosen.way in AT_ONCE:
        way(turn)
    for line in sys.stdin:
        if not line.strip():
            continue
        turn.message = json.loads(line)
        if "id" not in turn.message or "method" not in turn.message:
            continue
        if answered < chosen.after:
            turn.proper()
        else:
            way(turn)
        answered += 1


if __name__ == "__main__":
    main()
