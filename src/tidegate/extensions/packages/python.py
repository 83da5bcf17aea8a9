"""Python: a pinned package from PyPI, with all it depends on, as a wheelhouse with a hash lock.

Only wheels are taken, so no package's code runs while it is fetched.
"""

from __future__ import annotations

import configparser
import hashlib
import re
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Package
from tidegate.extensions.packages.names import Target, normal
from tidegate.extensions.packages.wheel import check_wheel

WHEELS = "wheels"
LOCK = "requirements.txt"
_WHEEL = re.compile(r"([A-Za-z0-9._]+)-([A-Za-z0-9._!+]+)(?:-[0-9][^-]*)?-[^-]+-[^-]+-[^-]+\.whl\Z")
_PIECE = 1024 * 1024


def pip() -> list[str]:
    """Give the argv that runs pip with this interpreter.

    Raises:
        RuntimeFailure: there is none.
    """
    if find_spec("pip") is not None:
        return [sys.executable, "-I", "-m", "pip"]
    bundled = find_spec("ensurepip")
    if bundled is not None and bundled.origin is not None:
        for wheel in sorted((Path(bundled.origin).parent / "_bundled").glob("pip-*.whl")):
            return [sys.executable, "-I", f"{wheel}/pip"]
    raise RuntimeFailure(f"{sys.executable} has no pip: install it (Debian: python3-pip), or run by image")


def download(package: Package, target: Target, directory: Path) -> list[str]:
    """Give the argv that downloads `package` and its dependencies into `directory`."""
    return [
        *pip(),
        "download",
        "--no-input",
        "--no-color",
        "--progress-bar=off",
        "--retries=2",
        "--only-binary=:all:",
        *target.pip_options(),
        f"--dest={directory / WHEELS}",
        "--",
        f"{package.name}=={package.version}",
        *(requirement.replace(" ", "") for requirement in package.extras),
    ]


def write_lock(directory: Path) -> None:
    """Write the lock of the wheels that are there: `name==version --hash=sha256:…`, in order."""
    (directory / LOCK).write_text(_lock_of(directory), encoding="ascii")


def holds(directory: Path) -> bool:
    """Whether the wheels are exactly those of the lock."""
    try:
        return (directory / LOCK).read_text(encoding="ascii") == _lock_of(directory)
    except (OSError, UnicodeDecodeError, RuntimeFailure):
        return False


def _lock_of(directory: Path) -> str:
    lines: list[str] = []
    for file in sorted((directory / WHEELS).iterdir()):
        named = _WHEEL.match(file.name)
        if named is None:
            raise RuntimeFailure(f"{file.name!r:.120} is no wheel")
        check_wheel(file)
        lines.append(f"{normal(named[1])}=={named[2].replace('_', '-')} --hash=sha256:{_sha256(file)}\n")
    if not lines:
        raise RuntimeFailure("nothing was fetched")
    return "".join(lines)


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def executable(package: Package, directory: Path) -> str:
    """Give the console script to run: the one named, the one named like the package, or the only one.

    Raises:
        RuntimeFailure: there is none, or several to choose from.
    """
    wanted = normal(package.name)
    for file in sorted((directory / WHEELS).iterdir()):
        named = _WHEEL.match(file.name)
        if named is not None and normal(named[1]) == wanted:
            return _choose(package, _scripts(file))
    raise RuntimeFailure(f"{package.name} is not among what was fetched")


def _choose(package: Package, scripts: list[str]) -> str:
    if package.executable is not None:
        if package.executable in scripts:
            return package.executable
    else:
        alike = [script for script in scripts if normal(script) == normal(package.name)]
        if alike or len(scripts) == 1:
            return (alike or scripts)[0]
    known = ", ".join(scripts[:10]) or "none"
    asked = package.executable or "named like it"
    raise RuntimeFailure(f"{package.name} has no program {asked}; set `executable`: {known}")


def _scripts(wheel: Path) -> list[str]:
    try:
        with zipfile.ZipFile(wheel) as opened:
            infos = [i for i in opened.infolist() if i.filename.endswith(".dist-info/entry_points.txt")]
            if not infos or infos[0].file_size > _PIECE:
                return []
            text = opened.read(infos[0]).decode(errors="replace")
    except (OSError, zipfile.BadZipFile) as error:
        raise RuntimeFailure(f"{wheel.name} cannot be read: {error}") from error
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names are case-sensitive
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise RuntimeFailure(f"{wheel.name} has entry points that cannot be read") from error
    return sorted(parser["console_scripts"]) if parser.has_section("console_scripts") else []
