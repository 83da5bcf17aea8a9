"""Schema: the Cedar schema of what tidegate asks about, made from settings and from what servers list.

In Cedar the type of a context belongs to an action, so that the call of each tool is an action of its own, within
`Action::"call"`, with the types of its arguments.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from tidegate.extensions.policies.cedar.engine import Tree
from tidegate.extensions.policies.cedar.types import NOTHING, Member, Type
from tidegate.extensions.policies.cedar.words import (
    ACTION,
    ACTIONS,
    CALL,
    CLAIMED,
    GROUP,
    ROLE,
    SERVER,
    TYPES,
    USER,
    VOUCHED,
)

AttributeType = Literal["text", "number", "bool", "list"]
_ATTRIBUTES: Mapping[str, Tree] = {
    "text": {"type": "String"},
    "number": {"type": "Long"},
    "bool": {"type": "Boolean"},
    "list": {"type": "Set", "element": {"type": "String"}},
}


def schema(
    attributes: Mapping[str, AttributeType], calls: Mapping[str, Type], prompt_arguments: Iterable[str] = ()
) -> Tree:
    """Give the schema in JSON form.

    `attributes` are those of users by the settings, `calls` the arguments of tools by the names of their actions.
    """
    prompts = {name: Member(Type("String"), False) for name in prompt_arguments}
    contexts = {"get": Type("Record", members=prompts)}
    actions: dict[str, Tree] = {CALL: {}}
    for action in sorted(set(ACTIONS.values()) - {CALL}):
        kinds = sorted(TYPES[kind] for kind, name in ACTIONS.items() if name == action)
        actions[action] = {"appliesTo": _applies(kinds, contexts.get(action, NOTHING))}
    for name, arguments in calls.items():
        actions[name] = {
            "memberOf": [{"type": ACTION, "id": CALL}],
            "appliesTo": _applies(
                [TYPES[kind] for kind, action in ACTIONS.items() if action == CALL], arguments
            ),
        }
    return {"": {"entityTypes": _entities(attributes), "actions": actions}}


def _applies(kinds: list[str], arguments: Type) -> Tree:
    context = {
        "type": "Record",
        "attributes": {
            "endpoint": {"type": "String", "required": True},
            "arguments": {**arguments.tree(), "required": True},
        },
    }
    return {"principalTypes": [USER], "resourceTypes": kinds, "context": context}


def _entities(attributes: Mapping[str, AttributeType]) -> Tree:
    vouched: dict[str, Tree] = {
        name: {**_ATTRIBUTES[kind], "required": False} for name, kind in attributes.items()
    }
    vouched.update({name: {"type": "String", "required": True} for name in VOUCHED})
    found: dict[str, Tree] = {
        USER: {"memberOfTypes": [ROLE, GROUP], "shape": {"type": "Record", "attributes": vouched}},
        ROLE: {},
        GROUP: {},
        SERVER: {},
    }
    named = {name: {"type": "String", "required": True} for name in ("name", "server")}
    claimed = {name: {"type": "Boolean", "required": True} for name in CLAIMED}
    for kind in TYPES.values():
        shape = {"type": "Record", "attributes": {**named, **(claimed if kind == "Tool" else {})}}
        found[kind] = {"memberOfTypes": [SERVER], "shape": shape}
    return found
