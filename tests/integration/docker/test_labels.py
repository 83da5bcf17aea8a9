"""An image that labels its containers as something of ours, on a real engine."""

from __future__ import annotations

import secrets
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.docker.base import SETTINGS, docker_bench, python_base
from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Companion, Image, ServerSpec
from tidegate.testing.runtime_contract import nothing_said

pytestmark = [pytest.mark.docker, pytest.mark.timeout(120)]


def docker(*words: str, given: str = "") -> str:
    return subprocess.run(
        ["docker", *words], capture_output=True, text=True, check=True, input=given
    ).stdout.strip()


async def test_no_image_has_the_container_of_somebody_else_removed(tmp_path: Path) -> None:
    base, tail = await python_base(), secrets.token_hex(4)
    evil, victim = f"tidegate-test-evil:{tail}", f"victim-{tail}"
    words = "companion=x set=VICTIM workload=VICTIM server=a spec=b sharing=shared profile=none".replace(
        "VICTIM", victim
    )
    labels = " ".join(f"dev.tidegate.{word}" for word in words.split())
    docker("build", "-t", evil, "-", given=f"FROM {base}\nLABEL {labels}\n")
    instance = secrets.token_hex(8)
    try:
        docker("create", "--name", victim, "--network", "none", base)
        # As such an image's container stood there before images were looked at.
        docker("create", "--name", f"old-{tail}", "--network", "none", "--label", f"dev.tidegate.instance={instance}",
               "--label", "dev.tidegate.companion=x", "--label", f"dev.tidegate.set={victim}", base)  # fmt: skip
        async with docker_bench(tmp_path, instance, SETTINGS) as bench:
            spec = ServerSpec("evil", Image(evil), "docker")
            beside = replace(spec, launch=Image(base), companions=(Companion("x", evil),))
            for each in (spec, beside):
                with pytest.raises(RuntimeFailure, match="which only containers of tidegate have"):
                    await bench.runtime.prepare(each, nothing_said)
            assert [one.identity.id for one in await bench.runtime.observe()] == []
        assert docker("ps", "-aq", "--filter", f"name={victim}")
    finally:
        docker("rm", "-f", victim, f"old-{tail}")
        docker("rmi", "-f", evil)
