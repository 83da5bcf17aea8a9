"""Images come from a registry as the settings say: by tag, by digest, with credentials, with progress."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.docker.base import engine
from tests.integration.docker.registry import registry
from tidegate.domain.errors import RuntimeFailure
from tidegate.extensions.runtimes.docker import DockerSettings
from tidegate.extensions.runtimes.docker.engine import Engine
from tidegate.extensions.runtimes.docker.images import Pulls
from tidegate.ports.runtime import Progress
from tidegate.testing.runtime_contract import nothing_said

pytestmark = [pytest.mark.docker, pytest.mark.timeout(120)]


@pytest.fixture
async def opened() -> AsyncIterator[Engine]:
    """An engine from which the images that a test pulled are removed again."""
    async with engine() as opened:
        before = {image["Id"] for image in await opened._docker.images.list()}
        yield opened
        for image in await opened._docker.images.list():
            names = [*(image["RepoTags"] or []), *(image["RepoDigests"] or [])]
            if image["Id"] not in before and any(name.startswith("127.0.0.1:") for name in names):
                await opened._docker.images.delete(image["Id"], force=True)


async def test_a_pull_tells_its_bytes_and_what_pins_the_image(opened: Engine) -> None:
    told: list[Progress] = []
    with registry() as served:
        image = await Pulls(opened, DockerSettings()).bring(f"{served.name}:1", "tiny", told.append)
        assert image.digest == f"{served.name}@{next(d for d in served.manifests if d != '1')}"
    assert told
    assert {one.what for one in told} == {f"pulling {served.name}:1"}
    assert told[-1].done == told[-1].total
    assert (told[-1].total or 0) > 3 << 20


async def test_an_image_is_pulled_by_its_digest(opened: Engine) -> None:
    with registry() as served:
        first = next(d for d in served.manifests if d != "1")
        served.push()
        image = await Pulls(opened, DockerSettings()).bring(f"{served.name}@{first}", "tiny", nothing_said)
    assert image.digest == f"{served.name}@{first}"


async def test_a_tag_that_moved_is_followed_only_where_the_settings_say_always(opened: Engine) -> None:
    with registry() as served:
        name = f"{served.name}:1"
        first = await Pulls(opened, DockerSettings()).bring(name, "tiny", nothing_said)
        served.push()
        assert await Pulls(opened, DockerSettings()).bring(name, "tiny", nothing_said) == first
        moved = await Pulls(opened, DockerSettings(pull="always")).bring(name, "tiny", nothing_said)
        assert moved.id != first.id


async def test_what_a_login_kept_opens_a_private_registry(
    opened: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with registry("me:secret word") as served:
        with pytest.raises(RuntimeFailure, match="cannot be pulled") as caught:
            await Pulls(opened, DockerSettings()).bring(f"{served.name}:1", "tiny", nothing_said)
        assert "secret" not in str(caught.value)
        kept = {
            "auths": {served.name.partition("/")[0]: {"auth": base64.b64encode(b"me:secret word").decode()}}
        }
        (tmp_path / "config.json").write_text(json.dumps(kept))
        assert await Pulls(opened, DockerSettings()).bring(f"{served.name}:1", "tiny", nothing_said)
