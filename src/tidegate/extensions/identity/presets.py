"""Presets: how well-known issuers write their tokens, as far as it is not what the standards say.

A preset only sets what the settings do not say. It never makes a check weaker than the settings do by default,
save where tokens of an issuer have no audience of a resource; then the client takes its place, and has to be named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tidegate.extensions.identity.claims import ClaimPath
from tidegate.extensions.identity.jwks import for_signatures
from tidegate.extensions.identity.jwt import Allowed


@dataclass(frozen=True, slots=True)
class Preset:
    """What is true of the tokens of one kind of issuer."""

    aliases: frozenset[str] = frozenset()
    """Other values that `iss` has."""
    audience: tuple[ClaimPath, ...] = (("aud",),)
    subject: tuple[ClaimPath, ...] = (("sub",),)
    roles: tuple[ClaimPath, ...] = ()
    client_roles: ClaimPath = ()
    """What stands before and behind the name of a client in the claim that holds its roles."""
    groups: tuple[ClaimPath, ...] = ()
    scopes: tuple[ClaimPath, ...] = (("scope",), ("scp",))
    attributes: Mapping[str, ClaimPath] = field(default_factory=dict[str, ClaimPath])
    required: Mapping[ClaimPath, Allowed] = field(default_factory=dict[ClaimPath, Allowed])
    present: tuple[ClaimPath, ...] = ()
    """Claims of which one is in every access token, and in no ID token."""

    keys_say_issuer: bool = False
    """Whether a key set holds keys of other issuers beside, and says by `issuer` whose each is."""

    def usable(self, issuers: Sequence[str]) -> Callable[[Mapping[str, object]], bool]:
        """Give what tells the keys that may sign for these issuers."""
        if not self.keys_say_issuer:
            return for_signatures

        def usable(jwk: Mapping[str, object]) -> bool:
            said = jwk.get("issuer")
            # A template stands for every directory; a name for one alone, and a key for consumers is none for companies.
            fits = said is None or (isinstance(said, str) and ("{tenantid}" in said or said in issuers))
            return fits and for_signatures(jwk)

        return usable

    def role_claims(self, audiences: Sequence[str]) -> tuple[ClaimPath, ...]:
        """Give the claims that hold roles."""
        if not self.client_roles:
            return self.roles
        before, behind = self.client_roles
        return (*self.roles, *((before, audience, behind) for audience in audiences))


_AWS = "https://sts.amazonaws.com/"

PRESETS: Mapping[str, Preset] = {
    # Microsoft Entra ID, tokens of version 1.0 and 2.0. `sub` differs for each application, `oid` does not.
    "entra": Preset(
        subject=(("oid",), ("sub",)),
        roles=(("roles",),),
        groups=(("groups",),),
        scopes=(("scp",),),
        present=(("azp",), ("appid",)),
        keys_say_issuer=True,
    ),
    # Google signs ID tokens only; its access tokens are opaque and for its own APIs.
    "google": Preset(
        aliases=frozenset({"accounts.google.com"}),
        scopes=(),
        attributes={"domain": ("hd",), "email": ("email",)},
    ),
    # Amazon Cognito: `aud` is there only where the client asked for a resource; else the client is named.
    "cognito": Preset(
        audience=(("aud",), ("client_id",)),
        roles=(("cognito:groups",),),
        groups=(("cognito:groups",),),
        scopes=(("scope",),),
        required={("token_use",): frozenset({"access"})},
    ),
    # AWS IAM outbound identity federation (sts:GetWebIdentityToken): roles are mapped by the ARN in `sub`.
    "aws": Preset(
        roles=(("sub",),),
        scopes=(),
        attributes={"account": (_AWS, "aws_account"), "organization": (_AWS, "org_id")},
    ),
    # Okta, its authorization servers: `sub` is the login, which may change hands; `uid` is the user.
    "okta": Preset(
        subject=(("uid",), ("sub",)),
        roles=(("groups",),),
        groups=(("groups",),),
        scopes=(("scp",),),
        present=(("cid",),),
    ),
    # Keycloak: every token is signed alike, so its own `typ` among the claims tells the kinds apart.
    "keycloak": Preset(
        roles=(("realm_access", "roles"),),
        client_roles=("resource_access", "roles"),
        groups=(("groups",),),
        scopes=(("scope",),),
        required={("typ",): frozenset({"Bearer"})},
    ),
}

PLAIN = Preset()
"""Any other issuer."""
