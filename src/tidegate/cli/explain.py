"""`tidegate explain`: may somebody use something, what says so, and what would have allowed it.

A gateway that runs is asked, and records who asked it; where none does, it is told by the settings file.
"""

from __future__ import annotations

import asyncio
import json as jsonlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from tidegate.cli.options import DEFAULT_CONFIG, Config, Json, KeyFile, StateDir, pairs, state_of
from tidegate.cli.output import say, write_json
from tidegate.cli.remote import Gateway, ask
from tidegate.domain.errors import SettingsError, StateError

if TYPE_CHECKING:
    from tidegate.edge.admin.door import Actor
    from tidegate.edge.admin.explaining import Explaining

_MAX_ARGUMENTS = 60_000
"""Characters: what a gateway takes of an administrator."""
_Told = dict[str, Any]
"""What is explained, as the admin API has it."""

Names = list[str] | None
Given = Annotated[
    str | None,
    typer.Argument(
        metavar="[ID_OR_ARGUMENTS]",
        help="The id of a call, as `data.id` of its error or the journal has it; or, with --tool or --prompt, the "
        "arguments of a call: a JSON object, - reads it from standard input.",
    ),
]
Subject = Annotated[str, typer.Option("--as", metavar="SUBJECT", help="Whoever asks.")]
Key = Annotated[str, typer.Option("--key", metavar="ID", help="Whom this API key speaks for.")]
Issuer = Annotated[str, typer.Option("--issuer", help="Who vouches for it; `key` where absent.")]
Tenant = Annotated[
    str, typer.Option("--tenant", help="Its tenant; `default`, or that of a tenant's administrator who asks.")
]
Role = Annotated[Names, typer.Option("--role", help="A role it has. More than once: more of them.")]
Group = Annotated[Names, typer.Option("--group", help="A group it is in.")]
Attributes = Annotated[
    Names,
    typer.Option(
        "--attribute", metavar="NAME=VALUE", help="An attribute: text, or a number, bool or list as JSON."
    ),
]
Client = Annotated[str, typer.Option("--client", help="The OAuth client that asks in its name.")]
Scope = Annotated[Names, typer.Option("--scope", help='A scope of its token; "" for a token without any.')]
At = Annotated[str, typer.Option("--endpoint", help="The endpoint that is asked.")]
Tool = Annotated[str | None, typer.Option("--tool", help="A tool, as the endpoint shows it.")]
Prompt = Annotated[str | None, typer.Option("--prompt", help="A prompt.")]
Resource = Annotated[str | None, typer.Option("--resource", metavar="URI", help="A resource.")]
Template = Annotated[str | None, typer.Option("--template", help="A template of resources.")]
Server = Annotated[str, typer.Option("--server", help="With one of these: its name is this server's own.")]


def explain(
    given: Given = None,
    subject: Subject = "",
    key: Key = "",
    issuer: Issuer = "",
    tenant: Tenant = "",
    role: Role = None,
    group: Group = None,
    attribute: Attributes = None,
    client: Client = "",
    scope: Scope = None,
    endpoint: At = "/mcp",
    tool: Tool = None,
    prompt: Prompt = None,
    resource: Resource = None,
    template: Template = None,
    server: Server = "",
    url: Gateway = None,
    key_file: KeyFile = None,
    config: Config = DEFAULT_CONFIG,
    state: StateDir = None,
    json: Json = False,
) -> None:
    """Say whether somebody may use something, which rule says so, and what would have allowed it. Nothing is called.

    With the id of a call: what became of it, what was read for that, and what would become of it now.
    """
    named = {"tool": tool, "prompt": prompt, "resource": resource, "template": template, "server": server}
    who = {
        "subject": subject, "key": key, "issuer": issuer, "roles": role, "groups": group,
        "attributes": _attributes(attribute or []), "client": client, "scopes": scope,
    }  # fmt: skip
    body = _body(named, who, given)
    if body is not None:
        body |= {"endpoint": endpoint, **({"tenant": tenant} if tenant else {})}
    if url is not None:
        told = _read(asyncio.run(_ask_there(url, key_file, given or "", body)))
    else:
        told = asyncio.run(_ask(config, state, given, body))
    if json:
        write_json(told)
    else:
        from tidegate.cli.explained import show_call, show_now

        (show_call if body is None else show_now)(told)


def _body(named: Mapping[str, object], who: Mapping[str, object], given: str | None) -> _Told | None:
    """Give what is asked of the gateway; None where it is about a call that was made."""
    said = {name: value for name, value in named.items() if value not in (None, "")}
    if not said.keys() - {"server"}:
        if given is None or said or any(each not in (None, "", {}) for each in who.values()):
            raise SettingsError(
                "say what: one of --tool, --prompt, --resource and --template, or the id of a call"
            )
        return None
    if not (who["subject"] or who["key"]):
        raise SettingsError("say who asks: --as or --key")
    body: _Told = {**said, **{name: value for name, value in who.items() if value}}
    if "scopes" in body:
        body["scopes"] = [each for each in body["scopes"] if each]
    if given is not None:
        body["arguments"] = _arguments(given)
    return body


async def _ask(config: Path, state: Path | None, call: str | None, body: _Told | None) -> _Told:
    from tidegate.cli import control

    try:
        async with control.connect(state_of(config, state)) as session:
            if body is not None:
                return _read(await control.operate(session, "/v1/explain", body))
            return _read(await control.get(session, f"/v1/explain/{control.word(call or '')}"))
    except StateError:  # no gateway runs
        return await _offline(config, state, call, body)


async def _ask_there(url: str, key_file: Path | None, call: str, body: _Told | None) -> bytes:
    from tidegate.cli.control import word

    if body is not None:
        return await ask(url, key_file, "/explain", body=body)
    return await ask(url, key_file, f"/explain/{word(call)}")


async def _offline(config: Path, state: Path | None, call: str | None, body: _Told | None) -> _Told:
    from dataclasses import replace

    from tidegate.assemble.offline import open_offline
    from tidegate.cli.changes import alone
    from tidegate.cli.options import load_settings
    from tidegate.edge.admin.door import Actor
    from tidegate.extensions.identity.local import local_principal

    settings = load_settings(config)
    if state is not None:
        settings = replace(settings, state=state)
    asked: list[dict[str, object]] = []

    def record(actor: Actor, event: str, **what: object) -> None:
        asked.append({"event": event, **what})

    async with open_offline(settings, record) as explaining:
        told = await _explain(explaining, call, body, Actor(local_principal(), "command"))
    if (settings.state / "VERSION").exists():
        for each in asked:
            await alone(settings.state, each)
    quotas = ", and what is used of quotas is not known" if settings.quotas else ""
    say(f"tidegate: no gateway runs here: this is told by {config}{quotas}")
    return told


async def _explain(explaining: Explaining, call: str | None, body: _Told | None, actor: Actor) -> _Told:
    from tidegate.edge.admin.actions import parse
    from tidegate.edge.admin.bodies import ExplainBody

    if body is None:
        return cast("_Told", await explaining.recall(call or "", actor))
    return cast("_Told", await explaining.explain(parse(ExplainBody, jsonlib.dumps(body).encode()), actor))


def _read(answer: bytes) -> _Told:
    found: _Told = jsonlib.loads(answer)
    return found


def _attributes(given: Sequence[str]) -> dict[str, object]:
    """Read attributes; one that is said more than once is a list of texts."""
    return {
        name: _value(values[0]) if len(values) == 1 else values
        for name, values in pairs(given, "--attribute").items()
    }


def _value(text: str) -> object:
    try:
        value: object = jsonlib.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, bool | int | str):
        return value
    listed = cast("list[object]", value) if isinstance(value, list) else [None]
    return listed if all(isinstance(each, str) for each in listed) else text


def _arguments(text: str) -> object:
    if text == "-":
        text = sys.stdin.read(_MAX_ARGUMENTS + 1)
    if len(text) > _MAX_ARGUMENTS:
        raise SettingsError(f"the arguments are larger than {_MAX_ARGUMENTS} characters")
    try:
        value: object = jsonlib.loads(text)
    except (ValueError, RecursionError) as error:
        at = f" ({error.msg} in line {error.lineno})" if isinstance(error, jsonlib.JSONDecodeError) else ""
        raise SettingsError(f"the arguments are not JSON{at}") from None
    if not isinstance(value, dict):
        raise SettingsError('the arguments should be a JSON object, such as {"amount": 60000}')
    return cast("object", value)
