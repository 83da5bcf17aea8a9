"""A key that another process revokes stops within a second, through store, identity and cache."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tidegate.access.authenticate import Authenticator
from tidegate.domain.errors import Unauthenticated
from tidegate.extensions.identity.keys import KeyIdentity, KeyStore
from tidegate.extensions.state.sqlite import SQLITE, SqliteSettings
from tidegate.ports.extension import Surroundings
from tidegate.ports.identity import Credentials

REVOKE = """
import asyncio, sys, time
from pathlib import Path
from tidegate.extensions.identity.keys import KeyStore
from tidegate.extensions.state.sqlite import SqliteState

async def main():
    state = SqliteState(Path(sys.argv[1]))
    await state.open()
    print("ready", flush=True)
    sys.stdin.readline()
    assert await KeyStore(state).revoke(sys.argv[2]) is not None
    print(time.time(), flush=True)
    await state.close()

asyncio.run(main())
"""


async def test_a_key_that_another_process_revokes_stops_within_a_second(tmp_path: Path) -> None:
    async with SQLITE.open(SqliteSettings(), Surroundings(tmp_path, "0" * 16)) as state:
        store = KeyStore(state)
        record, key = await store.create(name="ci", roles=["user"])
        identity = KeyIdentity(store)
        access = Authenticator([identity], time.time)
        given = Credentials(f"Bearer {key}".encode(), "10.0.0.1")
        elsewhere = await asyncio.create_subprocess_exec(
            sys.executable, "-c", REVOKE, str(tmp_path / "state.sqlite"), record.id,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert elsewhere.stdin is not None
        assert elsewhere.stdout is not None
        async with asyncio.TaskGroup() as group:
            following = group.create_task(identity.follow())
            assert await elsewhere.stdout.readline() == b"ready\n"
            await access.authenticate(given)
            assert access.cached(given) is not None
            elsewhere.stdin.write(b"\n")
            revoked = float(await elsewhere.stdout.readline())
            async with asyncio.timeout(5):
                while access.cached(given) is not None:
                    await asyncio.sleep(0.005)
            assert time.time() - revoked < 1.0
            with pytest.raises(Unauthenticated, match="revoked"):
                await access.authenticate(given)
            following.cancel()
        elsewhere.stdin.close()
        await elsewhere.wait()
