"""What differs between two settings, and what of it only a start can follow."""

from __future__ import annotations

from dataclasses import fields

import pytest

from tests.unit.settings.given import read as settings
from tidegate.settings import Settings
from tidegate.settings.changes import RESTART, different, needing_restart

BEFORE = "servers: {a: {url: 'http://a.example/mcp'}}\n"


def needs(text: str, *opened: str) -> list[str]:
    """Give what needs a restart of what differs from `BEFORE`."""
    return needing_restart(settings(BEFORE), settings(BEFORE + text), opened)


def test_equal_settings_differ_in_nothing() -> None:
    assert different(settings(BEFORE), settings(BEFORE)) == []
    assert needs("") == []


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("listen: 127.0.0.1:8099", "listen"),
        ("state: elsewhere", "state"),
        ("shared: common", "shared"),
        ("auth: {type: keys}", "auth"),
        ("journal: {durability: fsync}", "journal"),
        ("outbound: {proxy: 'http://proxy.example:3128'}", "outbound"),
        ("tls: {certificate: a.pem, key: b.pem}", "tls"),
    ],
)
def test_what_a_gateway_is_built_on_needs_a_restart(text: str, key: str) -> None:
    assert needs(text) == [key]


@pytest.mark.parametrize(
    "text",
    [
        "limits: {calls_in_flight: 5, body: 2KiB, workloads: 7}",
        "logs: {level: debug, format: json}",
        "allowed_hosts: [gateway.example]",
        "allowed_origins: ['https://app.example']",
        "reload: manual",
        "endpoints: {/other: {}}",
        "runtime: docker",
    ],
)
def test_all_else_is_followed(text: str) -> None:
    assert different(settings(BEFORE), settings(BEFORE + text)) != []
    assert needs(text) == []


def test_settings_of_a_runtime_need_a_restart_once_it_is_open() -> None:
    text = "runtimes: {docker: {starts: 3}}"
    assert needs(text) == []
    assert needs(text, "docker", "process") == ["runtimes.docker"]


def test_what_needs_a_restart_are_keys_of_the_settings() -> None:
    assert {each.name for each in fields(Settings)} > RESTART
