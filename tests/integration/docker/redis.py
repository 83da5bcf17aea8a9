"""An image with Redis from Debian's packages, on the Python base: a real database beside a server. Made once."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.integration.docker.base import engine, python_base
from tidegate.extensions.runtimes.docker.context import Context

TAG = "tidegate-tests/redis:bookworm-1"
_PACKAGES = (
    "redis-server",
    "redis-tools",
    "libatomic1",
    "libhiredis0.14",
    "libjemalloc2",
    "liblua5.1-0",
    "liblzf1",
    "libssl3",
    "lua-bitop",
    "lua-cjson",
)


async def redis_image() -> str:
    """Give the image's name; skip where its packages cannot be had."""
    async with engine() as opened:
        if await opened.image(TAG) is not None:
            return TAG
        base = await python_base()
        with tempfile.TemporaryDirectory() as place:
            await asyncio.to_thread(_unpack, Path(place))
            with Context(Path(place, "context.tar")) as context:
                context.dockerfile([f"FROM {base}", "COPY root/usr /usr/", 'CMD ["redis-server"]'])
                context.tree("root", Path(place, "root"))
            with Path(place, "context.tar").open("rb") as written:
                await opened.build(TAG, {}, written, lambda _: None)
    return TAG


def _unpack(place: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        pytest.skip("apt-get and dpkg-deb are needed to fetch Redis from Debian's packages")
    # apt drops root for the download, where it may; then it must be able to write here.
    place.chmod(0o777)
    done = subprocess.run(
        ["apt-get", "-q", "download", *_PACKAGES],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"Redis cannot be fetched from Debian's packages: {done.stderr.strip()[-200:]}")
    for package in place.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, place / "root"], check=True, timeout=60)
    (place / "root" / "usr").mkdir(exist_ok=True)
