"""Which image the container series runs in: one with a Python that is on the engine already.

The upstream is one file, mounted; nothing is built and nothing pulled.
"""

from __future__ import annotations

import http.client
import json
import os
import socket

from bench import gateway
from bench.connection import Failed

SOCKET = "/var/run/docker.sock"
DEADLINE = 10.0


def declared() -> gateway.Settings:
    """Declare the stdio upstream in a container.

    Raises:
        Failed: no engine answers, or none of its images is known to have a Python.
    """
    return gateway.container(os.environ.get("BENCH_IMAGE") or python_image())


def python_image() -> str:
    """Find an image with a Python: one of tidegate's own, else one named python."""
    tags = sorted(
        tag for image in ask("/images/json") for tag in image.get("RepoTags") or () if "<none>" not in tag
    )
    for prefix in ("tidegate/base-python", "python:"):
        for tag in tags:
            if tag.startswith(prefix):
                return tag
    raise Failed("no image with a Python on the engine: name one with BENCH_IMAGE")


def ask(path: str) -> list[dict[str, list[str] | None]]:
    """Ask the engine.

    Raises:
        Failed: none answers.
    """
    connection = http.client.HTTPConnection("localhost", timeout=DEADLINE)
    try:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(DEADLINE)
        connection.sock.connect(SOCKET)
        connection.request("GET", path)
        response = connection.getresponse()
        if response.status != 200:
            raise Failed(f"the engine answered {response.status}")
        return json.loads(response.read())
    except OSError as problem:
        raise Failed(f"no Docker Engine answers at {SOCKET}: {problem.strerror or problem}") from None
    finally:
        connection.close()
