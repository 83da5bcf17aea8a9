"""What may be asked of an index, and what is refused before anything is run."""

import pytest

from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Package
from tidegate.extensions.packages.names import Target, check, normal, slug


@pytest.mark.parametrize(
    "package",
    [
        Package("pypi", "mcp-server-time", "2026.10.19"),
        Package("pypi", "mcp[cli]", "1.2.3rc1", ("mcp<2", "pydantic >=2, <3", "anyio[trio]~=4.0")),
        Package("npm", "@modelcontextprotocol/server-memory", "2026.8.31"),
        Package("npm", "left-pad", "1.3.0-beta.1", executable="left-pad"),
    ],
)
def test_a_pinned_package_of_a_known_index_may_be_asked_for(package: Package) -> None:
    check(package)


@pytest.mark.parametrize(
    ("package", "said"),
    [
        (Package("gem", "rails", "1.0"), "no package index"),
        (Package("pypi", "--index-url", "1.0"), "name"),
        (Package("pypi", "a @ https://example.com/a.whl", "1.0"), "name"),
        (Package("pypi", "a\n", "1.0"), "name"),
        (Package("pypi", "../a", "1.0"), "name"),
        (Package("pypi", "a", "*"), "no exact version"),
        (Package("pypi", "a", "1.0 --pre"), "no exact version"),
        (Package("pypi", "a", "1.0", ("--pre",)), "requirement"),
        (Package("pypi", "a", "1.0", ("b @ file:///etc",)), "requirement"),
        (Package("pypi", "a", "1.0", ("b; python_version > '3'",)), "requirement"),
        (Package("pypi", "a", "1.0", tuple("b" for _ in range(21))), "more than 20"),
        (Package("npm", "@a/../b", "1.0.0"), "name"),
        (Package("npm", "git+ssh://host/a", "1.0.0"), "name"),
        (Package("npm", "..", "1.0.0"), "name"),
        (Package("npm", "a", "latest"), "no exact version"),
        (Package("npm", "a", "^1.0.0"), "no exact version"),
        (Package("npm", "a", "1.0.0", ("b",)), "for pypi packages only"),
        (Package("pypi", "a", "1.0", executable="../../bin/sh"), "program's name"),
    ],
)
def test_what_could_be_an_option_a_path_or_a_url_is_refused_by_name(package: Package, said: str) -> None:
    with pytest.raises(RuntimeFailure, match=said):
        check(package)


def test_whatever_changes_what_is_fetched_changes_the_directory() -> None:
    base = Package("pypi", "a", "1.0")
    names = {
        slug(base, Target()),
        slug(base, Target(python="3.12")),
        slug(base, Target(python="3.12", glibc=(2, 28))),
        slug(Package("pypi", "a", "1.1"), Target()),
        slug(Package("pypi", "a", "1.0", ("mcp<2",)), Target()),
        slug(Package("npm", "a", "1.0.0"), Target()),
    }
    assert len(names) == 6
    assert all("/" not in name and not name.startswith(".") for name in names)


def test_a_named_python_asks_for_wheels_no_newer_than_its_glibc() -> None:
    options = Target(python="3.12", machine="x86_64", glibc=(2, 28)).pip_options()
    assert "manylinux_2_28_x86_64" in options
    assert "manylinux2014_x86_64" in options
    assert "manylinux_2_29_x86_64" not in options
    assert Target().pip_options() == []


def test_an_unknown_python_or_machine_is_refused() -> None:
    with pytest.raises(RuntimeFailure):
        Target(python="3.12; rm").pip_options()
    with pytest.raises(RuntimeFailure):
        Target(python="3.12", machine="vax").pip_options()


def test_names_are_compared_in_one_form() -> None:
    assert normal("Foo.Bar__baz[cli]") == "foo-bar-baz"
