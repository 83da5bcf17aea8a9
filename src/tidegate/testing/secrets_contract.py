"""What every place where secrets are kept does. One is right where a subclass of `SecretsContract` passes.

class TestVault(SecretsContract):
    @pytest.fixture
    async def kept(self): ... yield Kept(source, "secret/app#key", "secret/app#none", change)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from tidegate.domain.errors import SecretUnavailable
from tidegate.domain.server import Secret
from tidegate.ports.secrets import Secrets

VALUE = "hunter2-canary-ü-of-the-contract"
OTHER = "another-canary-of-the-contract"
DEADLINE = 20.0

ODD_NAMES = (
    "", " ", ".", "..", "/", "../../etc/passwd", "a/../../etc/passwd", "a#b#c", "#", "a#", "#a", "-x", "--help",
    "a\nb", "a\0b", "a b", "$(id)", "`id`", "a;id", "${env:PATH}", "x" * 5000, "ü", "\ud800",
)  # fmt: skip
"""Names that may be none. Nothing but `SecretUnavailable` comes of one."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A source under test."""

    source: Secrets
    name: str
    """Of a secret whose value is `VALUE`."""
    missing: str
    """Of none."""
    change: Callable[[str], Awaitable[None]] | None
    """Gives that secret another value; None where it cannot have one."""


class SecretsContract:
    """The behaviour of a source. Subclasses give the fixture `kept`."""

    async def test_a_secret_has_its_value_and_says_where_it_is_from(self, kept: Kept) -> None:
        found = await kept.source.get(kept.name)
        assert found.reveal() == VALUE
        assert len(found.origins) == 1
        assert found.origins[0].endswith(f":{kept.name}")
        assert VALUE not in f"{found!r} {found} {found.origins}"

    async def test_what_is_not_kept_is_said_without_a_value(self, kept: Kept) -> None:
        with pytest.raises(SecretUnavailable) as caught:
            await kept.source.get(kept.missing)
        assert str(caught.value)
        assert VALUE not in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
    async def test_an_odd_name_is_refused_and_does_nothing_else(self, kept: Kept, name: str) -> None:
        async with asyncio.timeout(DEADLINE):
            with pytest.raises(SecretUnavailable) as caught:
                await kept.source.get(name)
        assert len(str(caught.value)) < 2000

    async def test_many_are_had_at_once(self, kept: Kept) -> None:
        async with asyncio.timeout(DEADLINE):
            found = await asyncio.gather(*(kept.source.get(kept.name) for _ in range(20)))
        assert set(found) == {Secret(VALUE)}

    async def test_another_value_is_given_as_soon_as_it_is_kept(self, kept: Kept) -> None:
        if kept.change is None:
            return
        await kept.source.get(kept.name)
        await kept.change(OTHER)
        assert (await kept.source.get(kept.name)).reveal() == OTHER
