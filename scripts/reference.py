"""The pages of the documentation that are made from the code. Prose that is not in the code stands here."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from tidegate.extensions import table
from tidegate.settings.identity import MODELS
from tidegate.settings.schema import json_schema

Schema = dict[str, Any]

HEAD = """# Configuration

<!-- Made by scripts/docs from the models in src/tidegate/settings. Do not edit. -->

One YAML file, by default `tidegate.yaml`. `tidegate check` says whether it is right, and otherwise every
mistake in it with file, line, path and the known words. [`tidegate.schema.json`](tidegate.schema.json) is
its JSON Schema, for editors:

```yaml
# yaml-language-server: $schema=docs/tidegate.schema.json
listen: 127.0.0.1:8080
servers:
  time:
    package: pypi:mcp-server-time==2026.10.19
```

- Relative paths are relative to the directory of the file.
- A key without a value has its default. Unknown keys, keys that stand twice, tags (`!…`) and merge keys (`<<`)
  are mistakes; an alias (`*name`) stands for a whole value. Numbers, `true`, `false` and `null` are those of
  YAML 1.2: `yes`, `on` and `1:30` are text.
- A *size* is a number of bytes or text such as `"256MiB"` (B, KiB, MiB, GiB, TiB; KB, MB, GB, TB in thousands).
  A *duration* is a number of seconds or text such as `"90s"`, `"15m"`, `"2h"`.
- In the values of `env`, `secrets`, `headers` and `client_secret`, `${env:NAME}` stands for an environment variable of the gateway and
  `${file:path}` for the text of a file, without a line break at its end; `$${` is the text `${`. What they stand
  for is a secret: it is in no message, log or record. A variable or file that is missing is a mistake.
  `${secret:NAME}`, `${docker:NAME}`, `${helper:PROGRAM/URL}` and `${vault:path#field}` stand for what is
  [kept elsewhere](secrets.md).
- Of the file at most 1 MiB is taken, 32 levels deep.
"""

SECTIONS = (
    ("tls", "TlsModel", ""),
    ("outbound", "OutboundModel", ""),
    ("admin", "AdminModel", ""),
    ("journal", "JournalModel", ""),
    ("logs", "LogsModel", ""),
    ("limits", "GatewayLimitsModel", ""),
)

SERVERS = """## `servers`

A mapping of names to servers. A name is at most 32 of `a-z`, `0-9` and single `-`. Each server has exactly one of
`image`, `command`, `package` and `url`, which says how it is launched, and the keys that go with it.
"""

LAUNCHES = (
    ("image", "ImageServer", "Runs on the runtime `docker`."),
    ("command", "CommandServer", "Runs on the runtime `process`."),
    ("package", "PackageServer", "Runs on the runtime that `runtime` names."),
    (
        "url",
        "RemoteServer",
        "Runs nowhere here: `env`, `mounts`, `limits`, `network` and `user` do not go with it.",
    ),
)

COMMON = frozenset(
    {"env", "mounts", "limits", "timeouts", "network", "user", "sharing", "stateless", "rollout"}
    | {"replicas", "scaling", "queue", "health", "volumes", "companions"}
)
"""Keys of (nearly) every server, which come after those of its own."""

MORE = (
    ("mounts", "MountModel"),
    ("limits", "LimitsModel"),
    ("network", "NetworkModel"),
    ("volumes.*", "VolumeModel"),
    ("companions.*", "CompanionModel"),
    ("companions.*.limits", "ContainerLimits"),
    ("timeouts", "TimeoutsModel"),
    ("replicas", "ReplicasModel"),
    ("scaling", "ScalingModel"),
    ("scaling.schedules", "ScheduleModel"),
    ("queue", "QueueModel"),
    ("health", "HealthModel"),
    ("rollout", "RolloutModel"),
)

_AUTH = """One identity, or a list of them: `auth: {type: keys}`, or `auth: [{type: keys}, {type: jwt, …}]`. They are asked in order,
and the first whose kind the credentials are decides. See [access](access.md).
"""

_AUTH_MORE = (
    ("roles", "RolesModel"),
    ("roles (workloads)", "WorkloadRolesModel"),
    ("groups", "GroupsModel"),
    ("tenant", "TenantModel"),
)

_ENDPOINTS = """## `endpoints`

A mapping of URL paths to views. Reserved for the gateway itself: `/healthz`, `/readyz`, `/metrics`, `/v1`,
`/.well-known`, `/api`, `/oauth`, `/console` and what is below them.

With `names: prefixed` tools and prompts stand as `server__name`, and URIs keep their scheme: `file:///a` of the server
`docs` stands as `file://docs__/a`, `memo:x` as `memo:docs__x`. URIs that a client may fetch or read by itself (`http:`,
`https:`, `data:`) stand as they are. With `names: plain` nothing is renamed; of two servers with one name or URI, the
one that is declared first has it, and the log says what was left out (`server.degraded`). A resource that no server lists is asked
of the server that its prefix names; else of the first with a template that fits, of one that gave a link to it, or of the
only one that has resources; else it is unknown.

Tools that are for an app's own user interface alone (MCP Apps, `visibility: ["app"]`) are shown and callable only where
an endpoint has one server.
"""

_URIS = """Patterns on `resources` are matched against the exact URI that the server would get; a template in a list is matched by
its own text, and what is read by it by its URI. A server may take several URIs for one thing, so a URI that is not written
in the one usual way (`..`, empty segments, a backslash, `%2f` or a letter that is escaped without need, a scheme or a
web host in capitals, `file:` without three slashes) matches no pattern that allows and every one that denies. Of other ways
of writing the gateway knows nothing: allow what may be read, rather than deny what may not.

Methods that an extension of a server adds (`resources/directory/read`, …) may come to any tool or resource of it. So they
are allowed only by a rule that is about everything, denied by every rule that denies anything of that server, and not
there on an endpoint that chooses its `tools`, `prompts` or `resources`.
"""

_ROLES = """## `roles`

A mapping of names to roles, beside `user` and `admin`, which there are without being declared and which can be declared
here too. See [authorization](authorization.md).
"""

_POLICIES = """## `policies`

A list of engines, each with its `type`. They are asked beside the rules of the endpoint and the grants of roles: a denial of
any of them overrides, at least one permission is needed, and one that fails or is late denies.
"""


def schema() -> str:
    """Give the published JSON Schema."""
    return json.dumps(json_schema(table), indent=2, ensure_ascii=False) + "\n"


_TENANTS = """## `tenants`

Tenants by their names, as tokens and keys have them; `default`, the home tenant, is there without being declared. Where any
is declared, principals of others are let in nowhere. `roles` and `quotas` are as those at the top. See [tenants](tenants.md).
"""


def openapi() -> str:
    """Give the OpenAPI document of the admin API."""
    from tidegate.edge.admin.api import document

    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def configuration() -> str:
    """Give the configuration reference."""
    whole = json_schema(table)
    parts = [HEAD, "## At the top\n", _table(whole, whole)]
    for key, model, more in SECTIONS:
        found = whole["$defs"][model]
        parts += [
            f"## `{key}`\n",
            f"{found.get('description', '')} {more}".strip() + "\n",
            _table(whole, found),
        ]
    parts += _auth(whole)
    parts.append("## `runtimes`\n\nSettings of the runtimes; what is not said has its default.\n")
    for name, found in whole["properties"]["runtimes"]["properties"].items():
        parts += [f"### `runtimes.{name}`\n", *_nested(whole, found, f"runtimes.{name}")]
    secrets = whole["properties"]["secrets"]
    parts += [
        "## `secrets`\n",
        secrets["description"] + " See [secrets](secrets.md).\n",
        _table(whole, secrets),
    ]
    for name, found in secrets["properties"].items():
        if found.get("properties"):
            parts += [f"### `secrets.{name}`\n", *_nested(whole, found, f"secrets.{name}")]
    parts += [_ENDPOINTS, _table(whole, whole["$defs"]["EndpointModel"])]
    rule, selection = whole["$defs"]["RuleModel"], whole["$defs"]["SelectionModel"]
    parts += ["### `rules`\n", rule["description"] + "\n", _table(whole, rule)]
    parts += [selection["description"] + "\n", _table(whole, selection), _URIS]
    scope = whole["$defs"]["ScopeModel"]
    parts += ["### `scopes`\n", scope["description"] + "\n", _table(whole, scope)]
    parts += [_ROLES, _table(whole, whole["$defs"]["RoleModel"])]
    grant = whole["$defs"]["GrantModel"]
    parts += [grant["description"] + "\n", _table(whole, grant)]
    tenant = whole["$defs"]["DeclaredTenantModel"]
    parts += [_TENANTS, tenant["description"] + "\n", _table(whole, tenant)]
    parts.append(_POLICIES)
    for found in whole["properties"]["policies"]["items"]["oneOf"]:
        name = found["properties"]["type"]["const"]
        parts += [f"### `policies: [{{type: {name}}}]`\n", found["description"] + "\n", _table(whole, found)]
    parts.append(SERVERS)
    for key, model, more in LAUNCHES:
        found = whole["$defs"][model]
        parts += [f"### `{key}:`\n", f"{found['description']} {more}\n", _table(whole, found, first=key)]
    for key, model in MORE:
        found = whole["$defs"][model]
        parts += [f"### `servers.*.{key}`\n", found["description"] + "\n", _table(whole, found)]
    return "\n".join(parts)


def _auth(whole: Schema) -> list[str]:
    """Write the identities, each by its type, and the models that they share."""
    parts = ["## `auth`\n", _AUTH]
    for kind, model in MODELS.items():
        found = whole["$defs"][model.__name__]
        parts += [f"### `auth: {{type: {kind}}}`\n", found["description"] + "\n", _table(whole, found)]
    for key, name in _AUTH_MORE:
        found = whole["$defs"][name]
        parts += [f"### `auth.{key}`\n", found["description"] + "\n", _table(whole, found)]
    return parts


def _nested(whole: Schema, found: Schema, name: str) -> list[str]:
    """Write an extension's settings, each model below it with a table of its own."""
    if not found.get("properties"):
        return ["There are none.\n"]
    parts = [_table(whole, found)]
    for key, about in found["properties"].items():
        inner = _resolve(whole, about)
        if inner.get("properties"):
            parts += [
                f"#### `{name}.{key}`\n",
                inner.get("description", "") + "\n",
                _table(whole, inner),
            ]
    return parts


def _table(whole: Schema, found: Schema, first: str | None = None) -> str:
    names = sorted(
        found["properties"], key=lambda name: (name != first, first is not None and name in COMMON)
    )
    rows = ["| key | value | default | |", "|---|---|---|---|"]
    for name in names:
        about = found["properties"][name]
        needed = name in found.get("required", ())
        default = "*needed*" if needed else _default(whole, about)
        text = about.get("description") or _resolve(whole, about).get("description", "")
        rows.append(f"| `{name}` | {_kind(whole, about)} | {default} | {_line(text)} |")
    return "\n".join(rows) + "\n"


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _resolve(whole: Schema, about: Schema) -> Schema:
    reference = about.get("$ref")
    if reference is None:
        return next((_resolve(whole, each) for each in about.get("anyOf", ()) if "$ref" in each), about)
    return cast(Schema, whole["$defs"][reference.removeprefix("#/$defs/")])


def _kind(whole: Schema, about: Schema) -> str:
    if about.get("format") in ("size", "duration"):
        return str(about["format"])
    choices = about.get("anyOf") or ("type" not in about and about.get("oneOf"))
    if choices:
        return " or ".join(
            dict.fromkeys(_kind(whole, each) for each in choices if each.get("type") != "null")
        )
    if "$ref" in about:
        return _kind(whole, _resolve(whole, about))
    if "enum" in about:
        return " \\| ".join(f"`{word}`" for word in about["enum"])
    if "const" in about:
        return f"`{about['const']}`"
    if about.get("type") == "array":
        return f"list of {_kind(whole, about['items'])}"
    words = {
        "uri": "URL",
        "host-port": "host:port",
        "text-with-references": "text",
        "network": "address or network",
    }
    if "format" in about:
        return words.get(about["format"], str(about["format"]))
    return {"string": "text", "integer": "whole number", "boolean": "true or false", "object": "mapping"}.get(
        str(about.get("type")), str(about.get("type", "any"))
    )


def _default(whole: Schema, about: Schema) -> str:
    if "default" not in about or about["default"] is None:
        return ""
    value = about["default"]
    if isinstance(value, dict) and value and _resolve(whole, about).get("properties"):
        return "see below"
    if value == [] or value == {}:
        return "none"
    if about.get("format") == "size":
        return f"`{_size(int(value))}`"
    if about.get("format") == "duration":
        return f"`{value:g}`"
    return f"`{json.dumps(value)}`" if not isinstance(value, str) else f"`{value}`"


def _size(value: int) -> str:
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if value % 1024**power == 0 and value:
            return f"{value // 1024**power}{unit}"
    return str(value)


def command_line() -> str:
    """Give the reference of the command line."""
    from tidegate.cli.app import app

    parts = [
        "# Command line",
        "",
        "<!-- Made by scripts/docs from src/tidegate/cli. Do not edit. -->",
        "",
        app.info.help or "",
        "",
        "Results go to standard output, everything else to standard error; errors are one line each. Exit status:",
        "0 done, 1 failed, 2 wrong usage or settings, 70 a mistake of ours, 130 interrupted. A key is never an argument: it comes from a",
        "file (`--key-file`) or the variable `TIDEGATE_KEY`.",
        "",
    ]
    commands = [(str(each.name), each.callback) for each in app.registered_commands]
    for group in app.registered_groups:
        inner = group.typer_instance
        if inner is not None:
            commands += [(f"{group.name} {each.name}", each.callback) for each in inner.registered_commands]
    for path, callback in commands:
        if callback is not None:
            parts += [f"## `tidegate {path}`", "", _line(callback.__doc__ or ""), "", *_parameters(callback)]
    return "\n".join(parts).rstrip() + "\n"


def _parameters(callback: Callable[..., Any]) -> list[str]:
    hints = get_type_hints(callback, include_extras=True)
    rows: list[str] = []
    for name, parameter in inspect.signature(callback).parameters.items():
        kind, about = get_args(hints[name])
        # In `Annotated`, Typer keeps the first name of an option as its default.
        names = [each for each in (about.default, *(about.param_decls or ())) if str(each).startswith("-")]
        shown = ", ".join(names) or (about.metavar or name.upper()).strip("[]")
        default = "*needed*" if parameter.default is parameter.empty else _shown(parameter.default)
        variable = f" Variable: `{about.envvar}`." if about.envvar else ""
        rows.append(f"| `{shown}` | {_value(kind)} | {default} | {_line(about.help or '')}{variable} |")
    return ["| | value | default | |", "|---|---|---|---|", *rows, ""] if rows else []


def _value(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " \\| ".join(f"`{word}`" for word in get_args(kind))
    for inner in get_args(kind):
        if inner is not type(None):
            return _value(inner)
    return {bool: "", int: "whole number", float: "number", str: "text", Path: "path"}[kind]


def _shown(default: object) -> str:
    return "" if default is None or default is False else f"`{default}`"
