"""The gateway's own image: built as the Dockerfile says, run with the rights that deploy/compose.yaml gives."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import yaml

from tests.integration.docker.base import python_base

ROOT = Path(__file__).resolve().parents[3]
NAME = f"tidegate-image-test-{os.getpid()}"
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
# What python:3.12-slim has and a bootstrapped base has not: venv. And this machine's own authorities.
BASE = """\
FROM {base}
USER root
RUN python3 -c 'import ensurepip' || (apt-get update -q && apt-get install -y -q --no-install-recommends python3-venv)
COPY authorities /etc/ssl/certs/ca-certificates.crt
"""

pytestmark = [pytest.mark.docker, pytest.mark.network, pytest.mark.timeout(900)]


def docker(*words: str, check: bool = True, seconds: float = 600) -> str:
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    done = subprocess.run(
        ["docker", *words],
        capture_output=True,
        text=True,
        timeout=seconds,
        env=environment,
        stdin=subprocess.DEVNULL,
    )
    assert not check or done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout.strip()


@pytest.fixture
async def image(tmp_path: Path) -> AsyncIterator[str]:
    """The gateway's image, on a base that is had here."""
    if shutil.which("docker") is None:
        pytest.skip("an engine answers, but there is no docker command to build with")
    if not AUTHORITIES.is_file():
        pytest.skip(f"{AUTHORITIES} is not there, so the build cannot trust a package index")
    context = tmp_path / "base"
    context.mkdir()
    (context / "Dockerfile").write_text(BASE.format(base=await python_base()))
    shutil.copy(AUTHORITIES, context / "authorities")
    docker("build", "--network", "host", "--tag", f"{NAME}:base", str(context))
    docker(
        "build",
        "--network",
        "host",
        "--tag",
        f"{NAME}:gateway",
        "--build-arg",
        f"BASE={NAME}:base",
        str(ROOT),
    )
    yield f"{NAME}:gateway"
    docker("image", "rm", "--force", f"{NAME}:gateway", f"{NAME}:base", check=False)


def rights() -> list[str]:
    """Give what the Compose file gives the container, as options of `docker run`."""
    service = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text("utf-8"))["services"]["gateway"]
    options = ["--memory", service["mem_limit"], "--pids-limit", str(service["pids_limit"])]
    options += ["--read-only"] if service["read_only"] else []
    options += ["--init"] if service["init"] else []
    options += [word for path in service["tmpfs"] for word in ("--tmpfs", path)]
    options += [word for name in service["cap_drop"] for word in ("--cap-drop", name)]
    options += [word for option in service["security_opt"] for word in ("--security-opt", option)]
    return options


@pytest.fixture
def gateway(image: str, tmp_path: Path, free_port: int) -> Iterator[int]:
    """A running gateway; its port."""
    settings = tmp_path / "tidegate.yaml"
    text = (ROOT / "deploy" / "tidegate.yaml").read_text("utf-8")
    settings.write_text(text + "runtimes: {docker: {bootstrap: true}}\n")
    group = os.stat("/var/run/docker.sock").st_gid
    docker(
        "run", "--detach", "--name", NAME, "--group-add", str(group), *rights(),
        "--volume", f"{settings}:/etc/tidegate/tidegate.yaml:ro", "--volume", f"{NAME}:/var/lib/tidegate",
        "--volume", "/var/run/docker.sock:/var/run/docker.sock", "--publish", f"127.0.0.1:{free_port}:8080", image,
    )  # fmt: skip
    yield free_port
    docker("rm", "--force", "--volumes", NAME, check=False)
    docker("volume", "rm", "--force", NAME, check=False)


def inside(*words: str) -> str:
    return docker("exec", NAME, "tidegate", *words, seconds=60)


def test_a_gateway_in_a_container_starts_servers_beside_it_and_takes_them_along(gateway: int) -> None:
    deadline = time.monotonic() + 60
    while docker("inspect", NAME, "--format", "{{.State.Health.Status}}") != "healthy":
        assert time.monotonic() < deadline, docker("logs", NAME)
        time.sleep(0.2)
    assert docker("exec", NAME, "id", "-u") == "65532"

    found = re.search(r"tg_[\w-]+", inside("key", "create", "--name", "claims-agent"))
    assert found is not None
    call = [
        "call",
        "time__get_current_time",
        '{"timezone": "UTC"}',
        "--url",
        f"http://127.0.0.1:{gateway}/mcp",
    ]
    tidegate = [str(Path(sys.executable).with_name("tidegate")), *call]
    without = subprocess.run(tidegate, capture_output=True, text=True, timeout=60)
    assert (without.returncode, without.stdout) == (1, "")
    environment = {**os.environ, "TIDEGATE_KEY": found[0]}
    done = subprocess.run(tidegate, capture_output=True, text=True, timeout=300, env=environment)
    assert '"timezone": "UTC"' in done.stdout, done.stderr + docker("logs", NAME)

    instance = docker("exec", NAME, "cat", "/var/lib/tidegate/instance")
    mine = ["ps", "--all", "--quiet", "--filter", f"label=dev.tidegate.instance={instance}"]
    assert docker(*mine) != ""
    docker("stop", "--time", "45", NAME)
    assert docker("inspect", NAME, "--format", "{{.State.ExitCode}}") == "0"
    assert docker(*mine) == ""
