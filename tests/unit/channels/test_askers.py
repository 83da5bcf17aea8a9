"""Who may be asked, told as conversations: each line is what happens, then who can have been meant."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tidegate.channels.askers import GRACE, Askers
from tidegate.channels.channel import Outbound, Party
from tidegate.channels.deadlines import Pauses


@dataclass
class Flight:
    outbound: Outbound
    pauses: Pauses | None = None


@dataclass
class Talk:
    """`A1` is holder A's request 1. Words: `+A1` goes out, `-A1` is answered, `!A1` is given up, `~A1` is answered
    late, `~` a gateway before us left something, `*A` waits for the workload, `/A` no more, a number: seconds pass."""

    time: float = 1000.0
    flying: dict[bytes, Flight] = field(default_factory=dict)
    expected: list[Party] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.askers = Askers(self.flying, lambda: self.expected, lambda: self.time)

    def play(self, words: str) -> str:
        for word in words.split():
            self.turn(word[0], word[1:].encode(), word)
        return " ".join(sorted(party.holder or "?" for party in self.askers.candidates()))

    def turn(self, kind: str, ident: bytes, word: str) -> None:
        holder = ident[:1].decode()
        if kind == "+":
            outbound = Outbound("tools/call", holder=holder)
            self.flying[ident] = Flight(outbound)
            self.askers.enter(outbound)
        elif kind == "-":
            self.askers.leave(self.flying.pop(ident).outbound)
        elif kind == "!":
            self.askers.abandon(ident, self.flying.pop(ident).outbound)
        elif kind == "~":
            if ident:
                self.askers.late(ident)
            else:
                self.askers.resumed()
        elif kind == "*":
            self.expected.append(Party(holder))
        elif kind == "/":
            self.expected.remove(Party(holder))
        else:
            self.time += float(word)


@pytest.mark.parametrize(
    ("words", "who"),
    [
        ("", ""),
        ("+A1", "A"),
        ("+A1 +A2", "A"),
        ("+A1 +B1", "A B"),
        ("+A1 +B1 -B1", "A"),
        ("+A1 +B1 !B1", "A B"),
        ("+A1 +B1 !B1 29", "A B"),
        ("+A1 +B1 !B1 31", "A"),
        ("+A1 +B1 !B1 ~B1", "A"),
        ("+A1 !A1", "A"),
        ("+A1 !A1 1 +A2 -A2", "A"),
        # nobody is active: the last one, if nobody else was lately
        ("+A1 -A1", "A"),
        ("+A1 -A1 9999", "A"),
        ("+A1 -A1 1 +B1 -B1", ""),
        ("+A1 -A1 1 +B1 -B1 29", ""),
        ("+A1 -A1 1 +B1 -B1 31", "B"),
        ("+A1 +B1 1 -B1 99 -A1", ""),
        ("+A1 +B1 1 -B1 99 -A1 31", "B"),
        # those that wait for the workload
        ("*A", "A"),
        ("*A *B", "A B"),
        ("*A +B1", "A B"),
        ("*A +A1 -A1 /A", "A"),
        ("*A /A", ""),
        # after a restart
        ("~", "?"),
        ("~ +A1", "? A"),
        ("~ +A1 31", "A"),
    ],
)
def test_exactly_one_is_found_only_where_nobody_else_can_be_meant(words: str, who: str) -> None:
    assert Talk().play(words) == who


def test_more_given_up_than_can_be_remembered_leaves_nobody_to_be_told_for_a_while() -> None:
    talk = Talk()
    many = " ".join(f"+A{n} !A{n}" for n in range(70))
    assert "A" not in talk.play(many).split()
    assert talk.play(str(GRACE + 1)) == "A"


def test_the_gateways_own_requests_are_nobodys() -> None:
    talk = Talk()
    talk.flying[b"own"] = Flight(Outbound("tools/list"))
    assert talk.play("+A1") == "A"


def test_the_latest_of_a_holders_requests_is_asked_and_one_that_listens_is_told() -> None:
    talk = Talk()
    heard: list[str] = []

    def asked(name: str):
        return lambda *_: heard.append(name) or True

    first = Outbound("tools/call", holder="A", asked=asked("first"), notify=lambda *_: heard.append("told"))
    second = Outbound("tools/call", holder="A", asked=asked("second"))
    talk.flying[b"1"], talk.flying[b"2"] = Flight(first), Flight(second)
    (party,) = talk.askers.candidates()
    assert party.asked is second.asked
    assert party.notify is first.notify


def test_only_those_who_asked_a_modern_server_for_its_log_may_be_told() -> None:
    talk = Talk()
    talk.flying[b"1"] = Flight(Outbound("tools/call", holder="A"))
    talk.flying[b"2"] = Flight(Outbound("tools/call", holder="B", log_level="info"))
    assert [party.holder for party in talk.askers.loggers()] == ["B"]
