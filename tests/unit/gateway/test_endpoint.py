"""What an endpoint resolves, lists and says of itself, over servers as they describe themselves. No fleet, no clock."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from tidegate.access.authorize import Authorizer
from tidegate.domain.endpoint import Effect, EndpointSpec, Names, Rule
from tidegate.domain.errors import InvalidParams
from tidegate.domain.principal import Principal
from tidegate.domain.target import Kind, Target
from tidegate.gateway.definitions import LISTS, Definition, Definitions, Listed
from tidegate.gateway.endpoint import Endpoint
from tidegate.gateway.lists import PAGE
from tidegate.gateway.view import SERVERS, UNAVAILABLE, Part, build
from tidegate.protocol.capabilities import Offer
from tidegate.protocol.codec import decode_object, encode

TOOL, PROMPT, RESOURCE, TEMPLATE = Kind.TOOL, Kind.PROMPT, Kind.RESOURCE, Kind.TEMPLATE
ALLOW, DENY = Effect.ALLOW, Effect.DENY
USER = Principal("t", "key", "ann", frozenset({"user"}))
ADMIN = Principal("t", "key", "root", frozenset({"admin"}))
ALL: dict[str, Any] = {"tools": {}, "prompts": {}, "resources": {}}
Json = dict[str, Any]


def part(
    name: str,
    capabilities: Json = ALL,
    *,
    modern: bool = False,
    unavailable: str | None = None,
    public: bool = False,
    mirrored: bool = False,
    **lists: list[str | Json],
) -> Part:
    """Give a server's part; `lists` are `tools`, `prompts`, `resources` and `resourceTemplates`."""
    listed: dict[Kind, Listed] = {}
    for kind, form in LISTS.items():
        given = [{form.name: each} if isinstance(each, str) else each for each in lists.get(form.key, ())]
        defined = tuple(Definition(each[form.name], decode_object(encode(each))) for each in given)
        listed[kind] = Listed(defined, 5000 if public else None, public)
    offered = Definitions(listed, None, decode_object(encode(capabilities)), modern)
    return Part(name, offered, unavailable, "failed" if unavailable else "ready", mirrored=mirrored)


def endpoint(*parts: Part, **spec: Any) -> Endpoint:
    """Give an endpoint that shows these parts, in this order."""
    declared = EndpointSpec("/mcp", tuple(each.name for each in parts), **spec)
    made = Endpoint(declared, Authorizer(declared))
    made.show(build(declared, parts))
    return made


def plain(*parts: Part, **spec: Any) -> Endpoint:
    """Give one without prefixes."""
    return endpoint(*parts, names=Names.PLAIN, **spec)


def found(made: Endpoint, kind: Kind, shown: str, who: Principal = USER) -> tuple[str, str] | None:
    """Give the server and its own name that something resolves to, or None where it is unknown."""
    try:
        entry, decision = made.resolve(who, kind, shown)
    except InvalidParams:
        return None
    assert decision.allowed
    assert entry.target.kind is kind
    return entry.target.server, entry.target.name


def listed(made: Endpoint, kind: Kind, who: Principal = USER, **options: Any) -> Json:
    """Give a list as a client gets it."""
    result: Json = json.loads(
        made.list(kind, who, options.pop("cursor", None), modern=options.pop("modern", True))
    )
    return result


# -- names ------------------------------------------------------------------------------------


def test_each_kind_has_names_of_its_own() -> None:
    both = endpoint(part("one", tools=["x"], prompts=["x"]), part("two", prompts=["x"]))
    assert found(both, TOOL, "one__x") == found(both, PROMPT, "one__x") == ("one", "x")
    assert found(both, PROMPT, "two__x") == ("two", "x")
    assert found(both, TOOL, "two__x") is None
    assert found(both, RESOURCE, "one__x") is None


def test_the_first_declared_keeps_a_name_or_uri_that_two_have_and_the_other_is_said() -> None:
    offered: Any = {"prompts": ["p"], "resources": ["memo://r"], "resourceTemplates": ["memo://{id}"]}
    both = plain(part("one", **offered), part("two", **offered, tools=["t"]))
    assert found(both, PROMPT, "p") == ("one", "p")
    assert found(both, RESOURCE, "memo://r") == ("one", "memo://r")
    assert set(both.view.dropped) == {
        "two: prompt 'p' is left out: one has the name 'p'",
        "two: resource 'memo://r' is left out: one has the name 'memo://r'",
        "two: template 'memo://{id}' is left out: one has the name 'memo://{id}'",
    }
    web = endpoint(part("one", resources=["https://x/a"]), part("two", resources=["https://x/a"]))
    assert found(web, RESOURCE, "https://x/a") == ("one", "https://x/a")
    assert len(web.view.dropped) == 1


def test_what_is_listed_is_renamed_wherever_it_names_a_resource() -> None:
    tool = {
        "name": "show",
        "_meta": {"ui": {"resourceUri": "ui://app"}, "ui/resourceUri": "ui://app"},
        "icons": [{"src": "memo://i"}],
    }
    made = endpoint(
        part(
            "one", tools=[tool], resources=[{"uri": "memo://r", "size": 1}], resourceTemplates=["memo://{id}"]
        )
    )
    (shown,) = listed(made, TOOL)["tools"]
    assert shown["_meta"] == {"ui": {"resourceUri": "ui://one__app"}, "ui/resourceUri": "ui://one__app"}
    assert shown["icons"] == [{"src": "memo://i"}]
    assert listed(made, RESOURCE)["resources"] == [{"uri": "memo://one__r", "size": 1}]
    assert listed(made, TEMPLATE)["resourceTemplates"] == [{"uriTemplate": "memo://one__{id}"}]
    assert made.uri_out("one", "memo://r") == "memo://one__r"


# -- resources that are not listed ------------------------------------------------------------


def test_a_prefix_says_whose_a_resource_is_without_any_index() -> None:
    both = endpoint(part("one"), part("two", {"tools": {}}), part("three"))
    assert found(both, RESOURCE, "ui://one__clock/app.html") == ("one", "ui://clock/app.html")
    assert found(both, RESOURCE, "urn:three__x") == ("three", "urn:x")
    assert found(both, RESOURCE, "ui://two__x") is None, "it has no resources"
    assert found(both, RESOURCE, "ui://four__x") is None
    assert found(both, RESOURCE, "ui://clock/app.html") is None
    assert found(both, TEMPLATE, "memo://one__{id}/new") == ("one", "memo://{id}/new")


def test_where_nothing_is_renamed_a_template_a_link_or_being_the_only_one_says_whose_it_is() -> None:
    both = plain(
        part("one", resourceTemplates=["memo://{id}/one"]),
        part("two", resourceTemplates=["memo://{id}/two", "memo://{id}/one/x"]),
        part("three", {"tools": {}}),
    )
    assert found(both, RESOURCE, "memo://7/two") == ("two", "memo://7/two")
    assert found(both, RESOURCE, "memo://7/one") == ("one", "memo://7/one")
    assert found(both, RESOURCE, "ui://x") is None
    both.renaming("two").result(Raw(b'{"content":[{"type":"resource_link","uri":"ui://x"}]}'))
    assert found(both, RESOURCE, "ui://x") == ("two", "ui://x")
    one = plain(part("one"), part("three", {"tools": {}}))
    assert found(one, RESOURCE, "ui://x") == ("one", "ui://x")
    assert found(one, TEMPLATE, "memo://{new}") == ("one", "memo://{new}")


def test_a_link_to_the_web_on_a_prefixed_endpoint_leads_to_who_gave_it() -> None:
    both = endpoint(part("one"), part("two", resourceTemplates=["https://x/{id}"]))
    assert found(both, RESOURCE, "https://x/7") == ("two", "https://x/7")
    assert found(both, RESOURCE, "https://y/7") is None
    result = Raw(b'{"contents":[{"uri":"https://y/7"},{"uri":"memo://a"}]}')
    assert b"memo://one__a" in bytes(both.renaming("one").result(result))
    assert found(both, RESOURCE, "https://y/7") == ("one", "https://y/7")


def test_links_of_one_server_are_bounded_and_push_out_no_other_servers() -> None:
    both = plain(part("one"), part("two"))
    both.seen("two", "ui://kept")
    for number in range(3000):
        both.seen("one", f"ui://{number}")
    assert found(both, RESOURCE, "ui://kept") == ("two", "ui://kept")
    assert found(both, RESOURCE, "ui://2999") == ("one", "ui://2999")
    assert found(both, RESOURCE, "ui://0") is None


def test_a_link_leads_to_the_server_that_is_declared_first_whoever_gave_it_last() -> None:
    both = plain(part("one"), part("two"))
    both.seen("one", "ui://x")
    both.seen("two", "ui://x")
    assert found(both, RESOURCE, "ui://x") == ("one", "ui://x")


def test_equal_reads_of_an_unlisted_resource_are_for_the_very_same_target() -> None:
    made = endpoint(part("one"))
    first, again = (made.resolve(USER, RESOURCE, "ui://one__x") for _ in range(2))
    assert first[0] is again[0]
    assert first[0].target is again[0].target
    assert first[1] is again[1]
    for number in range(3000):
        made.resolve(USER, RESOURCE, f"ui://one__{number}")
    kept = made._found  # pyright: ignore[reportPrivateUsage]
    assert len(kept) <= 1024


def test_a_listed_resource_is_the_same_target_under_each_uri_that_leads_to_it() -> None:
    made = endpoint(part("one", resources=["memo://r"]))
    assert made.resolve(USER, RESOURCE, "memo://r")[0] is made.resolve(USER, RESOURCE, "memo://one__r")[0]


def test_of_a_server_of_which_nothing_is_known_a_prefixed_resource_may_be_asked() -> None:
    made = endpoint(Part("one", None, "starting", "starting"), Part("two", None, "starting", "starting"))
    assert found(made, RESOURCE, "memo://one__x") == ("one", "memo://x")
    alone = plain(Part("one", None, "starting", "starting"))
    assert found(alone, RESOURCE, "memo://x") == ("one", "memo://x")


@pytest.mark.parametrize("uri", ["", "x://one__" + "a" * 3000, "x://one__\x00", "x://one__a\nb", "no-scheme"])
def test_what_can_be_no_resource_is_unknown(uri: str) -> None:
    both = endpoint(part("one"), part("two"))
    with pytest.raises(InvalidParams) as refused:
        both.resolve(USER, RESOURCE, uri)
    assert refused.value.code == -32602
    assert refused.value.data == {"uri": uri[:2048]}
    assert len(str(refused.value)) < 200


# -- rules and choices ------------------------------------------------------------------------


def test_what_is_hidden_looks_unknown_in_lists_and_by_name() -> None:
    rules = (
        Rule(ALLOW, frozenset({"admin"})),
        Rule(ALLOW, frozenset({"user"}), prompts=("read_*",), resources=("memo://pub/*",)),
    )
    offered: Any = {
        "tools": ["t"], "prompts": ["read_x", "write_x"], "resources": ["memo://pub/a", "memo://top"],
        "resourceTemplates": ["memo://pub/{id}", "memo://{+path}"],
    }  # fmt: skip
    made = endpoint(part("one", **offered), rules=rules)
    assert [each["name"] for each in listed(made, PROMPT)["prompts"]] == ["one__read_x"]
    assert [each["uri"] for each in listed(made, RESOURCE)["resources"]] == ["memo://one__pub/a"]
    assert [each["uriTemplate"] for each in listed(made, TEMPLATE)["resourceTemplates"]] == [
        "memo://one__pub/{id}"
    ]
    assert listed(made, TOOL)["tools"] == []
    assert found(made, RESOURCE, "memo://one__pub/unlisted") == ("one", "memo://pub/unlisted")
    for hidden in ("memo://one__top", "memo://one__pub/../top", "memo://one__nothing"):
        with pytest.raises(InvalidParams) as refused:
            made.resolve(USER, RESOURCE, hidden)
        assert str(refused.value) == f"unknown resource: {hidden}"
    assert found(made, RESOURCE, "memo://one__top", ADMIN) == ("one", "memo://top")


def test_an_endpoint_chooses_prompts_and_resources_by_server_and_own_name() -> None:
    offered: Any = {
        "prompts": ["a", "b"],
        "resources": ["memo://a/1", "memo://b/1"],
        "resourceTemplates": ["memo://a/{id}"],
    }
    made = endpoint(
        part("one", **offered), part("two", **offered), prompts=("one__a",), resources=("*__memo://a/*",)
    )
    assert [each["name"] for each in listed(made, PROMPT)["prompts"]] == ["one__a"]
    assert {each["uri"] for each in listed(made, RESOURCE)["resources"]} == {
        "memo://one__a/1",
        "memo://two__a/1",
    }
    assert found(made, RESOURCE, "memo://one__a/unlisted") == ("one", "memo://a/unlisted")
    assert found(made, RESOURCE, "memo://one__b/1") is None
    assert found(made, RESOURCE, "memo://one__a/../b/1") is None


# -- MCP Apps ---------------------------------------------------------------------------------

SHOWN = {"name": "show", "_meta": {"ui": {"resourceUri": "ui://app", "visibility": ["model", "app"]}}}
HIDDEN = {"name": "refresh", "_meta": {"ui": {"resourceUri": "ui://app", "visibility": ["app"]}}}


def test_a_tool_for_apps_only_is_there_where_an_endpoint_has_one_server() -> None:
    alone = endpoint(part("one", tools=[SHOWN, HIDDEN]))
    assert [each["name"] for each in listed(alone, TOOL)["tools"]] == ["one__show", "one__refresh"]
    both = endpoint(part("one", tools=[SHOWN, HIDDEN]), part("two", tools=["x"]))
    assert [each["name"] for each in listed(both, TOOL)["tools"]] == ["one__show", "two__x"]
    for name in ("one__refresh", "refresh"):
        assert found(both, TOOL, name) is None


def test_an_app_calls_its_servers_tools_by_the_names_it_knows() -> None:
    both = endpoint(part("one", tools=[SHOWN, "same", "plain"]), part("two", tools=["same", "x"]))
    assert found(both, TOOL, "show") == ("one", "show")
    assert found(both, TOOL, "plain") == ("one", "plain")
    assert both.resolve(USER, TOOL, "show")[0] is both.resolve(USER, TOOL, "one__show")[0]
    assert found(both, TOOL, "same") is None, "two servers have one"
    assert found(both, TOOL, "x") is None, "its server has no apps"


@pytest.mark.parametrize(
    "meta",
    [7, {"ui": 7}, {"ui": {"visibility": "app"}}, {"ui": {"visibility": 7}}, {"ui": {"visibility": None}}],
)
def test_odd_words_about_apps_hide_nothing(meta: object) -> None:
    both = endpoint(part("one", tools=[{"name": "t", "_meta": meta}]), part("two"))
    assert found(both, TOOL, "one__t") == ("one", "t")


# -- headers ----------------------------------------------------------------------------------

WRONG = {"name": "bad", "inputSchema": {"properties": {"a": {"type": "number", "x-mcp-header": "A"}}}}
RIGHT = {"name": "good", "inputSchema": {"properties": {"a": {"type": "string", "x-mcp-header": "A"}}}}


def test_a_tool_that_asks_for_headers_as_it_must_not_is_left_out_where_it_is_asked_over_http() -> None:
    made = endpoint(part("one", tools=[WRONG, RIGHT], mirrored=True))
    assert [each["name"] for each in listed(made, TOOL)["tools"]] == ["one__good"]
    (why,) = made.view.dropped
    assert why == "one: tool 'bad' is left out: x-mcp-header of 'a' is on no string, integer or boolean"
    piped = endpoint(part("one", tools=[WRONG, RIGHT]))
    assert piped.resolve(USER, TOOL, "one__bad")[0].mirrors == ()
    assert len(piped.resolve(USER, TOOL, "one__good")[0].mirrors) == 1


# -- lists ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [TOOL, PROMPT, RESOURCE, TEMPLATE])
@pytest.mark.parametrize("modern", [True, False])
def test_every_list_has_pages_whose_cursors_are_its_own(kind: Kind, modern: bool) -> None:
    form = LISTS[kind]
    names: list[str | Json] = [f"x:{n}" for n in range(2 * PAGE + 1)]
    made = plain(part("one", tools=names, prompts=names, resources=names, resourceTemplates=names))
    seen: list[str] = []
    cursor: str | None = None
    while True:
        result = listed(made, kind, modern=modern, cursor=cursor)
        seen += [each[form.name] for each in result[form.key]]
        assert (result.get("resultType"), result.get("cacheScope")) == (
            ("complete", "private") if modern else (None, None)
        )
        cursor = result.get("nextCursor")
        if cursor is None:
            break
        others = [each for each in LISTS if each is not kind]
        for other in others:
            with pytest.raises(InvalidParams):
                made.list(other, USER, cursor, modern=modern)
    assert seen == names


def test_a_long_list_is_given_from_bytes_that_are_kept_for_all_who_see_the_same() -> None:
    made = plain(part("one", tools=[f"t{n}" for n in range(3000)]))
    first = made.list(TOOL, USER, "t1000", modern=False)
    twin = Principal("other", "key", "twin", frozenset({"user"}))
    assert made.list(TOOL, twin, "t1000", modern=False) is first
    assert made.kept == len(first)


def test_a_list_is_public_only_where_every_server_says_so_and_all_roles_see_the_same() -> None:
    says, silent = part("one", public=True, tools=["t"]), part("two", tools=["t"])
    none = part("none", {"prompts": {}})
    assert listed(endpoint(says, none), TOOL)["cacheScope"] == "public"
    assert listed(endpoint(says, silent), TOOL)["cacheScope"] == "private"
    assert listed(endpoint(says, Part("x", None, None, "ready")), TOOL)["cacheScope"] == "private"
    by_role = (Rule(ALLOW), Rule(DENY, frozenset({"user"}), tools=("secret",)))
    assert listed(endpoint(says, rules=by_role), TOOL)["cacheScope"] == "private"
    guest = Principal("t", "key", "guest", frozenset({"guest"}))
    assert listed(endpoint(says), TOOL, guest)["cacheScope"] == "private"
    names: list[str | Json] = [f"t{n}" for n in range(PAGE + 1)]
    long = endpoint(part("one", public=True, tools=names))
    assert {listed(long, TOOL, cursor=cursor)["cacheScope"] for cursor in (None, f"t{PAGE}")} == {"public"}


def test_how_long_a_list_holds_is_said_anew_each_time_and_not_at_all_where_something_is_missing() -> None:
    made = endpoint(part("one", tools=["t"]))
    for left in (5000, 4000, 0):
        made.holds = lambda _label, _kind, left=left: left
        assert listed(made, TOOL)["ttlMs"] == left
        assert "ttlMs" not in listed(made, TOOL, modern=False)
    broken = endpoint(part("one", tools=["t"], unavailable="exited"))
    broken.holds = lambda _label, _kind: 5000
    assert listed(broken, TOOL)["ttlMs"] == 0


def test_what_cannot_be_used_now_is_marked_in_every_list() -> None:
    offered: Any = {"tools": ["t"], "prompts": ["p"], "resources": ["x:r"], "resourceTemplates": ["x:{a}"]}
    made = endpoint(
        part("one", {**ALL}, unavailable="exited", **offered), part("two", {"tools": {}}, unavailable="gone")
    )
    for kind, form in LISTS.items():
        result = listed(made, kind)
        assert result[form.key][0]["_meta"] == {UNAVAILABLE: "exited"}
        servers = result["_meta"][SERVERS]
        assert servers["one"] == {"state": "failed", "reason": "exited"}
        assert ("two" in servers) is (kind is TOOL), "it has tools only"


# -- capabilities -----------------------------------------------------------------------------


def test_capabilities_are_what_some_reachable_server_can_do() -> None:
    one = part("one", {"tools": {}, "logging": {}, "experimental": {"x": {}}})
    two = part("two", {"prompts": {}, "resources": {"subscribe": True}, "completions": {}})
    changes = {"listChanged": True}
    assert endpoint(one, two).capabilities(USER, modern=True) == {
        "tools": changes, "prompts": changes, "resources": {"listChanged": True, "subscribe": True},
        "completions": {}, "logging": {},
    }  # fmt: skip
    assert endpoint(one).capabilities(USER, modern=False) == {"tools": changes, "logging": {}}
    silent = part("two", {"resources": {"subscribe": False}})
    assert endpoint(silent).capabilities(USER, modern=True) == {"resources": changes}
    assert endpoint().capabilities(USER, modern=True) == {}


def test_what_the_rules_leave_nothing_of_is_no_capability() -> None:
    rules = (Rule(ALLOW, tools=("*",), prompts=("*",)), Rule(DENY, servers=("two",)))
    two = part("two", {"completions": {}, "resources": {}, "extensions": {"x/y": {}}})
    made = endpoint(part("one", {**ALL, "logging": {}}), two, rules=rules)
    assert set(made.capabilities(USER, modern=True)) == {"tools", "prompts", "logging"}


def test_of_a_server_of_which_nothing_is_known_tools_are_expected() -> None:
    made = endpoint(Part("one", None, "starting", "starting"))
    assert made.capabilities(USER, modern=True) == {"tools": {"listChanged": True}}


def test_extensions_are_merged_and_bounded() -> None:
    one = part("one", {"extensions": {"a/b": {"from": 1}, "odd/value": 7, "long/" + "x" * 300: {}}})
    two = part(
        "two", {"extensions": {"a/b": {"from": 2}, "c/d": {}, **{f"many/{n}": {} for n in range(100)}}}
    )
    extensions = endpoint(one, two).capabilities(USER, modern=True)["extensions"]
    assert isinstance(extensions, dict)
    assert json.loads(encode(extensions["a/b"])) == {"from": 1}
    assert "c/d" in extensions
    assert len(extensions) == 32
    assert not any(name.startswith(("odd", "long")) for name in extensions)
    assert "extensions" not in endpoint(part("one", {"extensions": [1]})).capabilities(USER, modern=True)


def test_tasks_are_told_of_in_each_eras_own_way() -> None:
    extension = "io.modelcontextprotocol/tasks"
    old = {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
    legacy = part("old", {"tools": {}, "tasks": old})
    modern = part("new", {"tools": {}, "extensions": {extension: {}}}, modern=True)
    made = endpoint(legacy, modern)
    told = made.capabilities(USER, modern=False)
    assert told["tasks"] == {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
    assert "extensions" not in told
    assert extension in str(made.capabilities(USER, modern=True)["extensions"])
    for odd in ({"requests": {"sampling": {}}}, {"requests": 7}, 7, {}):
        assert "tasks" not in endpoint(part("old", {"tasks": odd})).capabilities(USER, modern=False)


def test_an_extensions_methods_are_for_the_one_server_that_has_it() -> None:
    one, two = part("one", {"extensions": {"a/b": {}}}), part("two", {"extensions": {"c/d": {}, "a/b": {}}})
    made = endpoint(one, two)
    assert made.extension_server(USER, {"c/d": Raw(b"{}")}) == "two"
    assert made.extension_server(USER, {"a/b": Raw(b"{}")}) is None
    assert made.extension_server(USER, {"e/f": Raw(b"{}")}) is None
    denied = endpoint(one, two, rules=(Rule(ALLOW), Rule(DENY, servers=("one",))))
    assert denied.extension_server(USER, {"a/b": Raw(b"{}")}) == "two"


def test_what_was_told_before_is_forgotten_with_the_view() -> None:
    made = endpoint(part("one", {"tools": {}}))
    assert "prompts" not in made.capabilities(USER, modern=True)
    made.show(build(made.spec, [part("one", prompts=["p"])]))
    assert "prompts" in made.capabilities(USER, modern=True)
    assert found(made, PROMPT, "one__p") == ("one", "p")
    assert found(made, RESOURCE, "x://one__a") == ("one", "x://a")
    assert made.resolve(USER, RESOURCE, "x://one__a")[0].target == Target("one", RESOURCE, "x://a")


def test_what_a_client_is_shown_is_what_it_gets_where_others_are_shown_another_servers() -> None:
    narrow: Any = {"tools": ["t", "only"], "resources": ["memo://r"]}
    two = part("two", tools=["t"], resources=["memo://r"])
    made = plain(part("one", **narrow), two)
    made.show(made.view, {Offer.FORM.label: build(made.spec, [part("one", tools=["asks"]), two])})

    def server(kind: Kind, shown: str, offer: Offer = Offer.NONE) -> str:
        return made.resolve(USER, kind, shown, offer=offer)[0].target.server

    for kind, shown in ((TOOL, "t"), (RESOURCE, "memo://r")):
        assert (server(kind, shown), server(kind, shown, Offer.FORM)) == ("one", "two")
    assert (server(TOOL, "only", Offer.FORM), server(TOOL, "asks")) == ("one", "one")
    for name in ("one", "two"):  # whoever subscribed to one of them hears of it under the name it has there
        assert made.has(USER, Target(name, RESOURCE, "memo://r"), "memo://r")
    assert not made.has(USER, Target("two", RESOURCE, "memo://other"), "memo://r")
    ruled = plain(part("one", **narrow), two, rules=(Rule(ALLOW, tools=("none",)),))
    assert not ruled.has(USER, Target("one", RESOURCE, "memo://r"), "memo://r")
