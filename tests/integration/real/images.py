"""The base image with Python and Git that `mcp-server-git` needs in a container, made once from Debian's packages."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

BASE = "tidegate-tests/base-git:bookworm-1"
"""The number behind counts the changes of this recipe."""


def docker(*arguments: str, seconds: float = 60) -> str:
    """Run the engine's own command line and give what it said."""
    done = subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"docker {arguments[0]}: {done.stderr.strip()[-500:]}")
    return done.stdout.strip()


def base_with_git() -> str:
    """Give the name of the image; make it where the engine does not have it.

    Raises:
        RuntimeError: it cannot be made; says why.
    """
    if docker("image", "ls", "--quiet", BASE):
        return BASE
    with tempfile.TemporaryDirectory(prefix="tidegate-base-") as place:
        root = Path(place, "root")
        include = "--include=python3,ca-certificates,git"
        bootstrap = ["unshare", "--mount", "--", "debootstrap", "--variant=minbase", include]
        done = subprocess.run(
            [*bootstrap, "bookworm", str(root), "http://deb.debian.org/debian"],
            cwd=place, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"debootstrap failed: {done.stdout.strip()[-500:]}")
        changes = ("-c", "ENV PYTHON_VERSION=3.11", "-c", "USER 65532:65532")
        packed = Path(place, "root.tar")
        subprocess.run(["tar", "-C", str(root), "-cf", str(packed), "."], check=True, timeout=120)
        docker("import", *changes, str(packed), BASE, seconds=300)
    return BASE
