"""The table of features: for each what a client does (an act), and where the specification refuses instead.

A direction is two letters, client then server: `m` speaks 2026-07-28, `l` the revisions before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from tests.matrix import acts_client, acts_server, acts_tasks
from tests.matrix.peer import Peer, refused

Act = Callable[[Peer], Awaitable[None]]

DIRECTIONS = {
    "mm": "modern → modern",
    "lm": "legacy → modern",
    "ml": "modern → legacy",
    "ll": "legacy → legacy",
}
CARRIERS = {"m": ("stdio", "http"), "l": ("stdio", "http", "sse")}
"""What carries an upstream's era; HTTP+SSE is of 2024-11-05 only (2025-11-25, basic/transports)."""


@dataclass(frozen=True)
class Refusal:
    """What the specification prescribes where a direction cannot carry a feature."""

    section: str
    act: Act


@dataclass(frozen=True)
class Feature:
    """One row."""

    id: str
    title: str
    act: Act
    refusals: Mapping[str, Refusal] = field(default_factory=dict[str, Refusal])


async def _no_ping(peer: Peer) -> None:
    await refused(peer.raw("ping"), -32601)


async def _task_needed(peer: Peer) -> None:
    """A legacy client cannot declare the extension, so a tool that is always a task refuses it."""
    error = await refused(peer.raw("tools/call", {"name": peer.shown.name("job"), "arguments": {}}), -32021)
    needed = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
    assert error.error.data["requiredCapabilities"] == needed, error.error
    await refused(peer.raw("tasks/update", {"taskId": "none", "inputResponses": {}}), -32601, -32602)


async def _no_extension_task(peer: Peer) -> None:
    await acts_tasks.none_made(peer)
    await refused(peer.raw("tasks/get", {"taskId": "none"}, headers={"Mcp-Name": "none"}), -32602)


async def _no_update(peer: Peer) -> None:
    await refused(peer.raw("tasks/update", {"taskId": "none", "inputResponses": {}}), -32601)


async def _no_extension(peer: Peer) -> None:
    await refused(peer.raw("com.example/echo", {"value": 1}), -32601)


_PING = Refusal("2026-07-28 changelog, Major changes: `ping` is removed; -32601", _no_ping)
_DECLARED_BY_BOTH = Refusal(
    "2026-07-28 basic/versioning §Extension Negotiation: a server of a revision without extensions; -32601",
    _no_extension,
)
_NO_ROOTS_NEWS = Refusal(
    "2026-07-28 changelog, Major changes: `notifications/roots/list_changed` is removed, roots are asked anew with "
    "each call; it is taken and dropped",
    acts_client.roots_unchanged,
)
_ROOTS_REFUSALS = dict.fromkeys(("mm", "lm", "ml"), _NO_ROOTS_NEWS)
_CORE_TASKS = Refusal(
    "2025-11-25 basic/utilities/tasks §Task Support and Handling, §Tool-Level Negotiation: `task` is ignored where "
    "no `tasks` is declared, refused with -32601 where it is, but not of this tool",
    acts_tasks.ignored,
)
_CORE_REFUSALS = {"mm": _CORE_TASKS, "lm": _CORE_TASKS, "ml": _CORE_TASKS}
_TASKS_REFUSALS = {
    "lm": Refusal("ext-tasks §Capability Negotiation: not declared; -32021", _task_needed),
    "ml": Refusal("ext-tasks §Capability Negotiation: the server decides, here for none", _no_extension_task),
    "ll": Refusal("2025-11-25 basic/utilities/tasks: no `tasks/update`; -32601", _no_update),
}

FEATURES = (
    Feature("tools", "Tools, their failures and errors", acts_server.tools),
    Feature("definitions", "Icons, annotations, `_meta`, unknown fields in definitions", acts_server.definitions),
    Feature("structured", "Structured output and schemas", acts_server.structured),
    Feature("content", "Images, sounds, content of unknown types", acts_server.content),
    Feature("meta", "`_meta` of requests and results, trace context", acts_server.meta),
    Feature("pagination", "Pagination", acts_server.pages),
    Feature("headers", "Arguments in headers (`x-mcp-header`)", acts_server.headers),
    Feature("resources", "Resources", acts_server.resources),
    Feature("templates", "Resource templates", acts_server.templates),
    Feature("unlisted", "Resources that no list has", acts_server.unlisted),
    Feature("links", "Resource links and embedded resources", acts_server.links),
    Feature("apps", "MCP Apps (`ui://`)", acts_server.apps),
    Feature("subscriptions", "Subscriptions to resources", acts_server.subscriptions),
    Feature("prompts", "Prompts", acts_server.prompts),
    Feature("completion", "Completion", acts_server.completion),
    Feature("tools-changed", "Changes of the tools", partial(acts_server.list_changes, kind="tools")),
    Feature("prompts-changed", "Changes of the prompts", partial(acts_server.list_changes, kind="prompts")),
    Feature("resources-changed", "Changes of the resources", partial(acts_server.list_changes, kind="resources")),
    Feature("logging", "Logging", acts_client.logging),
    Feature("progress", "Progress", acts_client.progress),
    Feature("cancellation", "Cancellation", acts_client.cancellation),
    Feature("ping", "Ping", acts_client.ping, {"mm": _PING, "ml": _PING}),
    Feature("declared", "What a server is told of the client", acts_client.declared),
    Feature("elicitation-form", "Elicitation by form", acts_client.form),
    Feature("elicitation-url", "Elicitation by URL", acts_client.url),
    Feature("elicitation-elsewhere", "Elicitation by prompts and resources", acts_client.elsewhere),
    Feature("several", "Several questions in several rounds", acts_client.several),
    Feature("sampling", "Sampling", acts_client.sampling),
    Feature("sampling-tools", "Sampling with tools", acts_client.sampling_tools),
    Feature("roots", "Roots", acts_client.roots),
    Feature("roots-changed", "Changes of the roots", acts_client.roots_changed, _ROOTS_REFUSALS),
    Feature("tasks", "Tasks (extension)", acts_tasks.extension, _TASKS_REFUSALS),
    Feature("tasks-input", "Tasks (extension) that ask", acts_tasks.extension_input, _TASKS_REFUSALS),
    Feature("tasks-told", "Tasks (extension), notifications", acts_tasks.extension_told, _TASKS_REFUSALS),
    Feature("core-tasks", "Tasks (2025-11-25)", acts_tasks.core, _CORE_REFUSALS),
    Feature("core-tasks-listed", "Tasks (2025-11-25), listed", acts_tasks.core_listed, _CORE_REFUSALS),
    Feature("core-tasks-input", "Tasks (2025-11-25) that ask", acts_tasks.core_input, _CORE_REFUSALS),
    Feature("core-tasks-told", "Tasks (2025-11-25), notifications", acts_tasks.core_told, _CORE_REFUSALS),
    Feature(
        "extension", "An extension's own method", acts_client.extension,
        {"ml": _DECLARED_BY_BOTH, "ll": _DECLARED_BY_BOTH},
    ),
)  # fmt: skip
BY_ID = {each.id: each for each in FEATURES}


def columns() -> list[tuple[str, str]]:
    """Give every column: direction and carrier."""
    return [(direction, carrier) for direction in DIRECTIONS for carrier in CARRIERS[direction[1]]]


def cell(feature: Feature, direction: str) -> tuple[Act, str]:
    """Give what is done in a cell, and the section where it is a refusal."""
    refusal = feature.refusals.get(direction)
    return (feature.act, "") if refusal is None else (refusal.act, refusal.section)
