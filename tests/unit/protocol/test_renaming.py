"""URIs of several servers on one endpoint: there and back, and everywhere that results name them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from tidegate.protocol.codec import decode_object
from tidegate.protocol.renaming import Renaming, uri_in, uri_out

SERVERS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", fullmatch=True)
PREFIXED = Renaming("one", prefixed=True)


def raw(value: object) -> Raw:
    """Encode a value as servers often do."""
    return Raw(json.dumps(value).encode())


def renamed(value: object, renaming: Renaming = PREFIXED) -> Any:
    """Give what becomes of a result."""
    return json.loads(bytes(renaming.result(raw(value))))


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("file:///a/b.txt", "file://one__/a/b.txt"),
        ("memo://insights", "memo://one__insights"),
        ("ui://clock/app.html", "ui://one__clock/app.html"),
        ("test://template/{id}/data", "test://one__template/{id}/data"),
        ("memo://{+path}{?q,r}", "memo://one__{+path}{?q,r}"),
        ("urn:isbn:1", "urn:one__isbn:1"),
        ("x:", "x:one__"),
        ("x://", "x://one__"),
        ("x:///", "x://one__/"),
        ("a+b-c.d://x", "a+b-c.d://one__x"),
        ("https:oddly", "https:one__oddly"),
        ("C:\\Temp", "C:one__\\Temp"),
    ],
)
def test_a_uri_keeps_its_scheme_and_gets_its_server_behind_it(uri: str, shown: str) -> None:
    assert uri_out("one", uri) == shown
    assert uri_in(shown, {"one", "two"}) == ("one", uri)


@pytest.mark.parametrize(
    "uri", ["http://x/y", "HTTPS://x", "data:text/plain,x", "no-scheme", "{scheme}://x", "", "://x", "1a://x", "/p"]
)  # fmt: skip
def test_what_a_client_may_have_by_itself_or_has_no_scheme_stays(uri: str) -> None:
    assert uri_out("one", uri) == uri
    assert uri_in(uri, {"one"}) is None


@pytest.mark.parametrize(
    "shown", ["memo://x", "memo://three__x", "memo://__x", "memo:one_x", "http://one__x", "one__x"]
)
def test_a_uri_that_names_none_of_the_servers_is_nobodys(shown: str) -> None:
    assert uri_in(shown, {"one", "two"}) is None


@given(
    SERVERS, st.text(max_size=60), st.sampled_from(["memo://", "file://", "urn:", "x", "http://", "", "a:/"])
)
def test_any_uri_is_read_back_as_it_was_or_was_not_changed(server: str, rest: str, scheme: str) -> None:
    uri = scheme + rest
    shown = uri_out(server, uri)
    assert shown == uri or uri_in(shown, {server}) == (server, uri)


LINK = {"type": "resource_link", "uri": "memo://a", "name": "A", "icons": [{"src": "memo://icon"}]}
EMBEDDED = {"type": "resource", "resource": {"uri": "memo://b", "text": '{"uri":"memo://text"}'}}
OUT_LINK = {**LINK, "uri": "memo://one__a"}
OUT_EMBEDDED = {"type": "resource", "resource": {**EMBEDDED["resource"], "uri": "memo://one__b"}}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"content": [LINK, EMBEDDED]}, {"content": [OUT_LINK, OUT_EMBEDDED]}),
        ({"contents": [{"uri": "memo://c", "blob": "AAAA"}]}, {"contents": [{"uri": "memo://one__c", "blob": "AAAA"}]}),
        (
            {"messages": [{"role": "user", "content": LINK}, {"role": "user", "content": [EMBEDDED]}]},
            {"messages": [{"role": "user", "content": OUT_LINK}, {"role": "user", "content": [OUT_EMBEDDED]}]},
        ),
        (
            {"content": [], "_meta": {"ui": {"resourceUri": "ui://x", "csp": {}}, "ui/resourceUri": "ui://y"}},
            {"content": [], "_meta": {"ui": {"resourceUri": "ui://one__x", "csp": {}}, "ui/resourceUri": "ui://one__y"}},
        ),
        (
            {"content": [{"type": "resource", "resource": {"_meta": {"ui": {"resourceUri": "ui://x"}}}}]},
            {"content": [{"type": "resource", "resource": {"_meta": {"ui": {"resourceUri": "ui://one__x"}}}}]},
        ),
        ({"content": [{"type": "unheard", "uri": "memo://a"}]}, {"content": [{"type": "unheard", "uri": "memo://one__a"}]}),
    ],
)  # fmt: skip
def test_every_place_where_a_result_names_a_resource_is_renamed(result: Any, expected: Any) -> None:
    assert renamed(result) == expected


def test_a_key_that_is_written_with_escapes_is_no_way_round() -> None:
    result = Raw(
        b'{"content":[{"type":"resource_link","\\u0075ri":"memo://a"}],"_meta":{"ui\\/resourceUri":"ui://x"}}'
    )
    found = json.loads(bytes(PREFIXED.result(result)))
    assert found == {
        "content": [{"type": "resource_link", "uri": "memo://one__a"}],
        "_meta": {"ui/resourceUri": "ui://one__x"},
    }
    only = Raw(b'{"content":[{"\\u0075\\u0072\\u0069":"memo:\\/\\/a"}]}')
    assert json.loads(bytes(PREFIXED.result(only))) == {"content": [{"uri": "memo://one__a"}]}


@pytest.mark.parametrize(
    "result",
    [
        {"content": [{"type": "text", "text": "plain"}]},
        {"structuredContent": {"uri": "memo://a", "content": [{"uri": "memo://a"}]}},
        {"content": [{"type": "text", "text": 'says "uri": memo://a'}]},
        {"content": "uri", "contents": 7, "messages": {"uri": "memo://a"}, "_meta": ["uri", {"uri": "x"}]},
        {"content": [{"uri": 7}, {"uri": None}, {"uri": ["memo://a"]}, [{"uri": "memo://a"}], "uri", None]},
        {"content": [{"resource": {"resource": {"uri": "memo://a"}}}]},
        {"content": [{"uri": "https://example.com/x"}]},
        {"inputRequests": {"uri": {"uri": "memo://a"}}},
        {"_meta": {"ui": {"ui": {"resourceUri": "ui://x"}}, "uri": "memo://a"}},
        [{"uri": "memo://a"}],
        "uri",
    ],
)
def test_all_else_is_the_same_object(result: object) -> None:
    given_raw = raw(result)
    assert PREFIXED.result(given_raw) is given_raw


def test_what_stands_beside_a_uri_keeps_its_bytes() -> None:
    data = (
        b'{ "structuredContent" : {"n":1.50, "big":12345678901234567890123, "dup":1,"dup":2, "\\u0061":"\\u00e9"},\n'
        b' "content":[ {"type":"text","text":"\\ud83d\\ude00  x"}, {"uri":"memo://a","size": 1e2,"odd" : [ 1 , 2 ]} ]}'
    )
    found = bytes(PREFIXED.result(Raw(data)))
    for part in (
        b'{"n":1.50, "big":12345678901234567890123, "dup":1,"dup":2, "\\u0061":"\\u00e9"}',
        b'{"type":"text","text":"\\ud83d\\ude00  x"}',
        b"1e2",
        b"[ 1 , 2 ]",
        b'"memo://one__a"',
    ):
        assert part in found


def test_results_that_are_deep_or_no_json_pass() -> None:
    for data in (
        b"[" * 3000 + b'"uri"' + b"]" * 3000,
        b'{"content":[{"uri":',
        b"",
        b'{"content":[{"uri":"\\ud800://x"}]}',
    ):
        given_raw = Raw(data)
        assert PREFIXED.result(given_raw) is given_raw
    deep = Raw(b'{"content":[{"uri":"memo://a","x":' + b"[" * 3000 + b"]" * 3000 + b"}]}")
    assert PREFIXED.result(deep) is deep


def test_definitions_are_renamed_where_they_name_resources_and_icons_are_not() -> None:
    icons = [{"src": "memo://icon"}]
    tool = {
        "name": "t",
        "icons": icons,
        "_meta": {"ui": {"resourceUri": "ui://x", "visibility": ["app"]}, "ui/resourceUri": "ui://x"},
    }
    found = {
        key: json.loads(bytes(value)) for key, value in PREFIXED.fields(decode_object(raw(tool))).items()
    }
    assert found == {
        "name": "t", "icons": icons,
        "_meta": {"ui": {"resourceUri": "ui://one__x", "visibility": ["app"]}, "ui/resourceUri": "ui://one__x"},
    }  # fmt: skip
    plain = decode_object(raw({"uri": "memo://a"}))
    assert Renaming("one", prefixed=False).fields(plain) is plain


def test_an_endpoint_that_renames_nothing_hears_of_the_links_all_the_same() -> None:
    seen: list[str] = []
    hearing = Renaming("one", prefixed=False, seen=seen.append)
    result = raw({"content": [LINK, EMBEDDED, {"uri": "https://x"}]})
    assert hearing.result(result) is result
    assert seen == ["memo://a", "memo://b", "https://x"]
    assert not hearing.plain
    assert Renaming("one", prefixed=False).plain
    seen.clear()
    Renaming("one", prefixed=True, seen=seen.append).result(result)
    assert seen == ["https://x"]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["memo://a", "ui://b", "https://c"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["content", "contents", "messages", "resource", "uri", "_meta", "ui", "resourceUri", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON, st.booleans())
def test_of_any_result_nothing_but_uris_is_changed_and_twice_is_once_more(
    result: Any, ascii_only: bool
) -> None:
    data = json.dumps(result, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    found = json.loads(bytes(PREFIXED.result(Raw(data))))
    text = json.dumps(found).replace("://one__", "://")
    assert json.loads(text) == result


@given(st.binary(max_size=200))
def test_any_bytes_are_survived(data: bytes) -> None:
    PREFIXED.result(Raw(b'{"content":[{"uri":' + data + b"}]}"))
    PREFIXED.result(Raw(data))
