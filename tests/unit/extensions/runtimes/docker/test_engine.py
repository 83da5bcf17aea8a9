"""Names, addresses and credentials, as the engine's API wants them."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from tidegate.domain.errors import SettingsError
from tidegate.extensions.runtimes.docker.credentials import registry_auth, registry_of
from tidegate.extensions.runtimes.docker.engine import open_engine, split_tag
from tidegate.extensions.runtimes.docker.settings import DockerSettings, locate_engine


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("python", ("python", "latest")),
        ("python:3.12-slim", ("python", "3.12-slim")),
        ("localhost:5000/a/b", ("localhost:5000/a/b", "latest")),
        ("localhost:5000/a/b:2", ("localhost:5000/a/b", "2")),
        ("a/b@sha256:12", ("a/b", "sha256:12")),
    ],
)
def test_an_images_name_is_parted_from_its_tag_or_digest(image: str, parts: tuple[str, str]) -> None:
    assert split_tag(image) == parts


def test_the_engine_is_looked_for_where_it_is_set_then_in_the_environment() -> None:
    environ = {"DOCKER_HOST": "tcp://127.0.0.1:2375"}
    assert locate_engine(DockerSettings(socket="unix:///a.sock"), environ) == "unix:///a.sock"
    assert locate_engine(DockerSettings(), environ) == "tcp://127.0.0.1:2375"
    assert locate_engine(DockerSettings(), {}).startswith("unix://")


@pytest.mark.parametrize("socket", ["/var/run/docker.sock", "ssh://me@there", "unix://relative", "tcp://"])
async def test_an_address_of_no_known_kind_is_a_mistake_in_the_settings(socket: str) -> None:
    with pytest.raises(SettingsError, match=r"runtimes\.docker\.socket"):
        async with open_engine(DockerSettings(socket=socket)):
            pass


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValidationError, match="bootstrp"):
        DockerSettings.model_validate({"bootstrp": True})


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("python", "https://index.docker.io/v1/"),
        ("me/python", "https://index.docker.io/v1/"),
        ("registry.example.com/a", "registry.example.com"),
        ("localhost:5000/a", "localhost:5000"),
    ],
)
def test_the_registry_is_the_first_part_where_it_is_a_host(image: str, registry: str) -> None:
    assert registry_of(image) == registry


def test_what_a_login_kept_is_handed_to_its_registry_only(tmp_path: Path) -> None:
    kept = {"auths": {"registry.example.com": {"auth": base64.b64encode(b"me:pass:word").decode()}}}
    place = tmp_path / "config.json"
    place.write_text(json.dumps(kept))
    given = registry_auth("registry.example.com/a:1", place)
    assert given is not None
    assert json.loads(base64.urlsafe_b64decode(given)) == {
        "username": "me",
        "password": "pass:word",
        "serveraddress": "registry.example.com",
    }
    assert registry_auth("elsewhere.example.com/a:1", place) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"auths": {"registry.example.com": {"auth": "%%"}}}'])
def test_a_configuration_that_keeps_nothing_is_no_error(tmp_path: Path, text: str) -> None:
    place = tmp_path / "config.json"
    place.write_text(text)
    assert registry_auth("registry.example.com/a:1", place) is None
