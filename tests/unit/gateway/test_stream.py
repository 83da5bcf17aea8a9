"""One stream: what is sent, what is kept, what goes first where there is no room."""

from __future__ import annotations

import asyncio
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.gateway.stream_setting import Connection
from tidegate.gateway.stream import KEPT, KEPT_SIZE, WAITING, Held, Stream, Weight

BIG = 300 * 1024


def message(number: int, padding: int = 0) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": "n", "params": {"n": number, "p": "p" * padding}}).encode()


def made(*, request: bytes | None = None) -> Stream:
    return Stream(prefix=b"tag.", held=Held(), request=request)


def numbers(connection: Connection) -> list[int]:
    return [each["params"]["n"] for each in connection.messages]


async def flow(stream: Stream, connection: Connection | None = None) -> Connection:
    """Have what waits written to a connection."""
    connection = connection or Connection()
    stream.attach(connection)
    await stream.flow(connection, pause=True)
    return connection


async def test_events_have_ids_that_count_and_come_in_order() -> None:
    stream = made()
    stream.prime()
    for number in range(3):
        assert stream.add(message(number))
    connection = await flow(stream)
    assert connection.ids == ["tag.0", "tag.1", "tag.2", "tag.3"]
    assert connection.blocks[0] == b"id: tag.0\nretry: 1000\ndata: "
    assert numbers(connection) == [0, 1, 2]


async def test_a_stream_without_ids_keeps_nothing() -> None:
    stream = Stream(held=(held := Held()))
    stream.prime()
    stream.add(message(1, 1000))
    connection = await flow(stream)
    assert (connection.ids, numbers(connection), held.size) == ([], [1], 0)


async def test_a_message_of_several_lines_is_one_event() -> None:
    stream = Stream()
    stream.add(b'{"a":\n1,\r\n"b":2}')
    assert (await flow(stream)).messages == [{"a": 1, "b": 2}]


async def test_the_oldest_notifications_go_first_and_questions_never() -> None:
    stream, connection = made(), Connection()
    stream.attach(connection)
    assert stream.add(message(-1), Weight.QUESTION)
    for number in range(WAITING + 50):
        assert stream.add(message(number))
    await flow(stream, connection)
    assert numbers(connection) == [-1, *range(51, WAITING + 50)]


async def test_a_question_is_refused_where_only_questions_wait() -> None:
    stream = made()
    stream.attach(Connection())
    taken = [stream.add(message(number), Weight.QUESTION) for number in range(WAITING + 1)]
    assert taken == [True] * WAITING + [False]
    assert not stream.add(message(0))


async def test_a_message_that_fits_nowhere_is_refused_and_drops_what_it_would_have_needed() -> None:
    stream = made()
    assert stream.add(message(1))
    assert not stream.add(message(2, BIG), Weight.QUESTION)
    assert stream.add(message(3))


async def test_a_client_that_comes_back_gets_what_came_after_and_nothing_twice() -> None:
    stream = made()
    for number in range(4):
        stream.add(message(number))
    first = await flow(stream)
    stream.detach(first, 0.0)
    stream.add(message(4))
    assert stream.resume(int(first.ids[1].removeprefix("tag.")))
    again = await flow(stream)
    assert numbers(again) == [2, 3, 4]
    assert again.ids[0] == "tag.3"


async def test_what_is_kept_is_bounded_in_number_and_a_gap_is_known() -> None:
    stream = made()
    first = await flow(stream)
    for number in range(KEPT + 10):
        stream.add(message(number))
        await flow(stream, first)
    stream.detach(first, 0.0)
    assert not stream.resume(0)
    assert numbers(await flow(stream)) == list(range(10, KEPT + 10))


async def test_what_is_kept_is_bounded_in_size() -> None:
    stream = made()
    first = await flow(stream)
    for number in range(10):
        stream.add(message(number, KEPT_SIZE // 4))
        await flow(stream, first)
        assert stream.size <= KEPT_SIZE
    stream.detach(first, 0.0)
    assert not stream.resume(0)
    assert numbers(await flow(stream)) == [7, 8, 9]


async def test_an_answer_too_large_to_keep_is_sent_whole_and_replaced_by_an_error_for_who_comes_back() -> (
    None
):
    stream = made(request=b'"q"')
    first = await flow(stream)
    stream.finish(message(1, BIG))
    await stream.flow(first)
    assert len(first.messages[-1]["params"]["p"]) == BIG
    stream.detach(first, 0.0)
    assert stream.resume(0)
    (error,) = (await flow(stream)).messages
    assert (error["id"], error["error"]["code"]) == ("q", -31002)
    assert stream.size < 1000


async def test_an_answer_too_large_for_a_client_that_is_gone_is_replaced_too() -> None:
    stream = made(request=b"5")
    stream.detach(await flow(stream), 0.0)
    stream.finish(message(1, BIG))
    assert stream.size < 1000
    (error,) = (await flow(stream)).messages
    assert (error["id"], error["error"]["code"]) == (5, -31002)


async def test_nothing_is_taken_after_the_answer() -> None:
    stream = made(request=b"1")
    stream.finish(message(1))
    assert not stream.add(message(2))
    stream.finish(message(3))
    connection = Connection()
    stream.attach(connection)
    assert await stream.flow(connection)
    assert numbers(connection) == [1]
    assert connection.ended


async def test_a_connection_that_takes_it_over_ends_the_flow_to_the_one_before() -> None:
    stream, first = made(), Connection()
    stream.attach(first)
    flowing = asyncio.create_task(stream.flow(first))
    await asyncio.sleep(0)
    second = await flow(stream)
    async with asyncio.timeout(5):
        assert await flowing
    stream.add(message(1))
    await flow(stream, second)
    assert (numbers(first), numbers(second)) == ([], [1])
    assert not stream.detach(first, 0.0)


STEPS = st.lists(
    st.tuples(st.sampled_from(["note", "question", "write", "lose", "back"]), st.integers(0, KEPT_SIZE // 2)),
    max_size=60,
)


@settings(deadline=None)
@given(STEPS)
async def test_whatever_happens_the_bounds_hold_the_order_too_and_no_question_is_lost(
    steps: list[tuple[str, int]],
) -> None:
    stream = Stream(prefix=b"tag.", held=(held := Held()))
    connection: Connection | None = Connection()
    stream.attach(connection)  # type: ignore[arg-type]
    asked, seen = list[int](), list[int]()
    for number, (step, size) in enumerate(steps, start=1):
        if step in ("note", "question"):
            added = stream.add(message(number, size), Weight[step.upper()])
            if added and step == "question":
                asked.append(number)
        elif step == "write" and connection is not None:
            await flow(stream, connection)
        elif step == "lose" and connection is not None:
            await flow(stream, connection)
            seen += numbers(connection)
            last = int(connection.ids[-1].removeprefix("tag.")) if connection.ids else 0
            stream.detach(connection, 0.0)
            connection = None
        elif step == "back" and connection is None:
            stream.resume(last)
            connection = await flow(stream)
            seen += numbers(connection)
            connection.data.clear()
            last = 0
            stream.detach(connection, 0.0)
            stream.drop_kept()
            stream.attach(connection)
        assert held.size == stream.size >= 0
        assert connection is not None or stream.size <= 2 * KEPT_SIZE + KEPT * 100
    if connection is None:
        stream.resume(last)
    seen += numbers(await flow(stream, connection))
    assert seen == sorted(set(seen))
    assert set(asked) <= set(seen)
    stream.end()
    assert held.size == 0
