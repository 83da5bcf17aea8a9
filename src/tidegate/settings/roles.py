"""`roles:` in the settings file, and the selections that rules, grants and scopes have in common."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, cast

from pydantic import AfterValidator, Field

from tidegate.domain.endpoint import Effect, Rule, Scope, Selection
from tidegate.domain.role import BUILT_IN, Grant, Role
from tidegate.settings.base import Model
from tidegate.settings.problems import Path, Problem, choose
from tidegate.settings.values import Text

_PATTERN = re.compile(r"[A-Za-z0-9_.*?\[\]!/-]{1,200}")
_URI_PATTERN = re.compile(r"[\x21-\x7e]{1,500}")
_PATH_PATTERN = re.compile(r"/[A-Za-z0-9._~*?\[\]!/-]{0,199}")
_ROLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,200}")
"""A scope of OAuth (RFC 6749, 3.3)."""
_WILD = frozenset("*?[")
_Data = Mapping[str, object]


def _pattern(value: str) -> str:
    if not _PATTERN.fullmatch(value):
        raise ValueError("should be a name or a pattern of letters, digits, . _ - / with * and ?")
    return value


def _uri_pattern(value: str) -> str:
    if not _URI_PATTERN.fullmatch(value):
        raise ValueError(
            "should be a URI or a pattern of one, of printable ASCII without blanks, with * and ?"
        )
    return value


def _path_pattern(value: str) -> str:
    if not _PATH_PATTERN.fullmatch(value):
        raise ValueError(
            "should be the path of an endpoint or a pattern of one, such as /claims or /claims/*"
        )
    return value


Pattern = Annotated[Text, AfterValidator(_pattern)]
UriPattern = Annotated[Text, AfterValidator(_uri_pattern)]
PathPattern = Annotated[Text, AfterValidator(_path_pattern)]


class _Selected(Model):
    servers: tuple[Pattern, ...] = ()
    """On these servers; patterns."""
    tools: tuple[Pattern, ...] = ()
    """These tools, by the server's own names; patterns."""
    prompts: tuple[Pattern, ...] = ()
    """These prompts, by the server's own names; patterns."""
    resources: tuple[UriPattern, ...] = ()
    """These resources and resource templates, by the server's own URIs; patterns."""

    def noun(self) -> Selection:
        """Give what it means."""
        return Selection(self.servers, self.tools, self.prompts, self.resources)


class SelectionModel(_Selected):
    """What a rule is about. `roles` or `servers` that are absent stand for all. Without `tools`, `prompts` and
    `resources` it is about everything; with any of them only about what they name.
    """

    roles: tuple[Text, ...] = ()
    """Of these roles: `user`, `admin`, or one that `roles` declares."""


class RuleModel(Model):
    """Allows or denies. A denial overrides; what no rule allows is denied."""

    allow: SelectionModel | None = None
    """What is allowed."""
    deny: SelectionModel | None = None
    """What is denied."""


class GrantModel(_Selected):
    """What a role is granted, or denied. Without `tools`, `prompts` and `resources` it is everything of `servers`; with
    any of them only what they name.
    """

    endpoints: tuple[PathPattern, ...] = ()
    """At these endpoints; patterns on paths. All where absent."""


class ScopeModel(_Selected):
    """What a token with scopes needs this one for. Without `tools`, `prompts` and `resources` it is everything of
    `servers`; with any of them only what they name.
    """


class RoleModel(Model):
    """A role, and what whoever has it may do. A denial overrides whatever else allows."""

    includes: tuple[Text, ...] = ()
    """Roles that whoever has this one has, too."""
    allow: tuple[GrantModel, ...] = ()
    """What it is granted."""
    deny: tuple[GrantModel, ...] = ()
    """What it is denied."""


Roles = dict[str, RoleModel]
Scopes = Annotated[dict[str, ScopeModel], Field(max_length=64)]


def roles(models: Mapping[str, RoleModel]) -> tuple[Role, ...]:
    """Give the declared roles."""
    return tuple(
        Role(
            name,
            model.includes,
            (*_grants(Effect.ALLOW, model.allow), *_grants(Effect.DENY, model.deny)),
        )
        for name, model in models.items()
    )


def rules(models: Iterable[RuleModel]) -> tuple[Rule, ...]:
    """Give the rules of an endpoint."""
    return tuple(
        Rule(effect, frozenset(each.roles), each.servers, each.tools, each.prompts, each.resources)
        for model in models
        for effect, each in ((Effect.ALLOW, model.allow), (Effect.DENY, model.deny))
        if each is not None
    )


def scopes(models: Mapping[str, ScopeModel]) -> tuple[Scope, ...]:
    """Give the scopes of an endpoint."""
    return tuple(Scope(name, model.noun()) for name, model in models.items())


def _grants(effect: Effect, models: Iterable[GrantModel]) -> Iterator[Grant]:
    for number, model in enumerate(models):
        yield Grant(effect, number, model.endpoints, model.noun())


# -- mistakes ---------------------------------------------------------------------------------


def mistakes(data: _Data) -> Iterator[Problem]:
    """Find what does not go together in `roles` and in the endpoints' `rules` and `scopes`."""
    declared, endpoints, servers = (_mapping(data.get(key)) for key in ("roles", "endpoints", "servers"))
    known = tuple(dict.fromkeys((*BUILT_IN, *declared)))
    for name, value in declared.items():
        yield from _check_role(name, _mapping(value), known, declared)
        for effect in ("allow", "deny"):
            for index, grant in enumerate(_list(_mapping(value).get(effect))):
                at: Path = ("roles", name, effect, index)
                yield from _check_paths((*at, "endpoints"), _mapping(grant), tuple(endpoints or ("/mcp",)))
                yield from _check_servers((*at, "servers"), _mapping(grant), servers)
    for path, value in endpoints.items():
        endpoint = _mapping(value)
        for index, rule in enumerate(_list(endpoint.get("rules"))):
            yield from _check_rule(("endpoints", path, "rules", index), rule, known, servers)
        for name, scope in _mapping(endpoint.get("scopes")).items():
            at = ("endpoints", path, "scopes", name)
            if not _SCOPE.fullmatch(name):
                yield Problem(
                    at, 'is no scope: at most 200 printable ASCII characters without blanks, " and \\'
                )
            yield from _check_servers((*at, "servers"), _mapping(scope), servers)


def _check_role(name: str, role: _Data, known: Collection[str], declared: _Data) -> Iterator[Problem]:
    at: Path = ("roles", name)
    if not _ROLE.fullmatch(name):
        yield Problem(at, "is no name for a role: at most 64 of letters, digits and . _ @ + -")
    for index, other in enumerate(_list(role.get("includes"))):
        here: Path = (*at, "includes", index)
        if not isinstance(other, str):
            continue
        if other == "admin":
            yield Problem(
                here, "admin administers the gateway: whoever is to have it has to be given it itself"
            )
        elif other not in known:
            yield Problem(here, f"there is no role {other[:64]}" + choose(other, known))
        elif circle := _circle(name, other, declared):
            yield Problem(here, f"goes in a circle: {' includes '.join(circle)}")


def _circle(name: str, other: str, declared: _Data) -> tuple[str, ...]:
    """Give the way from a role by another one back to itself, if there is one."""
    ways, seen = [(name, other)], set[str]()
    while ways:
        way = ways.pop()
        if way[-1] == name:
            return way
        if way[-1] not in seen:
            seen.add(way[-1])
            further = _list(_mapping(declared.get(way[-1])).get("includes"))
            ways += [(*way, each) for each in further if isinstance(each, str)]
    return ()


def _check_rule(at: Path, rule: object, known: Collection[str], servers: _Data) -> Iterator[Problem]:
    if not isinstance(rule, dict):
        return
    given = _mapping(cast("object", rule))
    effects = [effect for effect in ("allow", "deny") if given.get(effect) is not None]
    if len(effects) != 1:
        yield Problem(at, "a rule has exactly one of allow and deny ({} stands for all)")
    for effect in effects:
        selection = _mapping(given[effect])
        yield from _check_servers((*at, effect, "servers"), selection, servers)
        for index, role in enumerate(_list(selection.get("roles"))):
            if isinstance(role, str) and role not in known:
                yield Problem(
                    (*at, effect, "roles", index), f"there is no role {role[:64]}" + choose(role, known)
                )


def _check_servers(at: Path, selection: _Data, servers: _Data) -> Iterator[Problem]:
    for index, name in enumerate(_list(selection.get("servers"))):
        if isinstance(name, str) and not set(name) & _WILD and name not in servers:
            yield Problem((*at, index), f"there is no server {name[:64]}" + choose(name, servers))


def _check_paths(at: Path, grant: _Data, paths: Collection[str]) -> Iterator[Problem]:
    normal = [path.rstrip("/") for path in paths]
    for index, pattern in enumerate(_list(grant.get("endpoints"))):
        if not isinstance(pattern, str) or not _PATH_PATTERN.fullmatch(pattern):
            continue  # found by the model
        if not any(fnmatchcase(path, pattern) for path in normal):
            yield Problem((*at, index), f"no endpoint is {pattern[:64]}" + choose(pattern, normal))


def _mapping(value: object) -> _Data:
    return cast("_Data", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []
