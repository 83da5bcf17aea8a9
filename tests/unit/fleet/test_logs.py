"""A server's error stream is kept, bounded, and can be followed by somebody slow."""

from __future__ import annotations

import asyncio

from tidegate.fleet.logs import KEPT_BYTES, ServerLog


def test_the_last_lines_are_given_in_order() -> None:
    log = ServerLog()
    for number in range(5):
        log.add("w", f"line {number}\n".encode())
    assert log.tail(2) == ["w line 3", "w line 4"]
    assert log.tail(0) == []
    assert len(log.tail(100)) == 5


def test_it_keeps_no_more_than_its_bound_whatever_a_server_writes() -> None:
    log = ServerLog()
    for _ in range(1000):
        log.add("w", b"\xff" * 100_000)
    kept = log.tail(100_000)
    assert 0 < sum(map(len, kept)) <= KEPT_BYTES
    assert max(map(len, kept)) < 5000


async def test_a_follower_gets_lines_as_they_come_and_a_slow_one_loses_the_oldest() -> None:
    log = ServerLog()
    lines = log.follow()
    first = asyncio.ensure_future(anext(lines))
    await asyncio.sleep(0)
    for number in range(3000):
        log.add("w", b"%d" % number)
    assert await first == "w 2000"
    assert await anext(lines) == "w 2001"
    await lines.aclose()  # type: ignore[attr-defined]
    log.add("w", b"nobody follows")
