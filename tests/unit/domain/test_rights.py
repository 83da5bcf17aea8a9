"""What a version of a server had that the next one has not is told, each right in words; what it gains is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tidegate.domain.rights import in_words, taken_away
from tidegate.domain.server import (
    Command,
    Companion,
    Image,
    Limits,
    Mount,
    Network,
    Remote,
    Secret,
    ServerSpec,
    Sharing,
    Timeouts,
    Volume,
)

Given = dict[str, Any]
ALLOWED = {"network": Network.ALLOWED}
OPEN = {"network": Network.OPEN}
LISTED = {**ALLOWED, "egress": ("api.example:443", "10.0.0.1:5432"), "peers": ("maps:8000",)}
KEY = Secret("1", ("env:KEY",))


def spec(**given: Any) -> ServerSpec:
    return replace(ServerSpec("one", Image("x"), "docker"), **given)


def database(**given: Any) -> Given:
    return {"companions": (replace(Companion("db", "postgres"), **given),)}


TAKEN: list[tuple[Given, Given, tuple[str, ...]]] = [
    (OPEN, {}, ("the open network",)),
    (OPEN, LISTED, ("the open network",)),
    (LISTED, {}, ("the way to api.example:443", "the way to 10.0.0.1:5432", "the way to server maps")),
    (LISTED, {**LISTED, "egress": ("10.0.0.0/8:5432", "api.example:443")}, ("the way to 10.0.0.1:5432",)),
    (LISTED, {**LISTED, "peers": ()}, ("the way to server maps",)),
    (LISTED, OPEN, ("the way to server maps",)),
    ({**ALLOWED, "egress": ("*.example:443",)}, {**ALLOWED, "egress": ("a.example:443",)}, ("the way to *.example:443",)),
    ({**ALLOWED, "egress": ("example:443",)}, {**ALLOWED, "egress": ("*.example:443",)}, ("the way to example:443",)),
    ({"mounts": (Mount("/a", "/data"),)}, {}, ("the mount /data",)),
    ({"mounts": (Mount("/a", "/data"),)}, {"mounts": (Mount("/ab", "/data"),)}, ("the mount /data",)),
    ({"mounts": (Mount("/a", "/data", True),)}, {"mounts": (Mount("/a", "/data"),)}, ("writing to the mount /data",)),
    ({"volumes": (Volume("v", "/v"),)}, {}, ("the volume v",)),
    ({"volumes": (Volume("v", "/v"),)}, {"volumes": (Volume("v", "/v", each=True),)}, ("the volume v",)),
    ({"volumes": (Volume("v", "/v"),)}, {"volumes": (Volume("v", "/v", 1),)}, ("a larger volume v",)),
    ({"env": {"KEY": KEY}}, {}, ("the secret KEY",)),
    ({"env": {"KEY": KEY}}, {"env": {"KEY": Secret("2", ("env:OTHER",))}}, ("the secret KEY",)),
    ({"env": {"KEY": Secret("1")}}, {"env": {"KEY": Secret("2")}}, ("the secret KEY",)),
    ({"secrets": {"cert": KEY}}, {}, ("the secret cert",)),
    ({"launch": Remote("https://x", headers={"authorization": KEY})}, {"launch": Remote("https://x")}, ("the secret authorization",)),
    ({"launch": Command(("x",), True), "runtime": "process"}, {"launch": Command(("x",)), "runtime": "process"}, ("running without a sandbox",)),
    ({"launch": Command(("x",), True), "runtime": "process"}, {}, ("running without a sandbox",)),
    ({"launch": Command(("x",)), "runtime": "process"}, {}, ("running by process",)),
    ({"sharing": Sharing.SHARED}, {"sharing": Sharing.PRINCIPAL}, ("sharing: shared",)),
    ({"user": "0:0"}, {}, ("the user 0:0",)),
    ({"user": "5:0"}, {"user": "5:5"}, ("the user 5:0",)),
    ({}, {"limits": Limits(memory=1, disk=5)}, ("a higher limits.memory", "a higher limits.disk")),
    (database(), {}, ("the companion db",)),
    (database(env={"PASSWORD": KEY}), database(), ("the secret PASSWORD of the companion db",)),
    (database(env={"PASSWORD": KEY}), {**database(), "env": {"PASSWORD": KEY}}, ("the secret PASSWORD of the companion db",)),
    (database(volumes=(Volume("v", "/v"),)), database(), ("the volume v of the companion db",)),
    (database(user="0:0"), database(limits=Limits(cpus=0.1)), ("the user 0:0 of the companion db", "a higher limits.cpus of the companion db")),
]  # fmt: skip
KEPT: list[tuple[Given, Given]] = [
    ({}, LISTED),
    ({**LISTED, "peers": ()}, OPEN),
    (
        {**ALLOWED, "egress": ("a.b.example:443", "*.c.example:443")},
        {**ALLOWED, "egress": ("*.example:443",)},
    ),
    ({**ALLOWED, "peers": ("maps:8000",)}, {**ALLOWED, "peers": ("maps:8001", "more")}),
    ({"mounts": (Mount("/a/b", "/data"),)}, {"mounts": (Mount("/a", "/elsewhere", True),)}),
    ({"volumes": (Volume("v", "/v", 1),)}, {"volumes": (Volume("v", "/w"),)}),
    ({"env": {"KEY": KEY}}, {"env": {"KEY": Secret("renewed", ("env:KEY",))}}),
    ({"env": {"KEY": KEY, "A": "1"}}, {"secrets": {"cert": KEY}}),
    ({"launch": Image("x", ("-v",))}, {"launch": Image("y"), "stateless": True, "timeouts": Timeouts(1.0)}),
    ({}, {"launch": Command(("x",), True), "runtime": "process", "sharing": Sharing.SHARED, "user": "5:5"}),
    ({"user": "5:5"}, {"user": "0:0"}),
    ({"limits": Limits(disk=5)}, {"limits": Limits(memory=1 << 40)}),
    (database(limits=Limits(memory=1)), database(image="other", env={"PASSWORD": KEY})),
]


@pytest.mark.parametrize(("old", "new", "rights"), TAKEN)
def test_what_the_old_version_has_and_the_new_one_has_not_is_named(
    old: Given, new: Given, rights: tuple[str, ...]
) -> None:
    assert taken_away(spec(**old), spec(**new)) == rights


@pytest.mark.parametrize(("old", "new"), KEPT)
def test_what_stays_or_is_added_is_no_right_taken_away(old: Given, new: Given) -> None:
    assert taken_away(spec(**old), spec(**new)) == ()


def test_no_secret_is_among_the_words() -> None:
    old = spec(env={"KEY": Secret("hunter2")}, **database(env={"P": Secret("hunter3")}))
    assert "hunter" not in in_words(taken_away(old, spec()))


def test_of_many_rights_the_first_are_told_and_how_many_more_there_are() -> None:
    many = spec(network=Network.ALLOWED, egress=tuple(f"{number}.example:443" for number in range(40)))
    told = in_words(taken_away(many, spec()))
    assert told.startswith("the way to 0.example:443, ")
    assert told.endswith("the way to 7.example:443 and 32 more")
