"""What must hold of any bytes that a peer can send: one check for each thing that reads them.

A check returns where all is as it must be and raises otherwise. What is refused must be refused with an error
of ours; what is accepted must mean the same to a second reader, and what is passed on must read the same again.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Raw

from tests.corpus import passed, second
from tests.corpus.compare import Differs, reads, same, told
from tests.corpus.second import Pairs
from tidegate.domain.errors import ParseFailure, Refusal, UpstreamProtocolError
from tidegate.protocol import bridge, capabilities, client, codec, inbound, mirrors, revisions
from tidegate.protocol.framing import CutLines, Lines
from tidegate.protocol.sse import Event, EventParser, encode_event

Check = Callable[[bytes], None]
LIMIT = 1 << 20
ENVELOPE = {"jsonrpc", "id", "method", "params", "result", "error"}
PARAMS = {"name", "arguments", "uri", "cursor", "requestState", "taskId"}
META = {revisions.META_VERSION, revisions.META_CAPABILITIES, "progressToken"}
"""Keys that are read at each level: nobody may take another spelling for one of them."""


def _values(found: codec.Object) -> dict[str, Any]:
    return {key: reads(bytes(value)) for key, value in found.items()}


def message(data: bytes) -> None:
    """Check a client's message."""
    try:
        found = codec.decode_message(data)
    except Refusal as refusal:
        if len(str(refusal)) > 300 or "\n" in str(refusal):
            raise Differs("a refusal of more than a line") from refusal
        return
    try:
        theirs = reads(data)
    except RecursionError:
        return
    _check_message(found, theirs)
    if found.method is None:
        return
    written = codec.encode_request(bytes(found.id or b"1"), found.method, found.params, found.meta)
    if b"\n" in written or b"\r" in written:
        raise Differs("a request on more than one line")
    again = codec.decode_message(written)
    same(again.method, found.method, "method, written again")
    same(_values(again.params), _values(found.params), "params, written again")
    same(_values(again.meta), _values(found.meta), "_meta, written again")


def _check_message(found: codec.Message, theirs: Any) -> None:
    if not isinstance(theirs, Pairs) or theirs.keys_twice:
        raise Differs("accepted, and not an object with each key once")
    whole = theirs.last
    same(whole.get("jsonrpc"), "2.0", "jsonrpc")
    same(found.method, whole.get("method"), "method")
    same(None if found.id is None else reads(bytes(found.id)), whole.get("id"), "id")
    for ours, name in ((found.result, "result"), (found.error, "error")):
        if found.method is None:
            same(None if ours is None else reads(bytes(ours)), whole.get(name), name)
    params = whole.get("params", Pairs()) if found.method is not None else Pairs()
    if not isinstance(params, Pairs) or params.keys_twice:
        raise Differs("params accepted, and not an object with each key once")
    inner = params.last
    meta = inner.pop("_meta", Pairs())
    if not isinstance(meta, Pairs) or meta.keys_twice:
        raise Differs("_meta accepted, and not an object with each key once")
    same(_values(found.params), inner, "params")
    same(_values(found.meta), meta.last, "_meta")
    for part, known in ((whole, ENVELOPE), (inner, PARAMS), (meta.last, META)):
        for one, other in itertools.combinations(part, 2):
            if one.casefold() == other.casefold() and not known.isdisjoint((one, other)):
                raise Differs(f"{one!r} and {other!r} are the same key to a reader that folds case")


def server(data: bytes) -> None:
    """Check a server's message, and what its result becomes on the way to a client of either era."""
    found = client.decode_inbound(data)
    if found is None:
        return
    try:
        theirs = reads(data)
    except RecursionError:
        return
    if not isinstance(theirs, Pairs):
        raise Differs("taken for a message, and no object")
    whole = theirs.last
    same(found.method, whole.get("method"), "method")
    for ours, name in ((found.id, "id"), (found.params, "params")):
        same(reads(bytes(ours)) if ours else None, whole.get(name), name)
    if not client.answers(found):
        return
    if found.error:
        same(reads(bytes(found.error)), whole["error"], "error")
        client.error_code(found.error)
        return
    same(reads(bytes(found.result)), whole["result"], "result")
    _result(found.result, whole["result"])


def _result(result: Raw, theirs: Pairs) -> None:
    kind = bridge.ResultKind(result)
    if theirs.last.get("isError") is not True and kind.is_error:
        raise Differs("taken for an error of the tool")
    for modern in (True, False):
        written = codec.encode_result(b"1", bridge.result_for(result, kind, modern_client=modern))
        again = reads(written).last["result"].last
        expected = theirs.last
        if modern:
            expected.setdefault("resultType", "complete")
        else:
            expected.pop("resultType", None)
        same(again, expected, f"result for a {'modern' if modern else 'legacy'} client")


def batch(data: bytes) -> None:
    """Check a server's batch."""
    parts = client.split_batch(data)
    if parts:
        try:
            same([reads(part) for part in parts], reads(data), "batch")
        except RecursionError:
            return


def introduction(data: bytes) -> None:
    """Check the answers that settle an era, and what a client declares."""
    value = told(data)
    if value is None:
        return
    for reader in (client.read_discovery, client.read_initialize):
        for given in ((value, None), (None, value)):
            try:
                upstream = reader(*given)
            except UpstreamProtocolError:
                continue
            if upstream is not None:
                _upstream(upstream.capabilities, upstream.server_info)
    try:
        declared = codec.decode_object(value)
    except ParseFailure:
        return
    offer = capabilities.read(declared)
    same(capabilities.parse(offer.label), offer, "label of an offer")
    codec.decode_object(capabilities.for_server(declared, declared))


def _upstream(*objects: bytes) -> None:
    for each in objects:
        try:
            if b"\n" in each or not isinstance(reads(each), Pairs):
                raise Differs("kept, and not an object on one line")
        except RecursionError:
            continue


def post(data: bytes) -> None:
    """Check a POST: header lines, an empty line, a body. What is let through says the same in both."""
    head, _, body = data.partition(b"\n\n")
    headers = dict(_header(line) for line in head.split(b"\n"))
    try:
        read = inbound.read(headers, codec.decode_message(body))
    except Refusal:
        return
    if not read.modern:
        same(revisions.META_VERSION in read.message.meta, False, "a modern message taken for a legacy one")
        return
    same(read.revision, headers[b"mcp-protocol-version"].decode("latin-1"), "revision")
    if not read.message.is_request:
        return
    try:
        whole = reads(body).last
    except RecursionError:
        return
    params = whole["params"].last
    same(params["_meta"].last[revisions.META_VERSION], read.revision, "revision in _meta")
    same(headers[b"mcp-method"].decode("latin-1"), whole["method"], "Mcp-Method")
    if whole["method"] in ("tools/call", "prompts/get", "resources/read"):
        name = params["uri" if whole["method"] == "resources/read" else "name"]
        same(inbound.decode_header(headers[b"mcp-name"]), name, "Mcp-Name")


def _header(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name.strip().lower(), value.strip()


def header(data: bytes) -> None:
    """Check one header's value, both ways."""
    read = inbound.decode_header(data)
    if read is not None:
        same(inbound.decode_header(client.header_value(read)), read, "value of a header, written again")
    text = data.decode("utf-8", "replace")
    line = client.header_line("X", client.header_value(text))
    same(line.count(b"\n") + line.count(b"\r"), 2, "line ends in a header line")
    same(inbound.decode_header(client.header_value(text)), text, "text in a header")


def schema(data: bytes) -> None:
    """Check what a tool's schema wants in headers, and what a call gives: schema, zero, arguments."""
    asked, given = (told(part) for part in data.partition(b"\0")[::2])
    if asked is None or given is None:
        return
    try:
        found = mirrors.read(asked)
    except ValueError as error:
        if len(str(error)) > 400:
            raise Differs("more words than a line for a tool that is not used") from error
        return
    if len({each.header.lower() for each in found}) != len(found):
        raise Differs("two headers of one name")
    for each in found:
        client.header_line(each.header, b"")
    try:
        headers = mirrors.values(found, given)
    except ParseFailure:
        return
    for name, text in headers.items():
        try:
            written = client.header_value(text)
        except UnicodeError as error:
            raise Differs(f"an argument that no header can carry: {text!r}") from error
        client.header_line(name, written)
        same(inbound.decode_header(written), text, name)


def stream(data: bytes) -> None:
    """Check an event stream, whole and cut to pieces, and what was read when it is written again."""
    whole = EventParser(LIMIT)
    found = whole.feed(data)
    for size in (1, 3):
        cut = EventParser(LIMIT)
        same([each for piece in pieces(data, size) for each in cut.feed(piece)], found, f"cut at {size}")
        same((cut.last_id, cut.retry), (whole.last_id, whole.retry), "what lasts")
    ours = [(each.data.decode("utf-8", "replace"), each.event, each.id or "") for each in found]
    theirs = second.events(data)
    if b"\xef\xbb\xbf" not in data[3:] and b"\0" not in data:
        same(
            [each for each in ours if each[0]], [(e.data, e.event, e.id) for e in theirs if e.data], "events"
        )
    for each in found:
        _event(each)


def _event(each: Event) -> None:
    if any(bad in f"{each.event}{each.id or ''}" for bad in "\r\n\0"):
        return
    named = None if each.event == "message" else each.event
    same(
        EventParser(LIMIT).feed(encode_event(each.data, event=named, id=each.id)),
        [each],
        "event, written again",
    )


def lines(data: bytes) -> None:
    """Check lines, whole and cut to pieces, under several bounds."""
    for limit in (1, 7, LIMIT):
        whole = Lines(limit)
        found = whole.feed(data)
        cut = Lines(limit)
        same([each for piece in pieces(data, 2) for each in cut.feed(piece)], found, f"lines up to {limit}")
        same(cut.overflowed, whole.overflowed, "overflow")
        if limit == LIMIT:
            same(found, data.split(b"\n")[:-1], "lines")
        log, crumbs = CutLines(limit), CutLines(limit)
        kept = [*log.feed(data), log.rest()]
        same(
            [*(e for piece in pieces(data, 2) for e in crumbs.feed(piece)), crumbs.rest()], kept, "log lines"
        )
        if any(len(each) > limit for each in kept):
            raise Differs("a log line over its bound")


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """Cut bytes into pieces of one size."""
    return (data[at : at + size] for at in range(0, len(data), size))


READERS: dict[str, Check] = {
    "message": message,
    "server": server,
    "batch": batch,
    "introduction": introduction,
    "post": post,
    "header": header,
    "schema": schema,
    "stream": stream,
    "lines": lines,
    "result": passed.result,
    "params": passed.params,
    "text": passed.text,
}
