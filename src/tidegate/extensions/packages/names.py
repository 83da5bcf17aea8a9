"""Names: what may be asked of an index, and for which machine.

Everything that reaches a command line is checked here first, so that no name can be an option, a
path or a URL. It does no I/O.
"""

from __future__ import annotations

import hashlib
import platform
import re
from dataclasses import dataclass, field

from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Package

# PEP 508 names and PEP 440 versions, without URLs, markers and paths.
_PYPI_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?\Z")
_PYPI_EXTRAS = r"(?:\[[A-Za-z0-9._,-]{1,100}\])?"
_PYPI_PINNED = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?" + _PYPI_EXTRAS + r"\Z")
_CLAUSE = r"(?:==|!=|<=|>=|~=|<|>)[A-Za-z0-9][A-Za-z0-9.!+*_-]{0,60}"
_REQUIREMENT = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?"
    + _PYPI_EXTRAS
    + rf"(?:{_CLAUSE}(?:,{_CLAUSE}){{0,9}})?\Z"
)
_PYPI_VERSION = re.compile(r"[0-9][A-Za-z0-9.!+_-]{0,60}\Z")
_NPM_NAME = re.compile(r"(?:@[a-z0-9~-][a-z0-9._~-]{0,100}/)?[a-z0-9~][a-z0-9._~-]{0,100}\Z")
_NPM_VERSION = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}(?:[-+][A-Za-z0-9.+-]{1,60})?\Z")
_EXECUTABLE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,100}\Z")
_PYTHON = re.compile(r"3\.[0-9]{1,2}\Z")
_MACHINES = {"x86_64": "x64", "aarch64": "arm64"}
_MOST_EXTRAS = 20


@dataclass(frozen=True, slots=True)
class Target:
    """What a package will run on: Linux with glibc."""

    python: str | None = None
    """`3.12`; None is the running interpreter on this machine."""
    machine: str = field(default_factory=platform.machine)
    """`x86_64` or `aarch64`."""
    glibc: tuple[int, int] = (2, 36)
    """Used with a named Python only; 2.36 is Debian 12's."""

    def pip_options(self) -> list[str]:
        """Give pip's options that choose wheels for this target."""
        if self.python is None:
            return []
        if not _PYTHON.match(self.python) or self.machine not in _MACHINES:
            raise RuntimeFailure(f"no packages can be chosen for python {self.python} on {self.machine}")
        major, newest = self.glibc
        names = [f"manylinux_{major}_{minor}" for minor in range(newest, 4, -1)]
        names += ["manylinux2014", "manylinux2010", "manylinux1", "linux"]
        platforms = [word for name in names for word in ("--platform", f"{name}_{self.machine}")]
        return ["--implementation", "cp", "--python-version", self.python, *platforms]

    def npm_options(self) -> list[str]:
        """Give npm's options that choose optional binaries for this target."""
        if self.machine not in _MACHINES:
            raise RuntimeFailure(f"no packages can be chosen for {self.machine}")
        return ["--os=linux", f"--cpu={_MACHINES[self.machine]}", "--libc=glibc"]


def check(package: Package) -> None:
    """See that nothing in `package` can be taken for an option, a path, a URL or a marker.

    Raises:
        RuntimeFailure: something can; says which.
    """
    if package.index == "pypi":
        name, version, extra = _PYPI_PINNED, _PYPI_VERSION, _REQUIREMENT
    elif package.index == "npm":
        name, version, extra = _NPM_NAME, _NPM_VERSION, None
    else:
        raise RuntimeFailure(f"there is no package index {package.index!r:.50}: pypi and npm are known")
    if not name.match(package.name):
        raise RuntimeFailure(f"{package.name!r:.120} is no {package.index} package's name")
    if not version.match(package.version):
        raise RuntimeFailure(f"{package.version!r:.80} is no exact version of {package.name}")
    if package.extras and extra is None:
        raise RuntimeFailure(f"{package.name}: `with` is for pypi packages only")
    if len(package.extras) > _MOST_EXTRAS:
        raise RuntimeFailure(f"{package.name}: more than {_MOST_EXTRAS} further requirements")
    for requirement in package.extras:
        if extra is None or not extra.match(requirement.replace(" ", "")):
            raise RuntimeFailure(f"{requirement!r:.120} is no requirement such as `mcp<2`")
    if package.executable is not None and not _EXECUTABLE.match(package.executable):
        raise RuntimeFailure(f"{package.executable!r:.120} is no program's name")


def slug(package: Package, target: Target) -> str:
    """Give a directory's name that differs wherever what is fetched may differ."""
    asked = repr((package.index, package.name, package.version, package.extras, target))
    short = re.sub(r"[^A-Za-z0-9]+", "-", f"{package.name}-{package.version}").strip("-")[:60]
    return f"{package.index}-{short}-{hashlib.sha256(asked.encode()).hexdigest()[:12]}"


def normal(name: str) -> str:
    """Give a Python package's name in the one form that indexes compare (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name.partition("[")[0]).lower()
