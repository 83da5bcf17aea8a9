"""The journal: an intent before a call goes out, an outcome after it, and every other event, chained.

It keeps no argument, result, token or key: arguments stand in it as a keyed digest. All methods but
`durable` run on the loop's thread and wait for nothing but `write`; `open` and `close` also read.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Literal

from tidegate.audit import lines as form
from tidegate.audit.commit import GroupCommit
from tidegate.audit.segment import check_writer
from tidegate.audit.strangers import Strangers
from tidegate.audit.tape import Tape
from tidegate.domain.errors import JournalUnavailable
from tidegate.domain.principal import Principal
from tidegate.domain.record import Outcome, RecordKind
from tidegate.domain.target import Decision, Target
from tidegate.ports.recorder import Intent

Durability = Literal["write", "fsync"]

_CALL_ROOM = 32 * 1024
"""Bytes that the records of the largest call need."""
_OUTCOME_ROOM = 420
"""Bytes an outcome needs beside the writer, the tenant and the call id: every number at its longest."""
_MAX_PARTS = 16_384
"""Prepared beginnings of intents that are kept: one for each principal, target and client in use, about a kilobyte each."""
_MAX_LATE = 65536
_MAX_UNDER_WAY = 32
_MOMENT_US = 500_000
"""What a call did may be told of just after its outcome."""
_MAX_ENDED = 256


@dataclass(frozen=True, slots=True)
class _Part:
    """What the intents of equal calls have in common. Holds what its key knows by identity."""

    principal: Principal
    target: Target
    decision: Decision
    intent: str
    tenant: str
    outcome: str
    room: int
    workload: str


class _Intent(Intent):
    __slots__ = ("_call_id", "call", "number", "part", "room")

    def __init__(self, sequence: int, call_id: str, call: str, part: _Part, room: int) -> None:
        self.number = sequence
        self._call_id = call_id
        self.call = call
        self.part = part
        self.room = room

    @property
    def sequence(self) -> int:
        return self.number

    @property
    def call_id(self) -> str:
        return self._call_id


class Journal:
    """Keeps proof of what was asked, decided and done. See `docs/journal.md`."""

    def __init__(self, tape: Tape, key: bytes, durability: Durability, clock: Callable[[], float]) -> None:
        self._tape = tape
        self._clock = clock
        self._commit = GroupCommit(tape) if durability == "fsync" else None
        self.promises_more = self._commit is not None
        """Whether `durable` has anything to wait for."""
        self._digest = hashlib.blake2b(key=key, digest_size=32, person=b"tidegate args")
        self._parts: dict[tuple[int | str, ...], _Part] = {}
        self._strangers = Strangers()
        self._ended: deque[tuple[int, str, str]] = deque(maxlen=_MAX_ENDED)
        """When calls had their outcome, their ids and workloads: the last few."""
        self._late: deque[tuple[int, str, int]] = deque()
        self._unrecorded = 0
        self._closed = False
        self.heard: Callable[[RecordKind, Mapping[str, object]], None] | None = None
        """Told of each event that was recorded."""

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        key: bytes,
        writer: str,
        durability: Durability = "write",
        segment_size: int = 64 * 1024 * 1024,
        clock: Callable[[], float],
    ) -> Journal:
        """Open a writer's journal: read its last file, set aside what a crash left, close what was open.

        Blocks while it reads; call it in a thread where a loop runs. `clock` gives Unix seconds.

        Raises:
            JournalUnavailable: another process writes it, or it cannot be read or written.
            ValueError: the writer's name cannot be part of a file's name, or the key is not 32 bytes.
        """
        check_writer(writer)
        if len(key) != 32:
            raise ValueError("the journal's key has 32 bytes")
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise JournalUnavailable(f"the journal cannot be opened: {error}") from error
        tape = Tape(directory, writer, key, segment_size, durability == "fsync")
        journal = cls(tape, key, durability, clock)
        try:
            journal._recover()
        except BaseException:
            tape.close()
            raise
        return journal

    def intent(
        self,
        *,
        call_id: str,
        principal: Principal,
        endpoint: str,
        target: Target,
        shown: str,
        decision: Decision,
        workload: str,
        arguments: bytes,
        client: str,
        revision: str,
        credential: str = "",
        peer: str = "",
        trace: str = "",
        method: str = "tools/call",
    ) -> Intent:
        """Record that a call is about to go out, and keep room for its outcome.

        Raises:
            JournalUnavailable: it cannot be kept, so the call must not go out.
            ValueError: the decision does not allow it.
        """
        # By identity: frozen values of the same content may cost a second part, never a wrong one,
        # since a part keeps alive whatever its key stands for. One by arguments is this call's alone.
        judged = decision.arguments
        key = (
            id(principal), id(target), decision.rule if judged else id(decision),
            endpoint, shown, workload, client, revision, credential, peer, method,
        )  # fmt: skip
        part = self._parts.get(key)
        if part is None:
            words = (endpoint, shown, workload, client, revision, credential, peer, method)
            part = self._parts[key] = self._prepare(principal, target, decision, words)
        digest = self._digest.copy()
        digest.update(arguments)
        call = form.quoted(call_id)
        rest = f'{part.intent}{call},"arguments":"{digest.hexdigest()}","size":{len(arguments)}'
        if trace:
            rest = f'{rest},"trace":{form.quoted(trace)}'
        if judged:
            rest = f'{rest},"reads":{_read(decision)}'
        now = int(self._clock() * 1e6)
        if self._late or now >= self._strangers.due:
            self._catch_up(now)
        room = part.room + len(call) * 4
        sequence = self._tape.append(now, rest, room)
        self._tape.open[sequence] = call, part.tenant, part.workload
        return _Intent(sequence, call_id, call, part, room)

    def under_way(self, workload: str) -> list[str]:
        """Give the ids of the calls to a workload that have no outcome yet, or had none a moment ago, bounded."""
        since = int(self._clock() * 1e6) - _MOMENT_US
        ended = (call for time, call, at in self._ended if time >= since and at == workload)
        going = (call for call, _, at in self._tape.open.values() if at == workload)
        return [call[1:-1] for call in islice(chain(ended, going), _MAX_UNDER_WAY)]

    async def durable(self, intent: Intent) -> None:
        """Wait until an intent will outlive what the journal's durability promises.

        Where this ends in an exception, a cancellation too, the intent has its outcome already:
        `cancelled`, since the call does not go out.

        Raises:
            JournalUnavailable: it may not, so the call must not go out.
        """
        if self._commit is None:
            return
        try:
            await self._commit.reach(intent.sequence)
        except BaseException:
            self.outcome(intent, Outcome.CANCELLED, size=0, duration_us=0)
            raise

    def outcome(
        self,
        intent: Intent,
        outcome: Outcome,
        *,
        code: int | None = None,
        size: int,
        duration_us: int,
    ) -> None:
        """Record what came of an intent, in the room that was kept for it. The first one counts.

        `code` is the JSON-RPC code of an error, `size` the bytes of the result. Never raises for want
        of room; where the disk itself fails, the record is kept and tried again before any other.
        """
        if not isinstance(intent, _Intent):
            raise TypeError("an outcome belongs to an intent of this journal")
        tape, sequence, call = self._tape, intent.number, intent.call
        waiting = tape.open.get(sequence)
        if waiting is None or waiting[0] is not call:
            return
        del tape.open[sequence]
        now = int(self._clock() * 1e6)
        self._ended.append((now, call, waiting[2]))
        coded = "" if code is None else f',"code":{form.whole(code)}'
        # By concatenation: formatting would go through the enumeration's Python.
        said = f'{intent.part.outcome}{sequence},"call":{call},"outcome":"' + outcome
        rest = f'{said}"{coded},"size":{size},"duration_us":{duration_us}'
        try:
            if self._late:
                self._catch_up(now)
            tape.append(now, rest, -intent.room)
        except JournalUnavailable:
            if len(self._late) < _MAX_LATE:
                self._late.append((now, rest, intent.room))

    def event(self, kind: RecordKind, fields: Mapping[str, object]) -> None:
        """Record an event. Values are JSON scalars, lists or objects of such; all are bounded.

        Raises:
            JournalUnavailable: it cannot be kept.
        """
        self._write(f',"tenant":"","kind":"{kind.value}","data":{form.data(fields)}')
        if self.heard is not None:
            self.heard(kind, fields)

    def request(self, principal: Principal, fields: Mapping[str, object]) -> None:
        """Record a request that the gateway answered itself, for a principal.

        Raises:
            JournalUnavailable: it cannot be kept.
        """
        who = _who(RecordKind.REQUEST, principal)
        self._write(f'{who},"data":{form.data(fields)}')

    def changed(self, principal: Principal, fields: Mapping[str, object]) -> None:
        """Record what an administrator is about to change.

        Raises:
            JournalUnavailable: it cannot be kept, so it must not be done.
        """
        who = _who(RecordKind.ADMIN, principal)
        self._write(f'{who},"data":{form.data(fields)}')

    def question(self, principal: Principal, fields: Mapping[str, object]) -> None:
        """Record that a server asked something of a principal's client, or what came of it.

        Raises:
            JournalUnavailable: it cannot be kept, so it must not be asked.
        """
        who = _who(RecordKind.QUESTION, principal)
        self._write(f'{who},"data":{form.data(fields)}')

    def refused(self, reason: str, principal: Principal, fields: Mapping[str, object]) -> None:
        """Record that a request of a principal was refused. `reason` is the Refusal's word.

        Never raises: where it cannot be kept, it stays refused, and the next record that can says
        how many were not.
        """
        self._refused(_who(RecordKind.REFUSED, principal), reason, fields)

    def stranger(self, reason: str, fields: Mapping[str, object]) -> None:
        """Record or count a request that was refused before its principal was known. Never raises."""
        now = int(self._clock() * 1e6)
        if now >= self._strangers.due:
            self.tick()
        if self._strangers.sample(reason, now):
            self._refused(f',"tenant":"","kind":"{RecordKind.REFUSED.value}"', reason, fields)

    def digest(self, arguments: bytes) -> str:
        """Give the keyed digest that stands for arguments in the records."""
        digest = self._digest.copy()
        digest.update(arguments)
        return digest.hexdigest()

    def tick(self) -> None:
        """Write what is due though nothing else is recorded: counts, late outcomes. Never raises."""
        try:
            self._catch_up(int(self._clock() * 1e6))
        except JournalUnavailable:
            pass  # Kept, and tried again at the next record.

    @property
    def failure(self) -> str | None:
        """Why the journal takes nothing until the next start, or None."""
        return self._tape.failure

    def shortage(self) -> str | None:
        """Say why a call could not be recorded now, or None. Takes room for one, and writes nothing."""
        try:
            self._tape.make_room(_CALL_ROOM)
        except JournalUnavailable as error:
            return str(error)
        return None

    @property
    def open_intents(self) -> int:
        """How many intents wait for their outcome."""
        return len(self._tape.open)

    def close(self) -> None:
        """Write what is left, the closing record, and make all of it durable. Idempotent.

        Raises:
            JournalUnavailable: not all of it could be written.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if self._commit is not None:
                self._commit.close()
            if self._tape.failure is None:
                now = int(self._clock() * 1e6)
                self._catch_up(now, force=True)
                self._tape.settle(now)
                chain, mark = self._tape.seal()
                said = f'"part":"close","chain":"{chain}","seal":"{mark}"'
                self._tape.append(now, f',"tenant":"","kind":"segment",{said}')
        finally:
            self._tape.close()

    def _write(self, rest: str) -> None:
        now = int(self._clock() * 1e6)
        if self._late or now >= self._strangers.due:
            self._catch_up(now)
        self._tape.append(now, rest)

    def _refused(self, who: str, reason: str, fields: Mapping[str, object]) -> None:
        missed = f',"unrecorded":{self._unrecorded}' if self._unrecorded else ""
        try:
            self._write(f'{who},"reason":{form.quoted(reason)},"data":{form.data(fields)}{missed}')
            self._unrecorded = 0
        except JournalUnavailable:
            self._unrecorded += 1

    def _catch_up(self, now: int, force: bool = False) -> None:
        while self._late:
            when, rest, room = self._late[0]
            self._tape.append(when, rest, -room)
            self._late.popleft()
        due = self._strangers.due
        if now >= due or (force and self._strangers.pending):
            kind = RecordKind.STRANGERS_REFUSED.value
            counts = form.data(self._strangers.peek())
            self._tape.append(now, f',"tenant":"","kind":"{kind}","data":{counts}')
            self._strangers.clear()

    def _prepare(
        self, principal: Principal, target: Target, decision: Decision, words: tuple[str, ...]
    ) -> _Part:
        if not decision.allowed:
            raise ValueError("a call that was denied has no intent")
        if len(self._parts) >= _MAX_PARTS:
            del self._parts[next(iter(self._parts))]
        endpoint, shown, workload, client, revision, credential, peer, method = map(form.quoted, words)
        asked = "" if words[-1] == "tools/call" else f',"method":{method}'
        reads = f',"reads":{_read(decision)}' if decision.reads and not decision.arguments else ""
        intent = (
            f'{_who(RecordKind.CALL_INTENT, principal)},"credential":{credential},"peer":{peer}'
            f',"client":{client},"revision":{revision},"endpoint":{endpoint}'
            f',"server":{form.quoted(target.server)},"target":"{target.kind.value}"'
            f',"name":{form.quoted(target.name)},"shown":{shown}'
            f',"rule":{form.quoted(decision.rule)}{reads},"workload":{workload}{asked},"call":'
        )
        tenant = form.quoted(principal.tenant)
        outcome = _outcome(tenant)
        room = _OUTCOME_ROOM + len(outcome.encode())
        return _Part(principal, target, decision, intent, tenant, outcome, room, words[2])

    def _recover(self) -> None:
        now = int(self._clock() * 1e6)
        self._tape.start(now)
        found = self._tape.found
        lost = max(0, self._tape.tip - (found.next - 1))
        opened = dict(self._tape.open)
        if found.cut or found.damaged or lost:
            self._tape.append(
                now,
                f',"tenant":"","kind":"segment","part":"recovered","cut":{found.cut}'
                f',"file":{form.quoted(found.side)},"digest":"{found.side_digest}","lost":{lost}'
                f',"damaged":{found.damaged},"closed":{len(opened)}',
            )
        for sequence, (call, tenant, _) in opened.items():
            rest = f'{_outcome(tenant)}{sequence},"call":{call},"outcome":"{Outcome.UNKNOWN.value}"'
            self._tape.append(now, rest)
            del self._tape.open[sequence]


def _read(decision: Decision) -> str:
    if not decision.allowed:
        raise ValueError("a call that was denied has no intent")
    return form.data(decision.reads)


def _outcome(tenant: str) -> str:
    return f',"tenant":{tenant},"kind":"{RecordKind.CALL_OUTCOME.value}","intent":'


def _who(kind: RecordKind, principal: Principal) -> str:
    roles = ",".join(form.quoted(role) for role in sorted(principal.roles)[:64])
    return (
        f',"tenant":{form.quoted(principal.tenant)},"kind":"{kind.value}"'
        f',"issuer":{form.quoted(principal.issuer)},"subject":{form.quoted(principal.subject)}'
        f',"roles":[{roles}]'
    )
