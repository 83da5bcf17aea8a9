"""Every metric and log event name, in one table; and where the counts are kept.

On the path of a call only plain numbers are counted; they become Prometheus text when somebody asks.
Audit is not logging: what must be provable goes to the journal.
"""

from __future__ import annotations

import logging
import re
import sys
from bisect import bisect_left
from collections import defaultdict
from typing import Final, Protocol, TextIO, cast

import structlog

LOG_EVENTS: Final = {
    "gateway.started": "The gateway listens.",
    "gateway.stopped": "The gateway has ended in order.",
    "gateway.draining": "No new calls are taken; those in flight go on for a bounded time.",
    "settings.reloaded": "The settings in force are those of another version, or proved to be the same.",
    "settings.refused": "A mistake for which the settings were not taken; those in force stay.",
    "settings.overridden": "The settings in force are not the file's: an earlier version was put in their place.",
    "listener.certificate_reloaded": "A changed certificate is used for new connections.",
    "listener.certificate_refused": "A changed certificate could not be used; the old one stays.",
    "workload.started": "A workload answered its handshake.",
    "workload.adopted": "A workload that ran already was attached to.",
    "workload.claimed": "A warm workload was given to a principal.",
    "workload.broke": "A workload that was ready ended, or was found useless.",
    "workload.contended": "A server asked what could have been for more than one client; from now on each has it alone.",
    "workload.failed": "A workload could not be brought up; it is tried again later.",
    "workload.ejected": "A workload gets no calls for a while, and why.",
    "workload.healed": "A call on a workload that was ejected went well; it gets calls again.",
    "workload.quarantined": "A workload failed too often; it is not started again until somebody says so.",
    "workload.not_followed": "A workload that was to be replaced goes on: the one to follow it is not ready.",
    "workload.pause_failed": "An idle workload could not be paused, and runs on.",
    "workload.stopped": "A workload was ended and removed.",
    "workload.stop_failed": "A workload may still be there.",
    "workload.removed": "A workload that is wanted no more was found and removed.",
    "runtime.unavailable": "A runtime does not answer.",
    "runtime.chosen": "Which runtime realises packages, and why.",
    "rollout.began": "A change of a server is being brought in.",
    "rollout.stepped": "A rollout went one step further.",
    "rollout.done": "A change of a server is in.",
    "rollout.rolled_back": "A change of a server was taken back, and why; the version before it goes on.",
    "rollout.quarantined": "A change that takes rights away failed: nothing of the server runs until somebody says so.",
    "rollout.refused": "A change that was taken back is not tried again until somebody asks for it.",
    "identity.keys_refreshed": "An issuer has other keys than before; what was signed with one that is gone is refused.",
    "identity.unavailable": "An issuer could not be asked, and why; what is known of its keys is used for a while.",
    "secret.changed": "Secrets have another value than the servers were given; the settings are loaded again.",
    "secret.unavailable": "A secret could not be looked at; what was given of it stays.",
    "server.scaled": "A server is to have more or fewer replicas, and why.",
    "signal.changed": "A signal from outside was turned on or off.",
    "usage.unknown": "A runtime did not tell what its workloads use.",
    "host.memory_short": "A workload was not started: there is too little memory for it.",
    "host.memory_unknown": "How much memory there is cannot be told; starts are not held back by it.",
    "principal.refused": "A principal may not call a shared server for a while: its calls alone fail or end it, and how.",
    "server.quarantined": "Nothing of a server is started any more until somebody says so, and why.",
    "server.released": "A server that was in quarantine is started again.",
    "server.listed": "A server's tools were read.",
    "server.list_failed": "A server's tools could not be read; the last known stay.",
    "policy.failed": "A policy engine did not decide; what was asked of it is denied.",
    "policy.recovered": "Policy engines decide again; lists are made anew, and clients told of it.",
    "policy.changed": "Policies were changed beside the settings, and are in force.",
    "policy.doubtful": "Something about policies in force is odd, by what servers list; they stay in force.",
    "policy.refused": "Changed policies are wrong; those before stay in force.",
    "server.degraded": "Something a server offers is left out, and why.",
    "stop.in_force": "Something is stopped from now on: what, by whom, why.",
    "stop.lifted": "Something that was stopped is no more.",
    "call.expired": "A call whose server waited for input was ended: the client did not come back in time.",
    "question.refused": "A server asked something of a client that may not be asked.",
    "call.failed": "A call went out and no answer came back.",
    "edge.failed": "A request met a fault of ours.",
    "journal.unavailable": "A record could not be kept.",
    "state.failed": "The state store did not answer; what was to be kept is not.",
    "mail.dropped": "A letter between gateways was not sent or not taken.",
    "supervisor.failed": "A background task met a fault of ours and goes on.",
}

METRICS: Final = {
    "tidegate_calls_total": "Calls by endpoint, server and outcome.",
    "tidegate_call_seconds": "Time of a call from its first byte to its answer, by server.",
    "tidegate_requests_total": "Requests the gateway answered itself, by method.",
    "tidegate_refusals_total": "Refused requests by reason.",
    "tidegate_quota_refusals_total": "Calls that a quota refused, by its name.",
    "tidegate_questions_total": "What servers asked of clients, by server, method and what came of it.",
    "tidegate_egress_total": "Connections that servers opened or were refused, by server and what came of it.",
    "tidegate_calls_in_flight": "Calls being handled now.",
    "tidegate_reloads_total": "Reloads of the settings by what came of them: applied, unchanged, refused.",
    "tidegate_settings_version": "Version of the settings in force.",
    "tidegate_settings_problems": "Mistakes for which the settings file was not taken last; 0 where it was.",
    "tidegate_workloads": "Workloads by server and state.",
    "tidegate_workload_restarts_total": "Workloads that were ready and broke, by server.",
    "tidegate_rollouts_total": "Rollouts that came to an end, by server and outcome.",
    "tidegate_replicas_wanted": "Replicas that a shared server is to have, by server.",
    "tidegate_replicas_ready": "Workloads that take calls now, by server.",
    "tidegate_server_calls_in_flight": "Calls under way, by server.",
    "tidegate_server_calls_waiting": "Calls that wait for a place, by server.",
    "tidegate_server_quarantined": "1 while a server is in quarantine, by server.",
    "tidegate_ejections_total": "Times that a workload got no calls for a while since they failed, by server.",
    "tidegate_scalings_total": "Changes of how many replicas there are to be, by server and direction.",
    "tidegate_starts_refused_total": "Workloads that were not started for want of memory, by server.",
    "tidegate_workload_memory_bytes": "Memory that the workloads of a server use together, as last measured.",
    "tidegate_workload_cpus": "Processors that the workloads of a server use together, as last measured.",
    "tidegate_journal_records_total": "Records written.",
    "tidegate_stops": "Emergency stops in force.",
    "tidegate_stops_unknown": "1 while it is not known what is stopped, and calls are refused for it.",
    "tidegate_loop_stall_seconds_max": "Longest time the event loop was late since start.",
    "tidegate_tasks": "Tasks of the event loop that have not ended.",
    "tidegate_connections": "Open client connections.",
    "tidegate_streams": "Event streams that clients hold open with GET.",
}

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of `tidegate_call_seconds`, in seconds."""


class Log(Protocol):
    """What a log takes: an event name of `LOG_EVENTS`, and fields."""

    def info(self, event: str, /, **fields: object) -> None:
        """Log what went as it should."""
        ...

    def warning(self, event: str, /, **fields: object) -> None:
        """Log what somebody may have to look at."""
        ...

    def error(self, event: str, /, **fields: object) -> None:
        """Log what somebody has to look at."""
        ...


class Histogram:
    """Counts by bucket, with their sum."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds


class Metrics:
    """The counts of one gateway. Written on the loop's thread only."""

    def __init__(self) -> None:
        self.calls: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        """(endpoint, server, outcome)."""
        self.call_seconds: defaultdict[str, Histogram] = defaultdict(Histogram)
        self.requests: defaultdict[str, int] = defaultdict(int)
        self.questions: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        """(server, method, what came of it)."""
        self.egress: defaultdict[tuple[str, str], int] = defaultdict(int)
        """(server, `allowed` or `refused`)."""
        self.refusals: defaultdict[str, int] = defaultdict(int)
        self.quota_refusals: defaultdict[str, int] = defaultdict(int)
        """By the quota's name."""
        self.restarts: defaultdict[str, int] = defaultdict(int)
        self.scalings: defaultdict[tuple[str, str], int] = defaultdict(int)
        """(server, `up` or `down`)."""
        self.ejections: defaultdict[str, int] = defaultdict(int)
        self.starts_refused: defaultdict[str, int] = defaultdict(int)
        """By server: for want of memory."""
        self.rollouts: defaultdict[tuple[str, str], int] = defaultdict(int)
        """(server, outcome)."""
        self.reloads: defaultdict[str, int] = defaultdict(int)
        self.stall_max = 0.0


# C0 save tab, DEL, C1, and the characters that turn the direction of text (CVE-2021-42574).
_COMMANDS = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def _harmless(logger: object, name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Show control characters as escapes: much of what is logged are words of servers and clients.

    None of them may begin a line of its own, or be a command to the terminal that shows the log.
    """
    for key, value in event.items():
        if isinstance(value, str) and key != "exception":
            event[key] = _COMMANDS.sub(_escaped, value)
    trace = event.get("exception")
    if isinstance(trace, str):
        event["exception"] = "\n".join(_COMMANDS.sub(_escaped, line) for line in trace.split("\n"))
    return event


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape", "surrogatepass").decode()


def log() -> Log:
    """Give the log."""
    return cast("Log", structlog.get_logger())


def configure_logs(form: str, level: str, stream: TextIO = sys.stderr) -> None:
    """Set the log's form (`console` or `json`) and level (`debug` … `error`)."""
    render: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=stream.isatty(), pad_event_to=24)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            *([] if form == "json" else [_harmless]),  # JSON has escapes of its own
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
