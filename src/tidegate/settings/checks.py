"""Mistakes that concern more than one place in the file.

They look at the plain data, tolerantly, so that they are found beside the mistakes in single values:
whatever has the wrong type is passed over here and reported by the models.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import cast

from tidegate.settings.bindings import mistakes as binding_mistakes
from tidegate.settings.data import mistakes as data_mistakes
from tidegate.settings.fleet import mistakes as fleet_mistakes
from tidegate.settings.identity_mistakes import is_local
from tidegate.settings.identity_mistakes import mistakes as identity_mistakes
from tidegate.settings.network import mistakes as network_mistakes
from tidegate.settings.problems import Path, Problem, choose
from tidegate.settings.quotas import mistakes as quota_mistakes
from tidegate.settings.roles import mistakes as role_mistakes
from tidegate.settings.servers import LAUNCH_KEYS, SERVER_NAME
from tidegate.settings.tenants import mistakes as tenant_mistakes
from tidegate.settings.values import is_loopback, listen_at, split_url

RESERVED = ("healthz", "readyz", "metrics", "v1", ".well-known", "api", "oauth", "console")
"""First segments of paths that are the gateway's own."""

_SEGMENT = re.compile(r"[A-Za-z0-9._~-]+")
_Data = dict[str, object]


def endpoint_path(text: str) -> str:
    """Normalise the path of an endpoint.

    Raises:
        ValueError: it is none, or reserved.
    """
    segments = text.rstrip("/").split("/")
    parts = segments[1:]
    good = (
        segments[0] == ""
        and parts
        and all(_SEGMENT.fullmatch(part) and part not in (".", "..") for part in parts)
    )
    if not good or len(text) > 200:
        raise ValueError("should be a path such as /mcp, of letters, digits and . _ ~ - between slashes")
    if parts[0] in RESERVED:
        raise ValueError(
            f"is a path of the gateway's own (reserved: {', '.join('/' + each for each in RESERVED)})"
        )
    return "/" + "/".join(parts)


def check(data: _Data, names: Callable[[str], Sequence[str]]) -> Iterator[Problem]:
    """Find the mistakes. `names` gives the names of the extensions of a kind."""
    servers = _mapping(data.get("servers"))
    runtimes = names("runtimes")
    yield from _check_listener(data)
    found = (*network_mistakes(servers), *identity_mistakes(data.get("auth")), *binding_mistakes(data))
    for place, message in found:
        yield Problem(place, message)
    for name, server in servers.items():
        yield from _check_server(name, _mapping(server), runtimes)
    yield from _check_endpoints(_mapping(data.get("endpoints")), servers)
    yield from role_mistakes(data)
    yield from quota_mistakes(data)
    yield from tenant_mistakes(data)
    general = data.get("runtime")
    if isinstance(general, str) and general not in ("auto", *runtimes):
        yield Problem(
            ("runtime",), f"there is no runtime {general[:64]}" + choose(general, ("auto", *runtimes))
        )
    kinds = names("secrets")
    for name in _mapping(data.get("secrets")):
        if name != "refresh" and name not in kinds:
            yield Problem(
                ("secrets", name),
                f"there is no kind of secrets {name[:64]}" + choose(name, ("refresh", *kinds)),
            )
    for name in _mapping(data.get("runtimes")):
        if name not in runtimes:
            yield Problem(("runtimes", name), f"there is no runtime {name[:64]}" + choose(name, runtimes))


def _check_listener(data: _Data) -> Iterator[Problem]:
    if not is_local(data.get("auth")):
        return
    how = "needs auth other than local: everybody who reaches it would be the local user (auth: {type: keys})"
    try:
        listen = listen_at(data.get("listen"))
        if not listen.loopback:
            yield Problem(("listen",), f"is beyond loopback and {how}")
    except ValueError:
        pass
    if data.get("trusted_proxies"):
        # One that says nothing of whom it speaks for, or passes on what they say of themselves, is loopback.
        yield Problem(("trusted_proxies",), f"has others reach this gateway and {how}")
    public = data.get("public_url")
    if isinstance(public, str):
        try:
            host = split_url(public, ("http", "https")).hostname or ""
        except ValueError:
            return
        if not is_loopback(host):
            yield Problem(("public_url",), f"is beyond loopback and {how}")


def _check_server(name: str, server: _Data, runtimes: Sequence[str]) -> Iterator[Problem]:
    at: Path = ("servers", name)
    if not SERVER_NAME.fullmatch(name):
        yield Problem(at, "is no name for a server: at most 32 of a-z, 0-9 and single -, no - at an end")
    launch = next((key for key in LAUNCH_KEYS if key in server), None)
    if launch == "image" and server.get("transport", "stdio") == "stdio":
        for key in ("port", "path"):
            if key in server:
                yield Problem((*at, key), "goes with transport: http only")
    package = server.get("package")
    if launch == "package" and isinstance(package, str) and package.startswith("npm:") and server.get("with"):
        yield Problem((*at, "with"), "goes with packages of pypi only")
    runtime = server.get("runtime")
    if launch == "package" and isinstance(runtime, str) and runtime not in ("auto", *runtimes):
        yield Problem(
            (*at, "runtime"), f"there is no runtime {runtime[:64]}" + choose(runtime, ("auto", *runtimes))
        )
    targets = [_mapping(mount).get("target") for mount in _list(server.get("mounts"))]
    for index, target in enumerate(targets):
        if server.get("secrets") and isinstance(target, str) and f"{target}/".startswith("/run/secrets/"):
            yield Problem((*at, "mounts", index, "target"), "is where the server's secrets are")
        if isinstance(target, str) and target in targets[:index]:
            yield Problem((*at, "mounts", index, "target"), "is the target of another mount already")
    for place, message in (*data_mistakes(server), *fleet_mistakes(server)):
        yield Problem((*at, *place), message)


def _check_endpoints(endpoints: _Data, servers: _Data) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for text, value in endpoints.items():
        at: Path = ("endpoints", text)
        try:
            path = endpoint_path(text)
            if path in seen:
                yield Problem(at, f"is the same path as {seen[path]}")
            seen.setdefault(path, text)
        except ValueError as error:
            yield Problem(at, str(error))
        endpoint = _mapping(value)
        yield from _check_names((*at, "servers"), _list(endpoint.get("servers")), servers)


def _check_names(at: Path, names: list[object], servers: _Data) -> Iterator[Problem]:
    times = Counter(name for name in names if isinstance(name, str))
    for index, name in enumerate(names):
        if not isinstance(name, str):
            continue
        if name not in servers:
            yield Problem((*at, index), f"there is no server {name[:64]}" + choose(name, servers))
        elif times[name] > 1 and name in names[:index]:
            yield Problem((*at, index), f"names {name} a second time")


def _mapping(value: object) -> _Data:
    return cast("_Data", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []
