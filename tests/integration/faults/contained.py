"""Test servers in containers, and what an engine says of a gateway's containers."""

from __future__ import annotations

import asyncio
import functools
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.integration.docker.base import python_base
from tests.integration.gateway.gateway import Gateway
from tests.integration.real.images import docker
from tests.servers import launch

SERVERS = Path(launch.__file__).parent
HERE = Path(__file__).parent / "servers"
Json = dict[str, Any]


@functools.cache
def image() -> str:
    """Give the name of an image with Python; made where it cannot be pulled."""
    with ThreadPoolExecutor(1) as thread:  # a test's own loop may be running in this one
        return thread.submit(lambda: asyncio.run(python_base())).result()


def contained(name: str, *arguments: str, **settings: Any) -> Json:
    """Declare one of the test servers, in a container of its own."""
    own = (HERE / f"{name}.py").is_file()
    mounts = [{"source": str(SERVERS), "target": "/servers"}]
    if own:
        mounts.append({"source": str(HERE), "target": "/own"})
    script = f"/own/{name}.py" if own else f"/servers/{name}.py"
    return {
        "image": image(),
        "entrypoint": ["python3", "-u"],
        "args": [script, *arguments],
        "mounts": mounts,
        "env": {"PYTHONPATH": "/servers", "PYTHONDONTWRITEBYTECODE": "1"},
        **settings,
    }


def containers(gateway: Gateway, *options: str) -> list[str]:
    """Give the names of this gateway's containers, running or not."""
    instance = (gateway.state / "instance").read_text().strip()
    label = f"label=dev.tidegate.instance={instance}"
    said = docker(*options, "ps", "--all", "--format", "{{.Names}}", "--filter", label)
    return sorted(said.split())


def inspect(name: str, *options: str) -> Json:
    """Give what the engine says of a container."""
    found: list[Json] = json.loads(docker(*options, "inspect", name))
    return found[0]


def the_workload(gateway: Gateway, server: str) -> str:
    """Give the id of a server's only workload."""
    (only,) = gateway.server(server)["workloads"]
    return str(only["id"])
