"""What a workload sees of its confinement, from the inside."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.integration.docker.base import engine, python_base, python_spec
from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Limits, Mount, Secret
from tidegate.extensions.runtimes.docker.context import Context
from tidegate.testing.runtime_contract import Bench, Heard, nothing_said

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

LOOK = """
import json, os, resource, socket, subprocess
def attempt(action):
    try:
        action()
    except OSError as error:
        return error.strerror
    return "done"
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
def run_from_tmp():
    open("/tmp/program", "w").write("#!/bin/true")
    os.chmod("/tmp/program", 0o755)
    os.execv("/tmp/program", ["program"])
def reach_out():
    socket.create_connection(("192.0.2.1", 80), 2)
print(json.dumps({
    "uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(),
    "capabilities": [status[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
    "no_new_privileges": status["NoNewPrivs"].strip(), "seccomp": status["Seccomp"].strip(),
    "write_root": attempt(lambda: open("/made", "w")), "write_opt": attempt(lambda: os.mkdir("/opt/made")),
    "write_tmp": attempt(lambda: open("/tmp/made", "w")), "run_from_tmp": attempt(run_from_tmp),
    "interfaces": [name for _, name in socket.if_nameindex()], "reach_out": attempt(reach_out),
    "mount": attempt(lambda: os.chroot("/tmp")), "devices": sorted(os.listdir("/dev")),
    "files": resource.getrlimit(resource.RLIMIT_NOFILE), "core": resource.getrlimit(resource.RLIMIT_CORE),
    "home": os.environ["HOME"], "said": os.environ.get("SAID"),
    "parent": open("/proc/1/comm").read().strip(), "processes": sum(p.isdigit() for p in os.listdir("/proc")),
    "write_proc": attempt(lambda: open("/proc/sys/kernel/hostname", "w").write("x")),
}), flush=True)
import sys
sys.stdin.read()
"""


async def look(bench: Bench, **changes: object) -> dict[str, Any]:
    spec = python_spec(await python_base(), LOOK, **changes)
    heard = Heard()
    await bench.runtime.prepare(spec, nothing_said)
    await bench.runtime.start(spec, bench.identity(spec), heard)
    await heard.until(lambda h: h.out.endswith(b"\n"))
    return json.loads(heard.out)


async def test_a_workload_has_no_rights_no_network_and_nowhere_to_write_but_its_tmp(bench: Bench) -> None:
    seen = await look(bench, env={"SAID": Secret("quiet")})
    assert (seen["uid"], seen["gid"], seen["groups"]) == (65532, 65532, [65532])
    assert set(seen["capabilities"]) == {"0000000000000000"}
    assert (seen["no_new_privileges"], seen["seccomp"]) == ("1", "2")
    assert seen["write_root"] == "Read-only file system"
    assert seen["write_opt"] in ("Read-only file system", "Permission denied")
    assert seen["write_proc"] in ("Read-only file system", "Permission denied")
    assert seen["write_tmp"] == "done"
    assert seen["run_from_tmp"] == "Permission denied"
    assert seen["interfaces"] == ["lo"]
    assert seen["reach_out"] == "Network is unreachable"
    assert seen["mount"] == "Operation not permitted"
    assert not {"sda", "vda", "kvm", "mem", "kmsg"} & set(seen["devices"])
    assert (seen["files"], seen["core"]) == ([4096, 4096], [0, 0])
    assert (seen["home"], seen["said"]) == ("/tmp", "quiet")
    assert seen["parent"] in ("docker-init", "tini")
    assert seen["processes"] == 2


async def test_a_user_that_is_named_holds(bench: Bench) -> None:
    seen = await look(bench, user="1234:2345")
    assert (seen["uid"], seen["gid"], seen["groups"]) == (1234, 2345, [2345])


async def test_a_workload_cannot_have_more_processes_than_its_limit(bench: Bench) -> None:
    program = (
        "import os, sys\n"
        "made = 0\n"
        "try:\n"
        "    for _ in range(100):\n"
        "        if os.fork() == 0:\n"
        "            import time; time.sleep(60)\n"
        "        made += 1\n"
        "except OSError as error:\n"
        "    print(made, error.strerror, flush=True)\n"
        "sys.stdin.read()\n"
    )
    spec, heard = python_spec(await python_base(), program, limits=Limits(pids=20)), Heard()
    await bench.runtime.start(spec, bench.identity(spec), heard)
    await heard.until(lambda h: h.out.endswith(b"\n"))
    made, _, why = heard.out.decode().strip().partition(" ")
    assert int(made) < 20
    assert why == "Resource temporarily unavailable"


async def test_a_workload_over_its_memory_is_killed_and_the_reason_says_so(bench: Bench) -> None:
    program = "import sys\nsys.stdin.readline()\nkept = [bytes(1 << 20) + b'x' for _ in range(400)]\nprint('kept')\n"
    spec, heard = python_spec(await python_base(), program, limits=Limits(memory=64 << 20)), Heard()
    running = await bench.runtime.start(spec, bench.identity(spec), heard)
    running.stream.write(b"go\n")
    await heard.until(lambda h: bool(h.reasons))
    assert heard.reasons == ["killed: out of memory (limit 64 MiB)"]
    assert heard.out == b""


async def test_tmp_is_no_larger_than_its_limit(bench: Bench) -> None:
    program = (
        "try:\n"
        "    open('/tmp/large', 'wb').write(bytes(9 << 20))\n"
        "except OSError as error:\n"
        "    print(error.strerror, flush=True)\n"
    )
    spec, heard = python_spec(await python_base(), program, limits=Limits(tmp=8 << 20)), Heard()
    await bench.runtime.start(spec, bench.identity(spec), heard)
    await heard.until(lambda h: h.out.endswith(b"\n"))
    assert heard.out == b"No space left on device\n"


async def test_a_mount_is_read_only_unless_it_is_declared_writable(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o777)
    (tmp_path / "data").chmod(0o777)
    (tmp_path / "data" / "known").write_text("known")
    for directory in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        directory.chmod(0o755)
    program = (
        "print(open('/data/known').read(), flush=True)\n"
        "try:\n"
        "    open('/data/made', 'w').write('x'); print('wrote', flush=True)\n"
        "except OSError as error:\n"
        "    print(error.strerror, flush=True)\n"
    )
    spec = python_spec(await python_base(), program, mounts=(Mount(str(tmp_path / "data"), "/data"),))
    heard, writing = Heard(), Heard()
    await bench.runtime.start(spec, bench.identity(spec), heard)
    await heard.until(lambda h: h.out.count(b"\n") == 2)
    assert heard.out == b"known\nRead-only file system\n"
    spec = replace(spec, mounts=(Mount(str(tmp_path / "data"), "/data", writable=True),))
    await bench.runtime.start(spec, bench.identity(spec), writing)
    await writing.until(lambda h: h.out.count(b"\n") == 2)
    assert writing.out == b"known\nwrote\n"


@pytest.mark.parametrize("source", ["/", "/var/run/docker.sock", "/proc", "/etc", "/root"])
async def test_what_would_hand_over_the_host_is_not_mounted(bench: Bench, source: str) -> None:
    if not Path(source).exists():
        pytest.skip(f"{source} is not on this machine")
    spec = python_spec(await python_base(), LOOK, mounts=(Mount(source, "/data"),))
    identity = bench.identity(spec)
    with pytest.raises(RuntimeFailure, match="may not be mounted"):
        await bench.runtime.start(spec, identity, Heard())
    assert await bench.found(identity) is None


async def test_a_volume_of_an_image_is_bounded_memory_and_nothing_is_left_of_it(
    bench: Bench, tmp_path: Path
) -> None:
    tag = f"tidegate-test-volume:{bench.instance}"
    with Context(tmp_path / "context.tar") as context:
        context.dockerfile([f"FROM {await python_base()}", "VOLUME /kept"])
    program = (
        "print([line.split()[2:4] for line in open('/proc/mounts') if line.split()[1] == '/kept'], flush=True)\n"
        "open('/kept/made', 'w').write('x'); print('wrote', flush=True)\n"
    )
    heard = Heard()
    async with engine() as opened:
        try:
            with (tmp_path / "context.tar").open("rb") as written:
                await opened.build(tag, {}, written, lambda _: None)
            spec = python_spec(tag, program)
            running = await bench.runtime.start(spec, bench.identity(spec), heard)
            await heard.until(lambda h: h.out.count(b"\n") == 2)
            mounted = (await opened.inspect(running.identity.id))["Mounts"]
            await bench.runtime.stop(running.identity, 0)
        finally:
            await opened._docker.images.delete(tag, force=True)
    kind, options = json.loads(heard.out.splitlines()[0].replace(b"'", b'"'))[0]
    assert kind == "tmpfs"
    assert {"noexec", "nosuid", "nodev", "size=65536k"} <= set(options.split(","))
    assert mounted == []
