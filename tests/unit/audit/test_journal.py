"""What the journal keeps, in which form, and when it refuses."""

import hashlib
import json
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from journals import ALICE, KEY, begin, call, end, files, kinds, open_journal, records

from tidegate.audit.verify import verify
from tidegate.domain.errors import JournalUnavailable
from tidegate.domain.principal import Principal
from tidegate.domain.record import Outcome, RecordKind
from tidegate.domain.target import Decision, Kind, Target
from tidegate.ports.recorder import Intent
from tidegate.testing.clock import VirtualClock


def test_an_intent_is_in_the_file_before_it_is_handed_out(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    intent = begin(journal, "c1")
    [_, record] = records(tmp_path)
    assert (record["kind"], record["seq"], record["call"]) == ("call.intent", intent.sequence, "c1")
    journal.close()


def test_an_intent_says_who_what_where_and_by_which_rule(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    begin(journal, "c1", credential="abc", peer="10.0.0.1", trace="00-1-2-01", arguments=b'{"a":1}')
    record = records(tmp_path)[1]
    journal.close()
    digest = hashlib.blake2b(b'{"a":1}', key=KEY, digest_size=32, person=b"tidegate args").hexdigest()
    assert list(record) == [
        "v", "writer", "seq", "time", "tenant", "kind", "issuer", "subject", "roles", "credential", "peer",
        "client", "revision", "endpoint", "server", "target", "name", "shown", "rule", "workload", "call",
        "arguments", "size", "trace", "hash",
    ]  # fmt: skip
    assert record | {"hash": ""} == {
        "v": 1, "writer": "w", "seq": 2, "time": 1_800_000_000_000_000, "tenant": "default",
        "kind": "call.intent", "issuer": "key", "subject": "alice", "roles": ["admin", "user"],
        "credential": "abc", "peer": "10.0.0.1", "client": "test 1.0", "revision": "2025-11-25",
        "endpoint": "/mcp", "server": "time", "target": "tool", "name": "get_current_time",
        "shown": "time__get_current_time", "rule": "/mcp rules[0]", "workload": "tg-time-01234567",
        "call": "c1", "arguments": digest, "size": 7, "trace": "00-1-2-01", "hash": "",
    }  # fmt: skip


def test_an_outcome_names_its_intent(tmp_path: Path) -> None:
    clock = VirtualClock()
    journal = open_journal(tmp_path, clock=clock)
    intent = begin(journal, "c1")
    clock.advance(0.25)
    journal.outcome(intent, Outcome.ERROR, code=-32602, size=33, duration_us=250_000)
    record = records(tmp_path)[2]
    journal.close()
    assert record | {"hash": ""} == {
        "v": 1, "writer": "w", "seq": 3, "time": 1_800_000_000_250_000, "tenant": "default",
        "kind": "call.outcome", "intent": 2, "call": "c1", "outcome": "error", "code": -32602,
        "size": 33, "duration_us": 250_000, "hash": "",
    }  # fmt: skip


def test_the_chain_can_be_followed_by_hand(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    call(journal)
    journal.close()
    previous = b"0" * 64
    for line in files(tmp_path)[0].read_bytes().splitlines():
        body, _, rest = line.rpartition(b',"hash":"')
        assert hashlib.sha256(previous + body).hexdigest().encode() == rest[:-2]
        previous = rest[:-2]


def test_the_lines_are_as_they_were_in_the_first_version(tmp_path: Path) -> None:
    # Written once and kept: where this fails, files that exist could no longer be verified.
    journal = open_journal(tmp_path)
    end(journal, begin(journal, "c1"))
    journal.event(RecordKind.GATEWAY, {"what": "started"})
    journal.close()
    assert hashlib.sha256(files(tmp_path)[0].read_bytes()).hexdigest() == FIRST_VERSION


FIRST_VERSION = "5cb474452903c76371aaf7e963e12b47d2b218cccdb8413d1d8164cb8bced448"


def test_arguments_are_not_kept_and_cannot_be_guessed_without_the_key(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    begin(journal, arguments=b'{"pin":"4711"}')
    journal.close()
    text = files(tmp_path)[0].read_bytes()
    assert b"4711" not in text
    assert hashlib.sha256(b'{"pin":"4711"}').hexdigest().encode() not in text
    assert journal.digest(b'{"pin":"4711"}').encode() in text


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "journal")
    call(journal)
    journal.close()
    assert stat.S_IMODE((tmp_path / "journal").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "journal").iterdir()} == {0o600}


def test_what_policies_read_for_a_call_stands_in_its_intent(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    for number, amount in enumerate(("5", "6"), 1):
        decision = Decision(True, "p#limit", True, {"context.arguments.amount": amount})
        call_of = begin(journal, f"c{number}", decision=decision)
        journal.outcome(call_of, Outcome.OK, size=1, duration_us=1)
    begin(journal, "c3", decision=Decision(True, "p#limit"))
    begin(journal, "c4", decision=Decision(True, "p#limit", False, {"principal.region": '"eu"'}))
    found = [each.get("reads") for each in records(tmp_path) if each["kind"] == "call.intent"]
    assert found == [
        {"context.arguments.amount": "5"}, {"context.arguments.amount": "6"}, None, {"principal.region": '"eu"'}
    ]  # fmt: skip
    with pytest.raises(ValueError, match="denied"):
        begin(journal, "c5", decision=Decision(False, "p#limit", True, {"x": "1"}))


def test_a_denied_call_gets_no_intent(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    with pytest.raises(ValueError, match="denied"):
        begin(journal, decision=Decision(False, "no rule"))
    journal.close()
    assert "call.intent" not in kinds(tmp_path)


def test_only_the_journals_own_intents_get_an_outcome(tmp_path: Path) -> None:
    class Forged(Intent):
        @property
        def sequence(self) -> int:
            return 2

        @property
        def call_id(self) -> str:
            return "call-1"

    journal, other = open_journal(tmp_path / "a"), open_journal(tmp_path / "b")
    begin(journal)
    with pytest.raises(TypeError):
        end(journal, Forged())
    end(journal, begin(other))
    assert journal.open_intents == 1
    journal.close()
    other.close()
    assert verify(tmp_path / "a").open == 1


def test_the_first_outcome_counts(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    intent = begin(journal)
    end(journal, intent, Outcome.TIMEOUT)
    end(journal, intent, Outcome.OK)
    journal.close()
    assert [record["outcome"] for record in records(tmp_path) if "outcome" in record] == ["timeout"]


def test_equal_calls_by_different_objects_are_not_mixed_up(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    for number in range(300):
        who = Principal("default", "key", f"user-{number}")
        what = Target("time", Kind.TOOL, f"tool-{number}")
        end(journal, begin(journal, principal=who, target=what, decision=Decision(True, f"rule-{number}")))
    journal.close()
    found = [(r["subject"], r["name"], r["rule"]) for r in records(tmp_path) if r["kind"] == "call.intent"]
    assert found == [(f"user-{n}", f"tool-{n}", f"rule-{n}") for n in range(300)]


def test_what_is_kept_prepared_is_bounded(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    for number in range(17_000):
        end(journal, begin(journal, client=f"client {number}"))
    assert len(journal._parts) <= 16_384  # pyright: ignore[reportPrivateUsage]
    journal.close()
    assert verify(tmp_path).ok


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(), max_size=400), st.text(st.characters(), max_size=300))
def test_whatever_strings_come_every_line_is_one_valid_record(tmp_path: Path, text: str, other: str) -> None:
    directory = tmp_path / str(len(list(tmp_path.iterdir())))
    journal = open_journal(directory)
    # A principal is UTF-8 all through: its key is a hash of it.
    sayable = text.encode("utf-8", "replace").decode()
    who = Principal(sayable, sayable[::-1], sayable, frozenset({text, other}))
    intent = journal.intent(
        call_id=other, principal=who, endpoint=text, target=Target(other, Kind.TOOL, text), shown=text,
        decision=Decision(True, other), workload=text, arguments=b"", client=text, revision=other,
        credential=text, peer=other, trace=text,
    )  # fmt: skip
    journal.outcome(intent, Outcome.TOOL_ERROR, code=10**300, size=2**62, duration_us=2**62)
    assert journal._tape.owed == 0  # pyright: ignore[reportPrivateUsage]
    journal.event(RecordKind.WORKLOAD, {text: other, "list": [text, {other: text}], "n": 1.5, "big": 10**40})
    journal.refused(text, who, {"what": other})
    journal.stranger(other, {"what": text})
    journal.close()
    verdict = verify(directory, KEY)
    assert verdict.ok, verdict.faults
    assert verdict.records == len(files(directory)[0].read_bytes().split(b"\n")) - 1 == 7
    for record in records(directory):
        assert all(len(value) <= 200 for value in record.values() if isinstance(value, str))


@given(st.text(max_size=300), st.text(st.characters(), max_size=300))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_outcome_always_fits_the_room_kept_for_it(tmp_path: Path, tenant: str, call_id: str) -> None:
    name = str(len(list(tmp_path.iterdir())))
    journal = open_journal(tmp_path / name, writer="w" * 64, clock=VirtualClock(9e15))
    tape = journal._tape  # pyright: ignore[reportPrivateUsage]
    tape.next = 2**62
    intent = begin(journal, call_id, principal=Principal(tenant, "i", "s"))
    kept, before = tape.owed, files(tmp_path / name)[0].stat().st_size
    journal.outcome(intent, Outcome.TOOL_ERROR, code=-(10**30), size=2**63, duration_us=2**63)
    assert files(tmp_path / name)[0].stat().st_size - before <= kept
    journal.close()


def test_long_names_that_begin_alike_stay_apart(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    for end_of_name in ("x", "y"):
        end(journal, begin(journal, target=Target("s", Kind.TOOL, "n" * 300 + end_of_name)))
    journal.close()
    first, second = (r["name"] for r in records(tmp_path) if r["kind"] == "call.intent")
    assert first != second
    assert len(first) == len(second) == 200


def test_events_keep_their_fields_bounded(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    deep: dict[str, object] = {}
    for _ in range(50):
        deep = {"in": deep}
    journal.event(RecordKind.GATEWAY, {"what": "started", "deep": deep, "bytes": b"secret", "ok": True})
    journal.event(RecordKind.GATEWAY, {str(number): ["x" * 200] * 200 for number in range(200)})
    journal.close()
    first, second = (record["data"] for record in records(tmp_path) if record["kind"] == "gateway")
    assert first["what"] == "started"
    assert first["ok"] is True
    assert "secret" not in json.dumps(first)
    assert list(second) == ["left_out"]


def test_requests_and_refusals_name_the_principal(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.request(ALICE, {"method": "tools/list"})
    journal.refused("denied", ALICE, {"server": "db", "name": "drop", "rule": "no rule"})
    journal.close()
    request, refusal = records(tmp_path)[1:3]
    assert (request["kind"], request["subject"], request["data"]["method"]) == (
        "request",
        "alice",
        "tools/list",
    )
    assert (refusal["kind"], refusal["subject"], refusal["reason"]) == ("refused", "alice", "denied")
    assert refusal["data"]["rule"] == "no rule"


def test_strangers_are_sampled_and_counted(tmp_path: Path) -> None:
    clock = VirtualClock(1_800_000_000.0)
    journal = open_journal(tmp_path, clock=clock)
    for number in range(1000):
        journal.stranger("unauthenticated" if number % 2 else "forbidden", {"peer": "203.0.113.9"})
    assert kinds(tmp_path).count("refused") == 5
    clock.advance(60)
    journal.tick()
    assert kinds(tmp_path).count("refused.strangers") == 1
    data = records(tmp_path)[-1]["data"]
    assert data == {"minute": 1_800_000_000_000_000, "reasons": {"forbidden": 497, "unauthenticated": 498}}
    journal.stranger("forbidden", {})
    assert kinds(tmp_path)[-1] == "refused"
    journal.close()


def test_counts_of_strangers_are_written_with_the_next_record_and_at_the_end(tmp_path: Path) -> None:
    clock = VirtualClock()
    journal = open_journal(tmp_path, clock=clock)
    for _ in range(10):
        journal.stranger("forbidden", {})
    clock.advance(61)
    begin(journal)
    assert kinds(tmp_path)[-2:] == ["refused.strangers", "call.intent"]
    for _ in range(10):
        journal.stranger("forbidden", {})
    journal.close()
    assert kinds(tmp_path)[-2:] == ["refused.strangers", "segment:close"]


def test_reasons_that_strangers_make_up_are_bounded(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    for number in range(1000):
        journal.stranger(f"reason-{number}", {})
    journal.close()
    [data] = [record["data"] for record in records(tmp_path) if record["kind"] == "refused.strangers"]
    assert len(data["reasons"]) <= 33
    assert sum(data["reasons"].values()) == 995


def test_a_second_writer_of_the_same_name_is_refused_and_another_name_is_not(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    with pytest.raises(JournalUnavailable, match="in use by another process"):
        open_journal(tmp_path)
    other = open_journal(tmp_path, writer="other")
    call(journal)
    call(other)
    other.close()
    journal.close()
    verdict = verify(tmp_path, KEY)
    assert verdict.ok
    assert (verdict.writers, verdict.intents) == (["other", "w"], 2)


def test_a_closed_journal_takes_nothing(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    intent = begin(journal)
    journal.close()
    journal.close()
    with pytest.raises(JournalUnavailable, match="closed"):
        begin(journal)
    end(journal, intent)
    assert kinds(tmp_path)[-1] == "segment:close"


@pytest.mark.parametrize("writer", ["", "a/b", "..", "a b", "x" * 65])
def test_a_writer_that_is_no_file_name_is_refused(tmp_path: Path, writer: str) -> None:
    with pytest.raises(ValueError, match="writer"):
        open_journal(tmp_path, writer=writer)


def test_a_short_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        open_journal(tmp_path, key=b"short")


def test_a_directory_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalUnavailable, match="cannot be opened"):
        open_journal(tmp_path / "file")


def test_files_change_by_size_and_the_chain_goes_on(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_size=8192)
    waiting = begin(journal, "slow")
    for number in range(100):
        call(journal, f"c{number}")
    end(journal, waiting)
    journal.close()
    verdict = verify(tmp_path, KEY)
    assert verdict.ok, verdict.faults
    assert verdict.segments == len(files(tmp_path)) > 5
    assert verdict.roots == verdict.segments - 1
    assert (verdict.intents, verdict.outcomes, verdict.open) == (101, 101, 0)
    heads = [record for record in records(tmp_path) if record.get("part") == "head"]
    assert heads[1]["open"] == [[2, "slow", "default"]]
    assert heads[1]["chain"] == next(r["hash"] for r in records(tmp_path) if r["seq"] == heads[1]["seq"] - 1)


def test_all_that_was_kept_stays_ok_over_many_starts(tmp_path: Path) -> None:
    for number in range(5):
        journal = open_journal(tmp_path, segment_size=4096)
        for _ in range(number * 5):
            call(journal)
        begin(journal, "left open")
        journal.close()
    verdict = verify(tmp_path, KEY)
    assert verdict.ok, verdict.faults
    assert (verdict.intents, verdict.outcomes, verdict.unknown, verdict.open) == (55, 54, 4, 1)


def test_the_calls_under_way_on_a_workload_are_those_without_outcome_or_with_one_a_moment_ago(
    tmp_path: Path,
) -> None:
    clock = VirtualClock()
    journal = open_journal(tmp_path, clock=clock)
    call(journal, "long ago")
    clock.advance(1.0)
    call(journal, "just now")
    begin(journal, "going")
    begin(journal, "elsewhere", workload="tg-time-89abcdef")
    clock.advance(0.25)
    under_way = journal.under_way("tg-time-01234567")
    journal.close()
    assert under_way == ["just now", "going"]
