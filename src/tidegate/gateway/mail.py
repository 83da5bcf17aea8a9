"""Mail between gateways that share a state store: small letters, by kind, to the process that a word names.

A gateway's word (its *boot*) is drawn at every start, so whatever names one names a process that lives or
does not. Letters are kept for a minute at most and taken in order of each sender. Nothing here knows
what a letter says.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable

import msgspec

from tidegate.domain.errors import GatewayUnreachable, StateError, TidegateError
from tidegate.ports.state import State
from tidegate.telemetry import log

LARGEST = 1024 * 1024 - 4096
"""Bytes of a letter: a value of the state store, less what is written on it."""
HEARTBEAT = 1.0
"""Seconds between two signs of life."""
ALIVE = 5.0
"""Seconds without one after which a gateway counts as gone: clients of one that was killed wait so long."""
_KEPT = 60.0
"""Seconds a letter is kept for a gateway that does not take it."""
_OUTBOX = 1024
"""Letters that wait to be put into the store."""
_AT_ONE_TIME = 256
"""Letters that are being worked on."""
_BOXES, _GATEWAYS = "mail/", "gateway/"
_ALL = "*"
"""Names every gateway but the sender."""

Take = Callable[[str, bytes], Awaitable[bytes]]
"""Takes a letter: who sent it, and what it says. Gives what a request is answered with."""


class _Letter(msgspec.Struct, array_like=True, frozen=True):
    kind: str
    number: int
    answers: int = 0
    """The number of the letter that this answers."""
    wanted: bool = False
    """Whether its sender waits for an answer."""
    failed: bool = False
    payload: bytes = b""


class Mail:
    """One gateway's letters to the others, and theirs to it."""

    def __init__(self, state: State, boot: str) -> None:
        self.boot = boot
        """Names this process for as long as it runs."""
        self._state = state
        self._takers: dict[str, Take] = {}
        self._numbers = itertools.count(1)
        self._outbox: asyncio.Queue[tuple[str, _Letter]] = asyncio.Queue(_OUTBOX)
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._working = 0

    def on(self, kind: str, take: Take) -> None:
        """Have letters of a kind taken. Once for each kind, before `run`."""
        self._takers[kind] = take

    def post(self, boot: str, kind: str, payload: bytes) -> bool:
        """Send a letter that nobody waits for. False where too many wait to be sent.

        Raises:
            StateError: it is too large.
        """
        return self._send(boot, _Letter(kind, next(self._numbers), payload=payload))

    def post_all(self, kind: str, payload: bytes) -> bool:
        """Send a letter that nobody waits for to every other gateway. False where too many wait to be sent.

        Clients can cause any number of these, so they leave room for letters that somebody waits for.

        Raises:
            StateError: it is too large.
        """
        if self._outbox.qsize() >= _OUTBOX // 2:
            return False
        return self._send(_ALL, _Letter(kind, next(self._numbers), payload=payload))

    async def request(self, boot: str, kind: str, payload: bytes, timeout: float) -> bytes:
        """Send a letter and give its answer.

        Raises:
            GatewayUnreachable: there is no such gateway, it failed, or did not answer within `timeout` seconds.
            StateError: the letter is too large, or the store cannot be used.
        """
        if not await self.alive(boot):
            raise GatewayUnreachable(f"no gateway {boot[:20]!r} runs here any more")
        number = next(self._numbers)
        answered = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            if not self._send(boot, _Letter(kind, number, wanted=True, payload=payload)):
                raise GatewayUnreachable("too much waits to be sent to other gateways already")
            return await self._wait(boot, answered, timeout)
        finally:
            del self._waiting[number]

    async def _wait(self, boot: str, answered: asyncio.Future[bytes], timeout: float) -> bytes:
        while timeout > 0:
            await asyncio.wait([answered], timeout=min(timeout, HEARTBEAT))
            if answered.done():
                return answered.result()
            timeout -= HEARTBEAT
            if not await self.alive(boot):
                raise GatewayUnreachable(f"the gateway {boot[:20]!r} has ended without an answer")
        raise GatewayUnreachable(f"the gateway {boot[:20]!r} did not answer in time")

    async def request_all(self, kind: str, payload: bytes, timeout: float) -> dict[str, bytes]:
        """Ask every other gateway at once; give the answers that came in time, by boot."""
        found: dict[str, bytes] = {}

        async def ask(boot: str) -> None:
            with contextlib.suppress(GatewayUnreachable):
                found[boot] = await self.request(boot, kind, payload, timeout)

        async with asyncio.TaskGroup() as group:
            for boot in await self.others():
                group.create_task(ask(boot))
        return found

    async def alive(self, boot: str) -> bool:
        """Tell whether a gateway runs, or did a moment ago."""
        return boot == self.boot or await self._state.get(_GATEWAYS + boot[:64]) is not None

    async def others(self) -> list[str]:
        """Give the other gateways that run."""
        found = [key.removeprefix(_GATEWAYS) for key, _ in await self._state.scan(_GATEWAYS)]
        return [boot for boot in found if boot != self.boot]

    async def announce(self) -> None:
        """Say that this gateway is there. `run` does so again and again."""
        await self._state.put(_GATEWAYS + self.boot, b"1", expires=ALIVE)

    async def run(self) -> None:
        """Send and take letters. Never ends by itself; when it is cancelled, the others learn that it is gone."""
        arrivals = self._state.watch(f"{_BOXES}{self.boot}/")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._beat(), name="mail heartbeat")
                group.create_task(self._deliver(), name="mail out")
                async for key in arrivals:
                    letter = await self._fetch(key)
                    if letter is not None:
                        self._take(letter, key.split("/")[2], group)
        finally:
            with contextlib.suppress(StateError, TimeoutError):
                async with asyncio.timeout(2.0):
                    await self._state.put(_GATEWAYS + self.boot, None)

    def _send(self, boot: str, letter: _Letter) -> bool:
        if len(letter.payload) > LARGEST:
            raise StateError(
                f"{len(letter.payload)} bytes are too large for another gateway; at most {LARGEST} can be sent"
            )
        try:
            self._outbox.put_nowait((boot, letter))
        except asyncio.QueueFull:
            log().warning("mail.dropped", kind=letter.kind, reason="too many letters wait to be sent")
            return False
        return True

    async def _beat(self) -> None:
        while True:
            try:
                await self.announce()
            except StateError as error:
                log().error("state.failed", reason=str(error))
            await asyncio.sleep(HEARTBEAT)

    async def _deliver(self) -> None:
        while True:
            boot, letter = await self._outbox.get()
            try:
                for each in await self.others() if boot == _ALL else [boot]:
                    if boot == _ALL or await self.alive(
                        each
                    ):  # nobody takes what is sent to one that is gone
                        key = f"{_BOXES}{each}/{self.boot}/{letter.number:012x}"
                        await self._state.put(key, msgspec.msgpack.encode(letter), expires=_KEPT)
            except StateError as error:
                log().error("state.failed", reason=str(error))

    async def _fetch(self, key: str) -> _Letter | None:
        try:
            value = await self._state.get(key)
            if value is None:  # told of because it was taken
                return None
            await self._state.put(key, None)
            return msgspec.msgpack.decode(value, type=_Letter)
        except StateError as error:
            log().error("state.failed", reason=str(error))
        except msgspec.DecodeError as error:
            log().warning("mail.dropped", kind="", reason=f"not a letter: {error}")
        return None

    def _take(self, letter: _Letter, sender: str, group: asyncio.TaskGroup) -> None:
        if letter.answers:
            waiting = self._waiting.get(letter.answers)
            if waiting is not None and not waiting.done():
                if letter.failed:
                    waiting.set_exception(GatewayUnreachable(letter.payload.decode(errors="replace")))
                else:
                    waiting.set_result(letter.payload)
        elif self._working < _AT_ONE_TIME:
            self._working += 1
            group.create_task(self._work(letter, sender), name=f"mail {letter.kind}")
        else:
            self._answer(letter, sender, b"the gateway has too many letters to work on", failed=True)

    async def _work(self, letter: _Letter, sender: str) -> None:
        answer, failed = b"the gateway takes no such letter", True
        try:
            take = self._takers.get(letter.kind)
            if take is not None:
                answer, failed = await take(sender, letter.payload), False
        except TidegateError as error:
            answer = str(error).encode()
        except Exception as error:  # noqa: BLE001 - supervisor: one letter must not end the mail
            log().error("supervisor.failed", task=f"mail {letter.kind}", exc_info=error)
            answer = b"the gateway met a fault of its own"
        finally:
            self._working -= 1
        self._answer(letter, sender, answer, failed=failed)

    def _answer(self, letter: _Letter, sender: str, payload: bytes, *, failed: bool) -> None:
        if not letter.wanted:
            return
        if len(payload) > LARGEST:
            payload, failed = b"the answer is too large for another gateway", True
        self._send(sender, _Letter("", next(self._numbers), letter.number, failed=failed, payload=payload))
