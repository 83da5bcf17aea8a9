"""Facts: what servers say of what they offer, for policies that read it. Their word, and nobody else's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from tidegate.domain.target import Target


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server says of a target. What it does not say is as the specification has it (2025-11-25,
    `ToolAnnotations`): a tool then may write, and destroy."""

    read_only: bool = False
    destructive: bool = True
    idempotent: bool = False
    open_world: bool = True
    schema: bytes = b""
    """JSON Schema of its arguments, as text; empty where there is none."""


UNKNOWN = Facts()


@runtime_checkable
class Informed(Protocol):
    """A policy that reads such facts. Asked for once, where policies are opened."""

    def learn(self, facts: Mapping[Target, Facts]) -> None:
        """Take what all servers are now known to say. Its version changes where decisions may."""
        ...

    async def review(self) -> Sequence[str]:
        """Say what is wrong or odd about the policies in force, by what is known now: `file:line: …`."""
        ...


@runtime_checkable
class Followed(Protocol):
    """A policy that is made of something that changes beside the settings, such as files."""

    def stamp(self) -> object:
        """Give a value that differs once that has changed. May block."""
        ...

    async def renew(self) -> bool:
        """Take it as it stands; tell whether it was another than before. The old one stays where it is wrong.

        Raises:
            SettingsError: it is wrong, one line for each mistake.
        """
        ...


@runtime_checkable
class Digested(Protocol):
    """A policy that can say what it is made of, for the record: digests (SHA-256, hex) by the names of its files."""

    @property
    def in_force(self) -> Mapping[str, str]:
        """What is in force."""
        ...

    @property
    def tried(self) -> Mapping[str, str]:
        """What `renew` took or refused last, as far as it could be read."""
        ...
