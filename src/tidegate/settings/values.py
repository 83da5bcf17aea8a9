"""Types of single values in the settings file: sizes, durations, paths, addresses, secrets.

Each turns what stands in the file into what the gateway uses, or raises ValueError with one line
that never holds the value of a secret.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, ValidationInfo, WithJsonSchema

from tidegate.domain.durations import DURATION, seconds
from tidegate.domain.server import Secret
from tidegate.settings.references import Known, expand, holds_reference, unescaped

_UNITS = {"B": 1}
for _power, _letter in enumerate("KMGT", start=1):
    _UNITS[f"{_letter}iB"] = 1024**_power
    _UNITS[f"{_letter}B"] = 1000**_power
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,3})?) ?([KMGT]?i?B)")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_LISTEN = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^:\[\]]+)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Around:
    """What values are understood against: the file's directory, the environment, the secrets kept elsewhere."""

    base: Path
    environment: Mapping[str, str]
    known: Known = field(default_factory=Known)

    def secret(self, text: str) -> str | Secret:
        """Replace the references in a text: for the settings of extensions, which know no more of all this.

        Raises:
            ValueError: a reference is malformed, or what it names cannot be had.
        """
        return expand(text, self.base, self.environment, self.known)


@dataclass(frozen=True, slots=True)
class Listen:
    """Host (an address without brackets, or a name) and port; port 0 lets the system choose."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Tell whether a host is certain to be this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _size(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('should be a size: a number of bytes, or text such as "256MiB"')
    return int(float(match[1]) * _UNITS[match[2]])


def parse_duration(text: str) -> float:
    """Read a duration such as `90d` as seconds.

    Raises:
        ValueError: it is none.
    """
    return seconds(text)


def _resolve(value: Path, info: ValidationInfo) -> Path:
    around = info.context
    expanded = value.expanduser() if str(value).startswith("~/") else value
    return (around.base / expanded) if isinstance(around, Around) else expanded


def _path_text(value: object) -> object:
    if value == "":
        raise ValueError("should be a path, is empty")
    return value


def listen_at(value: object) -> Listen:
    """Read `host:port`.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, Listen):
        return value
    match = _LISTEN.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("should be host:port, such as 127.0.0.1:8080 or [::1]:8080")
    host, port = match["six"] or match["host"], int(match["port"])
    if match["six"] is not None:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError("has no IPv6 address between its brackets") from None
    elif not _HOST.fullmatch(host):
        raise ValueError("has no host name or address before its port")
    if port > 65535:
        raise ValueError("has a port over 65535")
    return Listen(host, port)


def split_url(value: str, schemes: tuple[str, ...], *, path: bool = True) -> SplitResult:
    """Split an absolute URL without user, fragment or (unless `path`) path and query.

    Raises:
        ValueError: it is none; the message does not hold it.
    """
    try:
        parts = urlsplit(value)
        port_ok = parts.port is None or parts.port > 0
    except ValueError:
        raise ValueError("is not a URL") from None
    if parts.scheme not in schemes or not parts.hostname or not port_ok or re.search(r"[\s\\]", value):
        raise ValueError(f"should be a URL that begins with {' or '.join(s + '://' for s in schemes)}")
    if parts.fragment:
        raise ValueError("should have no #fragment")
    if not path and (parts.path not in ("", "/") or parts.query):
        raise ValueError("should have nothing after the host and port")
    return parts


def _server_url(value: str) -> str:
    parts = split_url(value, ("http", "https"))
    if parts.username is not None or parts.password is not None:
        raise ValueError("should hold no user or password; give them in headers, from ${env:…} or ${file:…}")
    return value


def _public_url(value: str) -> str:
    parts = split_url(value, ("http", "https"))
    if parts.username is not None or parts.query:
        raise ValueError("should have no user and no ?query")
    return value.rstrip("/")


def _proxy_url(value: str) -> str:
    split_url(value, ("http", "https"), path=False)
    return value


def _origin(value: str) -> str:
    parts = split_url(value, ("http", "https"), path=False)
    if parts.username is not None or value.endswith("/"):
        raise ValueError("should be an origin: scheme://host or scheme://host:port")
    return value.lower()


def _host_name(value: str) -> str:
    name, _, port = value.rpartition(":") if re.search(r":[0-9]{1,5}$", value) else (value, "", "")
    bare = name[1:-1] if name.startswith("[") and name.endswith("]") else name
    if not (_HOST.fullmatch(bare) or (":" in bare and _is_address(bare))) or (port and int(port) > 65535):
        raise ValueError("should be a host name or address, with or without :port")
    return value.lower()


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _network(value: object) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError("should be an address or network, such as 10.0.0.0/8") from None


def _secret_text(value: object, info: ValidationInfo) -> str | Secret:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str):
        raise ValueError("should be text; write it in quotes")  # noqa: TRY004 - pydantic collects ValueErrors
    around = info.context
    if not isinstance(around, Around):
        return value
    return around.secret(value)


def _no_reference(value: str) -> str:
    if holds_reference(value):
        raise ValueError(
            "holds a ${…} reference, which is taken in env, secrets, headers and client_secret only"
        )
    return unescaped(value)


def _schema(**schema: object) -> WithJsonSchema:
    return WithJsonSchema(cast("dict[str, Any]", schema))


Size = Annotated[
    int,
    BeforeValidator(_size),
    Field(ge=1, le=2**50),
    _schema(
        anyOf=[{"type": "integer", "minimum": 1}, {"type": "string", "pattern": f"^{_SIZE.pattern}$"}],
        format="size",
    ),
]
SizeOrNothing = Annotated[
    int,
    BeforeValidator(_size),
    Field(ge=0, le=2**50),
    _schema(
        anyOf=[{"type": "integer", "minimum": 0}, {"type": "string", "pattern": f"^{_SIZE.pattern}$"}],
        format="size",
    ),
]
Seconds = Annotated[
    float,
    BeforeValidator(seconds),
    Field(gt=0, le=366 * 86400),
    _schema(
        anyOf=[
            {"type": "number", "exclusiveMinimum": 0},
            {"type": "string", "pattern": f"^{DURATION.pattern}$"},
        ],
        format="duration",
    ),
]
SecondsOrNever = Annotated[
    float,
    BeforeValidator(seconds),
    Field(ge=0, le=366 * 86400),
    _schema(
        anyOf=[{"type": "number", "minimum": 0}, {"type": "string", "pattern": f"^{DURATION.pattern}$"}],
        format="duration",
    ),
]
Text = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_no_reference)]
FilePath = Annotated[
    Path,
    BeforeValidator(_path_text),
    AfterValidator(_resolve),
    _schema(type="string", minLength=1, format="path"),
]
ListenAt = Annotated[Listen, PlainValidator(listen_at), _schema(type="string", format="host-port")]
ServerUrl = Annotated[
    Text, AfterValidator(_server_url), _schema(type="string", pattern="^https?://", format="uri")
]
PublicUrl = Annotated[
    Text, AfterValidator(_public_url), _schema(type="string", pattern="^https?://", format="uri")
]
ProxyUrl = Annotated[
    Text, AfterValidator(_proxy_url), _schema(type="string", pattern="^https?://", format="uri")
]
Origin = Annotated[
    Text, AfterValidator(_origin), _schema(type="string", pattern="^https?://", format="origin")
]
HostName = Annotated[Text, AfterValidator(_host_name), _schema(type="string", format="host")]
AddressRange = Annotated[
    ipaddress.IPv4Network | ipaddress.IPv6Network,
    PlainValidator(_network),
    _schema(type="string", format="network"),
]
SecretText = Annotated[
    str | Secret, PlainValidator(_secret_text), _schema(type="string", format="text-with-references")
]
