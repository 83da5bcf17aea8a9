"""The local user is vouched for over loopback and nowhere else."""

import os
import pwd
from pathlib import Path

import pytest

from tidegate.extensions.identity.local import LOCAL, LocalSettings
from tidegate.ports.extension import Surroundings
from tidegate.ports.identity import Credentials, Vouched


async def ask(peer: str) -> Vouched | None:
    async with LOCAL.open(LocalSettings(), Surroundings(Path("/nowhere"), "0" * 16)) as identity:
        assert identity.version == 0
        return await identity.authenticate(Credentials(None, peer))


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
async def test_a_loopback_peer_is_the_local_user_with_every_role(peer: str) -> None:
    vouched = await ask(peer)
    assert vouched is not None
    assert vouched.principal.tenant == "default"
    assert vouched.principal.issuer == "local"
    assert vouched.principal.subject == pwd.getpwuid(os.getuid()).pw_name
    assert vouched.principal.roles == {"admin", "user"}


@pytest.mark.parametrize("peer", ["10.0.0.1", "0.0.0.0", "::", "::ffff:10.0.0.1", "fe80::1%lo", "localhost", "", "127.0.0.1.evil"])  # fmt: skip
async def test_no_other_peer_is_vouched_for(peer: str) -> None:
    assert await ask(peer) is None
