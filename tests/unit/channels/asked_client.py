"""Somebody whose calls make servers ask and log."""

from __future__ import annotations

from msgspec import Raw

from tidegate.channels.channel import Answer, Reply
from tidegate.protocol.codec import Object

ASK = "elicitation/create"
YES = Reply(Raw(b'{"action":"accept"}'), None)


class Client:
    """Somebody who may be asked, and is told."""

    def __init__(self, *, takes: bool = True) -> None:
        self.takes = takes
        self.asked: list[tuple[str, dict[str, bytes], Answer]] = []
        self.told: list[tuple[str, dict[str, bytes]]] = []

    def ask(self, method: str, params: Object, answer: Answer) -> bool:
        self.asked.append((method, {key: bytes(value) for key, value in params.items()}, answer))
        return self.takes

    def tell(self, method: str, params: Object) -> None:
        self.told.append((method, {key: bytes(value) for key, value in params.items()}))
