"""Words of the Cedar vocabulary: how principals, targets and actions are called in policies. Nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from tidegate.domain.principal import Principal
from tidegate.domain.target import Kind, Target

USER, ROLE, GROUP, SERVER, ACTION = "User", "Role", "Group", "Server", "Action"
TYPES: Mapping[Kind, str] = {
    Kind.TOOL: "Tool",
    Kind.PROMPT: "Prompt",
    Kind.RESOURCE: "Resource",
    Kind.TEMPLATE: "Template",
    Kind.EXTENSION: "Method",
}
"""Kind of a target to the type of its entity."""
ACTIONS: Mapping[Kind, str] = {
    Kind.TOOL: "call",
    Kind.PROMPT: "get",
    Kind.RESOURCE: "read",
    Kind.TEMPLATE: "read",
    Kind.EXTENSION: "use",
}
"""Kind of a target to what is done with it. The call of a tool is an action of its own, within `call`."""
CALL = ACTIONS[Kind.TOOL]
ANY_CALL = "*"
"""The call of a tool that nobody's policy names."""
VOUCHED = ("tenant", "issuer", "subject", "client")
"""Attributes that every user has, beside those of the settings."""
CLAIMED = ("readOnly", "destructive", "idempotent", "openWorld")
"""What a server says of its tools."""

Reference = tuple[str, str]
"""Type and identifier of an entity."""


def user_id(principal: Principal) -> str:
    """Give the identifier of a user: `tenant|issuer|subject`, so that no two who ask have the same."""
    return f"{_escaped(principal.tenant)}|{_escaped(principal.issuer)}|{principal.subject}"


def target_id(target: Target) -> str:
    """Give the identifier of a target, and of the call of a tool: `server__name`, as endpoints show it.

    It is not ambiguous: no server's name has an underscore.
    """
    return f"{target.server}__{target.name}"


def quoted(reference: Reference) -> str:
    """Write an entity as policies do."""
    kind, name = reference
    text = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'{kind}::"{text}"'


def _escaped(part: str) -> str:
    return part.replace("%", "%25").replace("|", "%7C")
