"""`tidegate policy`: are policies right, what may they read, and do they say what is expected of them?

No gateway has to run, and none is asked. An OPA that the settings name is, since it alone has its policies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidegate.cli.options import DEFAULT_CONFIG, Config, Json, load_settings
from tidegate.cli.output import say, write, write_json
from tidegate.domain.errors import SettingsError

if TYPE_CHECKING:
    from tidegate.cli.policy_cases import Result
    from tidegate.domain.target import Target
    from tidegate.extensions.policies.cedar import AttributeType, CedarSettings
    from tidegate.extensions.policies.opa import OpaSettings
    from tidegate.ports.facts import Facts
    from tidegate.settings.policies import PolicySettings

app = typer.Typer(help="Policies: check them, test them, see what they may read.", no_args_is_help=True)

Tools = Annotated[
    Path | None,
    typer.Option(
        "--tools",
        help="A file with what servers list, as `tidegate tools --json` writes it. Else what the gateway last saw.",
    ),
]


@app.command("check")
def check(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Policy files; those of the settings file where absent.")
    ] = None,
    config: Config = DEFAULT_CONFIG,
    tools: Tools = None,
    json: Json = False,
) -> None:
    """Check policies: in Cedar their form, and all that they read, against what servers list; of OPA that it answers as agreed."""
    try:
        checked, notes = _check(files or [], config, tools)
    except SettingsError as error:
        if not json:
            raise
        write_json({"ok": False, "problems": error.problems})
        raise typer.Exit(2) from None
    if json:
        write_json({"ok": True, "problems": [], "notes": notes, "policies": checked})
        return
    for note in notes:
        say(f"note: {note}")
    write(f"{len(checked)} {'policy is' if len(checked) == 1 else 'policies are'} right")


@app.command("schema")
def schema(config: Config = DEFAULT_CONFIG, tools: Tools = None, json: Json = False) -> None:
    """Print the Cedar schema of all that policies may read, with the arguments of the tools that servers list."""
    from tidegate.extensions.policies.cedar.engine import CedarFailure, schema_text
    from tidegate.extensions.policies.cedar.offline import schema_of

    made, notes = schema_of(_declared(_entries(config)), _facts(config, tools))
    for note in notes:
        say(f"note: {note}")
    if json:
        write_json(made)
        return
    try:
        write(schema_text(made).removesuffix("\n"))
    except CedarFailure as error:
        raise SettingsError(f"the schema cannot be written: {error}") from None


@app.command("test")
def try_cases(
    files: Annotated[list[Path], typer.Argument(help="Files of cases.")],
    config: Config = DEFAULT_CONFIG,
    tools: Tools = None,
    json: Json = False,
) -> None:
    """Decide the cases in files by the policies alone, and say which come out otherwise than expected."""
    from tidegate.cli.policy_cases import read, run

    results: list[Result] = []
    for each in [read(file) for file in files]:
        given = each.tools or tools
        facts: Mapping[Target, Facts] = {}
        if given is not None or not each.policies:
            facts = _facts(config, given)
        entries = each.entries() or _policies(config)
        if not entries:
            raise SettingsError(f"{config}: has no policies")
        results += asyncio.run(run(each, entries, facts))
    failed = [each for each in results if not each.passed]
    if json:
        write_json([each.told() for each in results])
    else:
        for each in failed:
            write(each.line())
        write(f"{len(results) - len(failed)} of {len(results)} cases came out as expected")
    if failed:
        raise typer.Exit(1)


def _check(files: Sequence[Path], config: Path, tools: Path | None) -> tuple[Sequence[str], Sequence[str]]:
    from tidegate.extensions.policies.cedar.offline import check as check_files

    if files:
        declared: Mapping[str, AttributeType] = {}
        if config.exists():
            declared = _declared(_entries(config))
        sets: list[tuple[Sequence[Path], Mapping[str, AttributeType]]] = [(files, declared)]
    else:
        sets = [(each.files, each.attributes) for each in _entries(config)]
    asked: Sequence[OpaSettings] = () if files else _agents(config)
    if not sets and not asked:
        raise SettingsError(f"{config}: has no policies of the type cedar or opa")
    facts = _facts(config, tools)
    found = [check_files(paths, attributes, facts) for paths, attributes in sets]
    found += _ask(asked, facts)
    return [name for names, _ in found for name in names], [note for _, notes in found for note in notes]


def _ask(
    agents: Sequence[OpaSettings], facts: Mapping[Target, Facts]
) -> Sequence[tuple[Sequence[str], Sequence[str]]]:
    """See that each agent answers as agreed."""
    if not agents:
        return ()
    from tidegate.extensions.policies.opa.offline import check as check_agent

    async def every() -> Sequence[tuple[Sequence[str], Sequence[str]]]:
        answered = [await check_agent(each, list(facts)) for each in agents]
        return [((name,), notes) for name, notes in answered]

    return asyncio.run(every())


def _entries(config: Path) -> Sequence[CedarSettings]:
    from tidegate.extensions.policies.cedar import CedarSettings

    return [
        each.settings for each in load_settings(config).policies if isinstance(each.settings, CedarSettings)
    ]


def _agents(config: Path) -> Sequence[OpaSettings]:
    from tidegate.extensions.policies.opa import OpaSettings

    return [each.settings for each in _policies(config) if isinstance(each.settings, OpaSettings)]


def _policies(config: Path) -> Sequence[PolicySettings]:
    """Give the entries, with the secrets of those that have any."""
    from tidegate.extensions.policies.opa import OpaSettings

    found = load_settings(config).policies
    if any(isinstance(each.settings, OpaSettings) and each.settings.token is not None for each in found):
        return load_settings(config, secrets=True).policies
    return found


def _declared(entries: Sequence[CedarSettings]) -> Mapping[str, AttributeType]:
    return {name: kind for each in entries for name, kind in each.attributes.items()}


def _facts(config: Path, tools: Path | None) -> Mapping[Target, Facts]:
    from tidegate.assemble.kept import kept_facts, told_facts

    if tools is not None:
        return told_facts(tools)
    return asyncio.run(kept_facts(load_settings(config))) if config.exists() else {}
