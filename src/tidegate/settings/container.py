"""What a container's settings are made of, be it a server's own or one of its companions'.

Types of single keys and the limits. The models that use them are in `servers` and `data`.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, StrictInt

from tidegate.domain.server import Limits, Secret
from tidegate.settings.base import Model
from tidegate.settings.values import SecretText, Size, Text

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:-]{0,250}(@sha256:[0-9a-f]{64})?")
_USER = re.compile(r"[1-9][0-9]{0,8}(:[1-9][0-9]{0,8})?")
_PROVIDED = ("/", "/tmp", "/proc", "/sys", "/dev")  # noqa: S108 - names a place, makes no file
_LIMITS = Limits()


def matching(pattern: re.Pattern[str], message: str) -> AfterValidator:
    """Give a check that a text has a pattern, whole."""

    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(message)
        return value

    return AfterValidator(check)


def _target(value: str) -> str:
    parts = value.split("/")
    if parts[0] != "" or value in _PROVIDED or any(part in ("", ".", "..") for part in parts[1:]):
        raise ValueError(f"should be an absolute path inside the server, and none of {', '.join(_PROVIDED)}")
    if value.startswith(("/proc/", "/sys/", "/dev/")):
        raise ValueError("should not be under /proc, /sys or /dev")
    return value


def _environment(value: dict[str, str | Secret] | None) -> dict[str, str | Secret]:
    for name in value or {}:
        if not _VARIABLE.fullmatch(name):
            raise ValueError(
                "holds a name that is none for a variable; letters, digits and _ are, no digit first"
            )
    return value or {}


Target = Annotated[Text, AfterValidator(_target)]
Environment = Annotated[dict[str, SecretText], AfterValidator(_environment)]
ImageName = Annotated[Text, matching(_IMAGE, "should be the name of a container image")]
User = Annotated[
    Text,
    matching(_USER, 'should be "uid" or "uid:gid" in digits, and not 0: servers never run as root'),
]
Port = Annotated[StrictInt, Field(ge=1, le=65535)]


class ContainerLimits(Model):
    """What one container may use."""

    memory: Annotated[Size, Field(ge=4 * 1024 * 1024)] = _LIMITS.memory
    """Memory, swap included."""
    cpus: Annotated[float, Field(gt=0, le=1024, strict=True)] = _LIMITS.cpus
    """Processors; 0.5 is half of one."""
    pids: Annotated[StrictInt, Field(ge=1, le=100_000)] = _LIMITS.pids
    """Processes and threads."""
    tmp: Size = _LIMITS.tmp
    """Size of `/tmp`, which is in memory and empty at the start."""
    disk: Size | None = _LIMITS.disk
    """What its volumes may hold together. The root is read-only and `/tmp` in memory, so that nothing else of it is on the disk."""
    bandwidth: Annotated[Size, Field(ge=1024)] | None = _LIMITS.bandwidth
    """Bytes a second over its networks, in each direction. Where the runtime cannot hold it, the server is refused."""
