"""The commands put together, and what becomes of errors: one line each on standard error.

Exit status: 0 done, 1 failed, 2 wrong usage or settings, 70 a mistake of ours, 130 interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, cast

import typer
from typer.core import TyperGroup

from tidegate.cli import (
    audit,
    call,
    check,
    clean,
    config,
    connect,
    events,
    explain,
    key,
    logs,
    policy,
    prompts,
    quotas,
    resources,
    rollout,
    secret,
    serve,
    server,
    servers,
    signals,
    stops,
    tools,
    version,
    volume,
)
from tidegate.cli.output import say
from tidegate.domain.errors import SettingsError, TidegateError

# Not exported by Typer; older ones take it from Click.
_WrongUsage: type[Exception] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)


class Commands(TyperGroup):
    """Commands whose errors are lines and exit codes, never tracebacks or boxes."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run, and end with the status of what was asked for."""
        try:
            status = super().main(*args, **{**kwargs, "standalone_mode": False})
        except _WrongUsage as error:
            if type(error).__name__ != "NoArgsIsHelpError":  # the help has been printed
                say(f"tidegate: {_in_a_line(error)}")
            status = getattr(error, "exit_code", 2)
        except typer.Abort:
            say("tidegate: aborted")
            status = 1
        sys.exit(status if isinstance(status, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except TidegateError as error:
            told = error
        except ExceptionGroup as group:
            # What fails beside a task that belongs to it comes as a group of one.
            found = _leaves(group)
            if not all(isinstance(error, TidegateError) for error in found):
                raise
            told = found[0]
        if isinstance(told, SettingsError):
            for problem in told.problems:
                say(problem)
            raise typer.Exit(2)
        say(f"tidegate: {told}")
        raise typer.Exit(1)


def _in_a_line(error: Any) -> str:
    """Say what is wrong with the usage, and where the right one is told."""
    message = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    see = f" (see {context.command_path} --help)" if context is not None else ""
    return message[:1].lower() + message[1:] + see


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    leaves: list[BaseException] = []
    for error in group.exceptions:
        leaves += (
            _leaves(cast("BaseExceptionGroup[Any]", error))
            if isinstance(error, BaseExceptionGroup)
            else [error]
        )
    return leaves


app = typer.Typer(
    name="tidegate",
    help="An MCP gateway that runs every MCP server in its own hardened container, governs every call "
    "and keeps proof of it.",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("serve")(serve.serve)
app.command("reload")(config.reload)
app.add_typer(config.app, name="config")
app.command("check")(check.check)
app.command("servers")(servers.servers)
app.add_typer(server.app, name="server")
app.add_typer(rollout.app, name="rollout")
app.command("signal")(signals.signal)
app.command("quotas")(quotas.quotas)
app.command("stop")(stops.stop)
app.command("stops")(stops.stops)
app.command("resume")(stops.resume)
app.command("explain")(explain.explain)
app.command("events")(events.events)
app.command("logs")(logs.logs)
app.command("tools")(tools.tools)
app.command("call")(call.call)
app.command("prompts")(prompts.prompts)
app.command("prompt")(prompts.prompt)
app.command("resources")(resources.resources)
app.command("read")(resources.read)
app.add_typer(key.app, name="key")
app.add_typer(secret.app, name="secret")
app.add_typer(policy.app, name="policy")
app.add_typer(audit.app, name="audit")
app.add_typer(volume.app, name="volume")
app.command("clean")(clean.clean)
app.command("connect")(connect.connect)
app.command("version")(version.version)


def run(arguments: Sequence[str]) -> int:
    """Run one command and give its exit status."""
    try:
        app(args=list(arguments), prog_name="tidegate")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:
        status = 130  # as a shell says it
    except Exception as error:
        # The edge: a mistake of ours is a line too, and asks to be told of.
        if os.environ.get("TIDEGATE_DEBUG"):
            raise
        say(
            f"tidegate: internal error, please report it: {type(error).__name__}: {error} (TIDEGATE_DEBUG=1 shows where)"
        )
        status = 70  # EX_SOFTWARE of sysexits.h
    else:
        status = 0
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends already: a second one would be a traceback
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read us has gone: the interpreter's own flush at its end must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status
