"""A real credential helper: `docker-credential-pass`, over a real password store and a real GnuPG."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate.domain.errors import SecretUnavailable
from tidegate.extensions.secrets.helper import HelperSecrets, HelperSettings

PROGRAMS = ("docker-credential-pass", "pass", "gpg", "gpgconf")
URL = "https://charts.example.com"
MISSING = [each for each in PROGRAMS if shutil.which(each) is None]

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


def run(*command: str, said: str = "") -> None:
    done = subprocess.run(command, input=said, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{command[0]}: {done.stderr}"


@pytest.fixture
def keychain(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty store that a key without a passphrase opens. The agent's socket needs a short path."""
    with tempfile.TemporaryDirectory(prefix="tg") as place:
        home = Path(place) / "g"
        home.mkdir(mode=0o700)
        monkeypatch.setenv("GNUPGHOME", str(home))
        monkeypatch.setenv("PASSWORD_STORE_DIR", str(Path(place) / "store"))
        monkeypatch.setenv("HOME", place)
        try:
            run(
                "gpg",
                "--batch",
                "--passphrase",
                "",
                "--quick-gen-key",
                "gateway",
                "future-default",
            )
            run("pass", "init", "gateway")
            yield
        finally:
            subprocess.run(["gpgconf", "--kill", "all"], env=os.environ, timeout=20, check=False)


async def test_a_secret_in_the_keychain_is_had_changed_and_missed(keychain: None) -> None:
    source = HelperSecrets(HelperSettings(timeout=30))
    for secret in ("hunter2-canary", "another"):
        told = {"ServerURL": URL, "Username": "gateway", "Secret": secret}
        run("docker-credential-pass", "store", said=json.dumps(told))
        assert (await source.get(f"pass/{URL}")).reveal() == secret
    assert (await source.get(f"pass/{URL}#username")).reveal() == "gateway"
    with pytest.raises(SecretUnavailable, match=r"docker-credential-pass (has nothing|gave no Secret)"):
        await source.get("pass/https://none.example.com")
