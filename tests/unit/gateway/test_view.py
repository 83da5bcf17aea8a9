"""What an endpoint shows: names, filters, who keeps a name, marks, instructions. No fleet, no clock."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from tidegate.access.authorize import Authorizer
from tidegate.domain.endpoint import Effect, EndpointSpec, Names, Rule
from tidegate.domain.principal import Principal
from tidegate.domain.target import Kind, Target
from tidegate.gateway.definitions import Definitions, Listed, Tool
from tidegate.gateway.endpoint import Endpoint
from tidegate.gateway.lists import LISTS_SIZE
from tidegate.gateway.view import SERVERS, UNAVAILABLE, Part, View, build, instructions
from tidegate.protocol.codec import encode

PLAIN = Names.PLAIN


def tool(name: str, **fields: Any) -> Tool:
    """Define a tool."""
    whole = {"name": name, "inputSchema": {"type": "object"}, **fields}
    return Tool(name, {key: Raw(encode(value)) for key, value in whole.items()})


def part(name: str, *tools: str | Tool, unavailable: str | None = None, said: str | None = None) -> Part:
    """Give a server's part."""
    defined = tuple(each if isinstance(each, Tool) else tool(each) for each in tools)
    state = "ready" if unavailable is None else "failed"
    offered = Definitions({Kind.TOOL: Listed(defined)}, said, {"tools": Raw(b"{}")})
    return Part(name, offered, unavailable, state)


def shown(*parts: Part, **spec: Any) -> View:
    """Build the view of an endpoint over these parts, in this order."""
    return build(EndpointSpec("/mcp", tuple(each.name for each in parts), **spec), parts)


def listed(view: View) -> dict[str, dict[str, Any]]:
    """Give what a view lists, by name."""
    found = [json.loads(entry.encoded) for entry in view.entries]
    return {each["name"]: each for each in found}


def test_tools_stand_in_declared_order_under_their_servers_name() -> None:
    view = shown(part("b", "z", "a"), part("a", "z"))
    assert list(listed(view)) == ["b__z", "b__a", "a__z"]
    assert view.by_name["a__z"].target == Target("a", Kind.TOOL, "z")


def test_on_a_plain_endpoint_the_first_declared_keeps_a_name_and_the_loser_is_said() -> None:
    first, second = part("one", "echo", "x"), part("two", "echo", "y")
    view = shown(first, second, names=PLAIN)
    assert {name: entry.target.server for name, entry in view.by_name.items()} == {
        "echo": "one", "x": "one", "y": "two",
    }  # fmt: skip
    assert view.dropped == ("two: tool 'echo' is left out: one has the name 'echo'",)
    assert shown(second, first, names=PLAIN).by_name["echo"].target.server == "two"


def test_who_keeps_a_name_does_not_depend_on_who_is_up() -> None:
    view = shown(part("one", "echo", unavailable="exited"), part("two", "echo"), names=PLAIN)
    assert view.by_name["echo"].target.server == "one"


def test_a_tool_that_is_hidden_takes_no_name() -> None:
    view = shown(part("one", "echo"), part("two", "echo"), names=PLAIN, tools=("two__*",))
    assert view.by_name["echo"].target.server == "two"
    assert view.dropped == ()


def test_prefixed_names_that_are_cut_or_cleaned_lead_to_their_own_tools() -> None:
    long = ["t" * 70 + end for end in "ab"]
    view = shown(part("one", *long, "read.x", "read/x", "read_x"))
    assert len(view.by_name) == 5
    for name, entry in view.by_name.items():
        assert len(name) <= 64
        assert json.loads(entry.encoded)["name"] == name
    assert {entry.target.name for entry in view.entries} == {*long, "read.x", "read/x", "read_x"}


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ((), {"db__read_a", "db__write_a", "time__now"}),
        (("db__read_*", "time__*"), {"db__read_a", "time__now"}),
        (("*",), {"db__read_a", "db__write_a", "time__now"}),
        (("db",), set()),
        (("DB__*",), set()),
        (("*__read_?",), {"db__read_a"}),
    ],
)
def test_patterns_choose_by_server_and_tool(patterns: tuple[str, ...], expected: set[str]) -> None:
    view = shown(part("db", "read_a", "write_a"), part("time", "now"), tools=patterns)
    assert view.by_name.keys() == expected


def test_patterns_choose_by_the_tools_own_name_also_where_it_is_shown_cut() -> None:
    view = shown(part("one", "t" * 80 + "-end"), tools=("one__*-end",))
    assert len(view.entries) == 1


def test_a_definition_passes_whole_with_its_unknown_fields() -> None:
    odd = tool(
        "x", title="T", future={"a": [1, None]}, annotations={"vendorHint": 1}, _meta={"ui": 1},
        inputSchema={"$defs": {"a": {"$anchor": "q"}}, "x-mcp-header": 1}, outputSchema={"type": "string"},
    )  # fmt: skip
    (found,) = listed(shown(part("one", odd))).values()
    assert found == {**{key: json.loads(bytes(value)) for key, value in odd.fields.items()}, "name": "one__x"}


def test_tools_of_a_server_that_is_not_there_stay_listed_and_marked() -> None:
    broken = part(
        "one", tool("x", _meta={"a": 1}), tool("y", _meta="odd"), unavailable="exited with status 3"
    )
    view = shown(broken, part("two", "x"))
    found = listed(view)
    assert found["one__x"]["_meta"] == {"a": 1, UNAVAILABLE: "exited with status 3"}
    assert found["one__y"]["_meta"] == {UNAVAILABLE: "exited with status 3"}
    assert "_meta" not in found["two__x"]
    assert view.missing[Kind.TOOL] == {"one": {"state": "failed", "reason": "exited with status 3"}}
    assert SERVERS.startswith("dev.tidegate/")


def test_a_server_of_which_nothing_is_known_is_missing_and_said() -> None:
    view = shown(Part("one", None, "starting", "starting"), part("two", "x"))
    assert list(view.by_name) == ["two__x"]
    assert view.missing[Kind.TOOL] == {"one": {"state": "starting", "reason": "starting"}}


def test_instructions_are_merged_in_declared_order_under_their_servers_names() -> None:
    view = shown(part("b", said="B first.\n"), part("none"), part("a", said=" A then."))
    assert (
        instructions(view, {"a", "b", "none"}) == "## b (tools b__…)\nB first.\n\n## a (tools a__…)\nA then."
    )


def test_a_transparent_endpoint_gives_the_servers_own_instructions() -> None:
    assert instructions(shown(part("one", said="Be kind."), names=PLAIN), {"one"}) == "Be kind."
    assert instructions(shown(part("one")), {"one"}) is None


def test_one_servers_instructions_cannot_flood_a_models_context() -> None:
    view = shown(part("one", said="x" * 1_000_000), part("two", said="short"))
    merged = instructions(view, {"one", "two"})
    assert merged is not None
    assert len(merged) < 5000
    assert merged.endswith("short")


def test_what_is_kept_of_large_lists_is_bounded_whoever_asks() -> None:
    spec = EndpointSpec("/mcp", ("a",))
    endpoint = Endpoint(spec, Authorizer(spec))
    endpoint.show(build(spec, [part("a", tool("t", description="x" * 5_000_000))]))
    for number in range(20):
        principal = Principal("t", "key", f"p{number}", frozenset({"user"}))
        for modern in (False, True):
            assert len(endpoint.list(Kind.TOOL, principal, None, modern=modern)) > 5_000_000
            assert endpoint.kept <= LISTS_SIZE


def test_of_a_server_that_is_wholly_denied_nothing_is_told() -> None:
    """Neither its instructions nor that it is missing; a server whose tools nobody knows yet counts as well."""
    rules = (
        Rule(Effect.DENY, servers=("hidden", "dark"), roles=frozenset({"user"})),
        Rule(Effect.DENY, servers=("half",), tools=("t",)),
        Rule(Effect.ALLOW, roles=frozenset({"user", "admin"})),
    )
    spec = EndpointSpec("/mcp", ("open", "hidden", "dark", "half"), rules=rules)
    endpoint = Endpoint(spec, Authorizer(spec))
    dark = Part("dark", None, "it cannot be had", "failed")
    hidden = part("hidden", "t", unavailable="broken", said="Hidden says.")
    half = Part("half", None, "it is not read yet", "starting")
    endpoint.show(build(spec, [part("open", "t", said="Open says."), hidden, dark, half]))

    def told(role: str) -> tuple[str, dict[str, Any]]:
        principal = Principal("t", "key", "p", frozenset({role}))
        listed = json.loads(endpoint.list(Kind.TOOL, principal, None, modern=True))
        return endpoint.instructions(principal) or "", listed.get("_meta", {}).get(SERVERS, {})

    assert "Open says." in told("user")[0]
    assert "idden" not in told("user")[0]
    assert set(told("user")[1]) == {"half"}
    assert "Hidden says." in told("admin")[0]
    assert set(told("admin")[1]) == {"hidden", "dark", "half"}
    assert told("nobody") == ("", {})
