"""Names of bootstrapped bases, and what debootstrap is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from tidegate.extensions.runtimes.docker.bases import bootstrapped, debootstrap
from tidegate.extensions.runtimes.docker.settings import DockerSettings


def test_a_base_is_named_by_what_is_in_it_in_whatever_order_it_was_asked_for() -> None:
    names = {bootstrapped(index, more) for index in ("pypi", "npm") for more in ((), ("git",), ("git", "jq"))}
    assert len(names) == 6
    assert all(name.startswith(("tidegate/base-python:", "tidegate/base-node:")) for name in names)
    assert bootstrapped("pypi", ("jq", "git", "jq")) == bootstrapped("pypi", ("git", "jq"))


def test_packages_are_bootstrapped_along_with_what_every_base_has() -> None:
    argv = debootstrap(Path("/root-of-it"), ("git", "libstdc++6"))
    assert "--include=python3,ca-certificates,git,libstdc++6" in argv
    assert "--force-check-gpg" in argv


@pytest.mark.parametrize("name", ["git", "libstdc++6", "python3.11-venv", "0ad"])
def test_a_debian_package_is_taken_by_its_name(name: str) -> None:
    assert DockerSettings(bootstrap_packages=(name,)).bootstrap_packages == (name,)


@pytest.mark.parametrize(
    "name", ["", "g", "Git", "git,jq", "git jq", "--foreign", "git\n", "git=1", "../git"]
)
def test_what_is_no_debian_package_s_name_reaches_no_command_line(name: str) -> None:
    with pytest.raises(ValidationError):
        DockerSettings(bootstrap_packages=(name,))
