"""Docker: workloads as hardened containers of a Docker Engine (20.10 and later).

In here: settings, the engine's API with deadlines, the attach, the hardening, images and their building,
networks, what an engine can enforce. Not in here: MCP, lines, restarts, and which workloads there ought
to be.
"""

from tidegate.extensions.runtimes.docker.extension import DOCKER
from tidegate.extensions.runtimes.docker.host import check
from tidegate.extensions.runtimes.docker.settings import DockerSettings

__all__ = ["DOCKER", "DockerSettings", "check"]
