"""The container engine that the gateway would use: whether it answers, and whether it has a base image.

Speaks the Engine's API over its socket with the standard library. It must not start anything.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

from tidegate.extensions.runtimes.docker.settings import DockerSettings, locate_engine

ANSWER_SECONDS = 5.0
SILENCE_SECONDS = 120.0  # the longest time without a word of progress in a pull


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that was looked for. `about` says in a few words what was found."""

    url: str
    answers: bool
    about: str


def find() -> Engine:
    """Ask the engine that the gateway would use whether it is there."""
    url = locate_engine(DockerSettings())
    where = url.removeprefix("unix://")
    try:
        connection = _connect(url, ANSWER_SECONDS)
        connection.request("GET", "/version")
        answer = connection.getresponse()
        answer.read()
        connection.close()
    except ValueError:
        return Engine(url, False, f"the engine at {url} is of a kind the quickstart cannot ask")
    except PermissionError:
        return Engine(url, False, f"there is a container engine, but you may not open {where} (group docker)")
    except (FileNotFoundError, ConnectionRefusedError):
        return Engine(url, False, f"no container engine answers at {where}")
    except (OSError, http.client.HTTPException) as error:
        return Engine(url, False, f"the container engine at {where} does not answer ({type(error).__name__})")
    if answer.status != 200:
        return Engine(url, False, f"what answers at {where} is no container engine (status {answer.status})")
    return Engine(url, True, f"a container engine answers at {where}")


def has(url: str, image: str) -> bool:
    """Tell whether the engine has an image already."""
    try:
        connection = _connect(url, ANSWER_SECONDS)
        connection.request("GET", f"/images/{image}/json")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException, ValueError):
        return False


def bring(url: str, image: str, say: Callable[[str], None]) -> str | None:
    """See that the engine has an image, pulling it where it has not. Give the reason where it cannot be had."""
    name, _, tag = image.partition(":")
    if has(url, image):
        return None
    try:
        connection = _connect(url, SILENCE_SECONDS)
        say(f"Pulling {image}")
        connection.request("POST", f"/images/create?{urlencode({'fromImage': name, 'tag': tag})}")
        answer = connection.getresponse()
        for line in answer:
            told = json.loads(line)
            if answer.status != 200 or "error" in told:
                return _short(told.get("error") or told.get("message") or f"status {answer.status}")
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"the engine broke off ({type(error).__name__})"
    return None


def _connect(url: str, seconds: float) -> http.client.HTTPConnection:
    scheme, _, rest = url.partition("://")
    if scheme in ("tcp", "http"):
        return http.client.HTTPConnection(rest.rstrip("/"), timeout=seconds)
    if scheme != "unix":
        raise ValueError(url)
    connection = http.client.HTTPConnection("localhost", timeout=seconds)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(seconds)
    connection.sock.connect(rest)
    return connection


def _short(reason: str) -> str:
    """Give the last part of an engine's nested reason: `no such host`, `toomanyrequests`."""
    return " ".join(reason.split())[-80:].rpartition(": ")[2]
