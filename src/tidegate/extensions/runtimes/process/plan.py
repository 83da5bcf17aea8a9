"""Plan: a ServerSpec as a job for the launcher, and the facts that say what holds for it.

What a spec does not declare, its job does not have.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Command, Limits, Network, Secret, ServerSpec
from tidegate.extensions.runtimes.process import host, mounts
from tidegate.extensions.runtimes.process.cgroups import OVERHEAD, Cgroups
from tidegate.extensions.runtimes.process.environments import Environment
from tidegate.extensions.runtimes.process.host import User
from tidegate.extensions.runtimes.process.ladder import Rung
from tidegate.extensions.runtimes.process.launcher.job import Job

USER = User(65532, 65532)
"""As whom servers run where the gateway is root: `nonroot` of many base images, nobody's here."""
_TMP = "/tmp"  # noqa: S108  # the sandbox's own
_FILES = 4096
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Plan:
    """A job but for its cgroup and its rung's last touches."""

    job: Job
    facts: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Ground:
    """What plans rest on: this gateway's sandbox, limits and directories."""

    rung: Rung
    user: User
    cgroups: Cgroups | None
    limits: str
    """How cgroups are had, or why not."""
    state: Path
    made: Path
    passed: str = ""
    """Why a better rung was not taken."""
    tasks: int = 0
    """Processes and threads that the user has already, where a limit counts them all."""


def user_of(spec: ServerSpec) -> User:
    """Give whom the server runs as.

    Raises:
        RuntimeFailure: it would be root, or somebody the gateway cannot become.
    """
    own = User(os.geteuid(), os.getegid())
    if spec.user is None:
        return USER if own.uid == 0 and not _bare(spec) else own
    uid, _, gid = spec.user.partition(":")
    if not (uid.isascii() and uid.isdigit() and (gid or uid).isascii() and (gid or uid).isdigit()):
        raise RuntimeFailure(f"user {spec.user} of {spec.name} is not uid:gid")
    asked = User(int(uid), int(gid or uid))
    if asked.uid == 0 and not _bare(spec):
        raise RuntimeFailure(f"user {spec.user} of {spec.name} is refused: no server runs as root")
    if asked != own and own.uid != 0:
        raise RuntimeFailure(f"user {spec.user} of {spec.name}: only root can run it as somebody else")
    return asked


def _bare(spec: ServerSpec) -> bool:
    return isinstance(spec.launch, Command) and spec.launch.unsandboxed


def plan(spec: ServerSpec, environment: Environment, ground: Ground, home: Path) -> Plan:
    """Make the plan; `home` is the workload's own directory, for a rung without a /tmp of its own.

    Raises:
        RuntimeFailure: the spec asks for what is refused, or for what this rung cannot give.
    """
    _refuse(spec, ground.rung)
    rung, network = ground.rung, spec.network is Network.OPEN
    declared = [] if rung is Rung.NONE else mounts.binds(spec.mounts, ground.state)
    for bind in declared if rung is Rung.LANDLOCK else []:
        if bind.source != bind.target:
            raise RuntimeFailure(f"mount {bind.source} cannot be put at {bind.target}: that needs namespaces")
    binds, symlinks = host.in_place(network=network), list[tuple[str, str]]()
    if rung.remapped:
        binds, symlinks = host.remapped(ground.user, network=network, made=ground.made)
    tmp = _TMP if rung.remapped else str(home / "tmp")
    if rung is Rung.LANDLOCK:
        declared.append(host.Bind(tmp, tmp, writable=True))
    for bind in environment.binds:
        if isinstance(spec.launch, Command) and mounts.within(str(ground.state), bind.source):
            raise RuntimeFailure(
                f"command {spec.launch.argv[0]}: the gateway's state directory is in {bind.source}"
            )
    rlimits, prefix = _rlimits(spec.limits, ground)
    bare = rung is Rung.NONE
    job = Job(
        rung=rung.value,
        argv=[*prefix, *environment.argv],
        env=_bare_env(spec) if bare else _env(spec, environment, tmp),
        cwd=os.getcwd() if bare else tmp,
        uid=ground.user.uid,
        gid=ground.user.gid,
        groups=[],
        rlimits=rlimits,
        binds=[] if bare else _real([*binds, *environment.binds, *declared]),
        symlinks=symlinks,
        tmp=spec.limits.tmp,
        network=network,
        seccomp=b"",
        bwrap=[],
        secrets={name: secret.reveal() for name, secret in spec.secrets.items()},
    )
    facts = {"sandbox": _sandbox(ground), "limits": _limits(spec.limits, ground), **environment.facts}
    if ground.passed:
        facts["passed_over"] = ground.passed
    if ground.cgroups is None:
        facts["cgroup"] = f"none: {ground.limits}"
    return Plan(job, facts)


def _refuse(spec: ServerSpec, rung: Rung) -> None:
    """Refuse what no process, or none on this rung, can be given."""
    if spec.network is Network.ALLOWED:
        raise RuntimeFailure(
            f"server {spec.name}: a process cannot be held to a list of destinations; "
            "run it in a container, or give it network: none or open"
        )
    if spec.volumes or spec.companions or spec.limits.disk is not None or spec.limits.bandwidth is not None:
        raise RuntimeFailure(
            f"server {spec.name}: a process has no volumes or companions, and is not held to a disk or bandwidth; "
            "run it in a container"
        )
    if rung is Rung.NONE and spec.mounts:
        raise RuntimeFailure(f"{spec.name} is unsandboxed and has the whole host: it can have no mounts")
    if spec.secrets and not rung.remapped:
        raise RuntimeFailure(f"{spec.name} has no /run/secrets of its own here: give its secrets in env")


def _real(binds: list[host.Bind]) -> list[host.Bind]:
    """Name every source without a link, so that the launcher can refuse one that was put there since."""
    return [replace(bind, source=os.path.realpath(bind.source)) for bind in binds]


def _declared(spec: ServerSpec) -> dict[str, str]:
    return {name: value.reveal() if isinstance(value, Secret) else value for name, value in spec.env.items()}


def _env(spec: ServerSpec, environment: Environment, tmp: str) -> dict[str, str]:
    base = {"PATH": environment.path, "HOME": tmp, "TMPDIR": tmp, "LANG": "C.UTF-8"}
    return base | _declared(spec)


def _bare_env(spec: ServerSpec) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "USER") if name in os.environ}
    return kept | _declared(spec)


def _rlimits(limits: Limits, ground: Ground) -> tuple[dict[str, int], list[str]]:
    """Give the resource limits, and the words before the server's own that set one inside."""
    always = {"RLIMIT_CORE": 0}
    if ground.rung is Rung.NONE:
        return always, []
    always["RLIMIT_NOFILE"] = _FILES
    if ground.rung is Rung.LANDLOCK:
        always["RLIMIT_FSIZE"] = limits.tmp
    held = ground.cgroups.holds if ground.cgroups is not None else ()
    if "memory" not in held:
        # Not RLIMIT_AS: Node.js reserves far more addresses than it uses.
        always["RLIMIT_DATA"] = limits.memory
    if "pids" in held:
        return always, []
    count = limits.pids + OVERHEAD
    if ground.rung is Rung.BUBBLEWRAP:
        # Set outside, it would count every process of this user; inside it counts the sandbox's.
        return always, ["/usr/bin/prlimit", f"--nproc={count}", "--"] if _has_prlimit() else []
    always["RLIMIT_NPROC"] = count + ground.tasks
    return always, []


def _has_prlimit() -> bool:
    return os.access("/usr/bin/prlimit", os.X_OK)


def _sandbox(ground: Ground) -> str:
    who = f"uid {ground.user.uid}"
    if ground.rung is Rung.NONE:
        return f"NONE: it can do all that {who} can do on this host"
    if ground.rung is Rung.LANDLOCK:
        return f"landlock and seccomp, {who}; it sees the host's paths"
    return f"{ground.rung.value} and seccomp, {who}"


def _limits(limits: Limits, ground: Ground) -> str:
    held = ground.cgroups.holds if ground.cgroups is not None else ()
    together = [
        f"{what} by {ground.limits}" for what in [", ".join(_amount(limits, name) for name in held)] if held
    ]
    if ground.rung is Rung.NONE:
        return "; ".join(together) or f"none ({ground.limits})"
    if "memory" not in held:
        together.append(f"{_amount(limits, 'memory')} of data for each process by rlimit")
    if "pids" not in held:
        known = ground.rung is not Rung.BUBBLEWRAP or _has_prlimit()
        together.append(f"{_amount(limits, 'pids')} by rlimit" if known else "processes not limited")
    if "cpu" not in held:
        together.append("cpu not limited")
    return "; ".join(together)


def _amount(limits: Limits, name: str) -> str:
    if name == "memory":
        return f"memory {limits.memory / _MIB:g} MiB"
    return f"{limits.pids} processes" if name == "pids" else f"{limits.cpus:g} cpu"
