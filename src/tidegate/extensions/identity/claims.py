"""Claims: what an issuer says of somebody, put into our own words as the settings say.

Whatever is too much or of a kind that cannot be taken refuses the token, rather than being left out: a role or
group that is missing might be the one that a rule denies by.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias, cast

from tidegate.domain.errors import Unauthenticated
from tidegate.domain.principal import Attribute, Principal
from tidegate.domain.tenant import HOME

Claims: TypeAlias = "Mapping[str, object]"
ClaimPath: TypeAlias = "tuple[str, ...]"

MOST_WORDS = 1024
"""Roles or groups of one principal. Entra ID puts at most 200 groups into a token."""
LONGEST_WORD = 512
MOST_ATTRIBUTES = 32
LONGEST_ATTRIBUTE = 2048
"""Characters of an attribute, all of a list together."""
_STEP = re.compile(r"((?:[^.\\]|\\.)+)(?:\.|$)")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_DEEPEST = 8
_CLIENTS = ("client_id", "azp", "cid", "appid")
"""RFC 9068, OpenID Connect, Okta, Entra ID."""
_OWN = frozenset({"admin", "user"})
"""Roles that mean something here by themselves: never taken from a name that only happens to be the same."""


def claim_path(text: str) -> ClaimPath:
    r"""Read `a.b` as the claim `b` in the claim `a`; `\.` is a dot in a name.

    Raises:
        ValueError: it is none.
    """
    steps: list[str] = []
    at = 0
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None:
            raise ValueError("should be the name of a claim, or names with dots between them")
        steps.append(re.sub(r"\\(.)", r"\1", match[1]))
        at = match.end()
    if not steps or len(steps) > _DEEPEST or (text.endswith(".") and not text.endswith("\\.")):
        raise ValueError("should be the name of a claim, or names with dots between them")
    return tuple(steps)


def look(claims: object, path: Sequence[str]) -> object:
    """Give the value at a path, None where there is none. In a list, that of each of its items that has one."""
    for number, step in enumerate(path):
        if isinstance(claims, list):
            rest = path[number:]
            found = (look(each, rest) for each in cast("list[object]", claims))
            return [each for each in found if each is not None]
        if not isinstance(claims, dict):
            return None
        claims = cast("dict[str, object]", claims).get(step)
    return claims


def words(value: object) -> Iterator[str]:
    """Give the words of a value: a text is one, a list has its items, a mapping its keys.

    Raises:
        Unauthenticated: it has something else.
    """
    if value is None:
        return
    items = cast("Iterable[object]", value) if isinstance(value, list | dict) else (value,)
    for item in items:
        if not isinstance(item, str) or not item or len(item) > LONGEST_WORD or _CONTROL.search(item):
            raise Unauthenticated("the token holds a role or group that is no name")
        yield item


@dataclass(frozen=True, slots=True)
class RoleMapping:
    """From words of an issuer to roles of ours."""

    claims: tuple[ClaimPath, ...] = ()
    map: Mapping[str, tuple[str, ...]] | None = None
    """By word, or a pattern of one (`*` stands for anything but a slash). None: the words are the roles."""
    default: frozenset[str] = frozenset()
    """Of everybody."""

    def roles(self, found: Iterable[str]) -> frozenset[str]:
        """Give the roles that words stand for."""
        given = set(self.default)
        if self.map is None:
            given.update(word for word in found if word not in _OWN and _WORD.fullmatch(word))
            return frozenset(given)
        patterns = [(_pattern(name), roles) for name, roles in self.map.items() if "*" in name]
        for word in found:
            given.update(self.map.get(word, ()))
            for pattern, roles in patterns:
                if pattern.fullmatch(word):
                    given.update(roles)
        return frozenset(given)


@lru_cache(maxsize=4096)
def _pattern(text: str) -> re.Pattern[str]:
    """Give what matches a pattern, in time that is linear in a word: no star takes back what it took. None has to, as
    what stands between two of them is found in its first place."""
    first, *parts = map(re.escape, text.split("*"))
    inner = "".join(f"(?>[^/]*?{part})" for part in parts[:-1])
    return re.compile(f"{first}{inner}[^/]*{parts[-1]}")


@dataclass(frozen=True, slots=True)
class TenantMapping:
    """Whose tenant a principal is."""

    name: str = HOME
    """Everybody's, where no claim says it."""
    claim: ClaimPath | None = None
    map: Mapping[str, str] | None = None
    """From values of the claim to tenants; None: they are the tenants, but for the home tenant, whose administrators are
    the operator's: whoever may name an organisation (or a namespace) so must not be that. A value that is not in it is
    refused."""

    def tenant(self, claims: Claims) -> str:
        """Give the tenant.

        Raises:
            Unauthenticated: the token names none, or one that is not known.
        """
        if self.claim is None:
            return self.name
        value = look(claims, self.claim)
        if not isinstance(value, str):
            raise Unauthenticated("the token does not say of which tenant it is")
        name = value if self.map is None else self.map.get(value)
        if name is None or not _WORD.fullmatch(name) or (self.map is None and name == HOME):
            raise Unauthenticated("the token is of a tenant that is not known here")
        return name


@dataclass(frozen=True, slots=True)
class ClaimMapping:
    """From claims to a principal."""

    subject: tuple[ClaimPath, ...] = (("sub",),)
    """The first that is there."""
    tenant: TenantMapping = TenantMapping()
    roles: RoleMapping = RoleMapping()
    groups: tuple[ClaimPath, ...] = ()
    attributes: Mapping[str, ClaimPath] = field(default_factory=dict[str, ClaimPath])
    scopes: tuple[ClaimPath, ...] = (("scope",), ("scp",))
    """None of them: credentials of this kind have no scopes."""

    def principal(self, issuer: str, claims: Claims) -> Principal:
        """Say whom claims are about.

        Raises:
            Unauthenticated: they do not say it, or hold what cannot be taken.
        """
        self._all_there(claims)
        roles = _bounded(word for path in self.roles.claims for word in words(look(claims, path)))
        groups = _bounded(word for path in self.groups for word in words(look(claims, path)))
        return Principal(
            tenant=self.tenant.tenant(claims),
            issuer=issuer,
            subject=self._subject(claims),
            roles=self.roles.roles(roles),
            groups=frozenset(groups),
            client=_client(claims),
            attributes=self._attributes(claims),
        )

    def granted(self, claims: Claims) -> frozenset[str] | None:
        """Give the scopes of a token; None where its kind has none.

        Raises:
            Unauthenticated: they cannot be read.
        """
        if not self.scopes:
            return None
        granted: set[str] = set()
        for path in self.scopes:
            value = look(claims, path)
            granted.update(value.split() if isinstance(value, str) else words(value))
        return frozenset(_bounded(granted))

    def _subject(self, claims: Claims) -> str:
        found = (look(claims, path) for path in self.subject)
        subject = next((each for each in found if each is not None), None)
        if not isinstance(subject, str) or not 0 < len(subject) <= LONGEST_WORD or _CONTROL.search(subject):
            raise Unauthenticated(
                "the token does not say whom it is about, or not with a name that can be taken"
            )
        return subject

    def _all_there(self, claims: Claims) -> None:
        """See that no claim that is read was left out for its size (OpenID Connect 5.6.2; Entra ID, groups overage)."""
        elsewhere = claims.get("_claim_names")
        named = set(cast("dict[str, object]", elsewhere)) if isinstance(elsewhere, dict) else set[str]()
        if claims.get("hasgroups") in (True, "true"):
            named.add("groups")
        needed = {path[0] for path in (*self.roles.claims, *self.groups, *self.attributes.values())}
        missing = sorted(named & needed)
        if missing:
            raise Unauthenticated(
                f"the token leaves out {', '.join(missing)}, since there are too many for it: have the issuer send "
                "those groups only that are assigned to this application, or send roles in place of groups"
            )

    def _attributes(self, claims: Claims) -> dict[str, Attribute]:
        found: dict[str, Attribute] = {}
        for name, path in self.attributes.items():
            value = look(claims, path)
            if value is not None:
                found[name] = _attribute(name, value)
        return found


def _client(claims: Claims) -> str:
    """Give the client that claims name; empty where they name none. It may be what is stopped, or counted by."""
    found = (look(claims, (name,)) for name in _CLIENTS)
    client = next((each for each in found if isinstance(each, str)), "")
    if len(client) > LONGEST_WORD or _CONTROL.search(client):
        raise Unauthenticated("the token names its client in a way that cannot be taken")
    return client


def _bounded(found: Iterable[str]) -> list[str]:
    taken: list[str] = []
    for word in found:
        taken.append(word)
        if len(taken) > MOST_WORDS:
            raise Unauthenticated(f"the token holds more than {MOST_WORDS} roles, groups or scopes")
    return taken


def _attribute(name: str, value: object) -> Attribute:
    if isinstance(value, bool) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    items = cast("list[object]", value) if isinstance(value, list) else [value]
    texts = [each for each in items if isinstance(each, str)]
    if len(texts) != len(items) or len(texts) > MOST_WORDS or sum(map(len, texts)) > LONGEST_ATTRIBUTE:
        raise Unauthenticated(
            f"the token's claim for the attribute {name} is of a kind or size that cannot be taken"
        )
    if any(_CONTROL.search(each) for each in texts if not isinstance(value, list)):
        raise Unauthenticated(f"the token's claim for the attribute {name} holds control characters")
    return tuple(texts) if isinstance(value, list) else texts[0]
