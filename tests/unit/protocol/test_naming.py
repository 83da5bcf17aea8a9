"""Shown names: short enough, of few characters, the same at every start, and never two tools' at once."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.protocol.naming import LONGEST, server_of, shown

SERVERS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", fullmatch=True)
ALLOWED = re.compile(r"[A-Za-z0-9_-]{1,64}")


@given(SERVERS, st.text(min_size=1, max_size=200))
def test_any_tool_has_a_name_that_every_model_provider_takes(server: str, tool: str) -> None:
    name = shown(server, tool)
    assert ALLOWED.fullmatch(name)
    assert server_of(name) == server


@given(SERVERS, st.from_regex(r"[A-Za-z0-9_-]{1,29}", fullmatch=True))
def test_a_short_plain_name_is_read_back_by_itself(server: str, tool: str) -> None:
    name = shown(server, tool)
    assert name == f"{server}__{tool}"
    assert name.partition("__")[2] == tool


@given(SERVERS, st.lists(st.text(min_size=1, max_size=120), min_size=2, max_size=6, unique=True))
def test_different_tools_of_a_server_have_different_names(server: str, tools: list[str]) -> None:
    assert len({shown(server, tool) for tool in tools}) == len(tools)


def test_a_name_of_64_stays_and_one_of_65_is_cut() -> None:
    assert shown("s", "t" * 61) == "s__" + "t" * 61
    cut = shown("s", "t" * 62)
    assert len(cut) == LONGEST
    assert cut == "s__" + "t" * 52 + "_be046e37"


def test_a_cut_or_cleaned_name_is_the_same_at_every_start() -> None:
    """The hash stands in settings and in clients' allow-lists: it must not change between versions."""
    assert shown("files", "read.text") == "files__read_text_4b02e355"
    assert shown("files", "read/text") != shown("files", "read.text")
    assert shown("files", "read_text") == "files__read_text"


@pytest.mark.parametrize("name", ["plain", "__x", "", "_", "a_b"])
def test_a_name_without_a_prefix_belongs_to_no_server(name: str) -> None:
    assert server_of(name) is None
