"""What a server sees from inside its sandbox: what it was declared, and nothing else of the host."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from tests.integration.process.bench import Benched
from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Limits, Mount, Network, Secret

READS = """
import json, os, sys
told = {}
for path in sys.argv[1:]:
    try:
        told[path] = os.listdir(path) if os.path.isdir(path) else len(open(path, "rb").read())
    except OSError as error:
        told[path] = type(error).__name__
print(json.dumps(told))
"""
WRITES = """
import json, os, sys
told = {}
for path in sys.argv[1:]:
    try:
        with open(os.path.join(path, "mark"), "w") as opened:
            opened.write("x")
        told[path] = "written"
    except OSError as error:
        told[path] = type(error).__name__
print(json.dumps(told))
"""
CONNECTS = """
import json, socket, sys
def attempt(family, address):
    try:
        with socket.socket(family, socket.SOCK_STREAM) as opened:
            opened.settimeout(3)
            opened.connect(address)
            return "connected"
    except OSError as error:
        return type(error).__name__
path, abstract, port = sys.argv[1:]
print(json.dumps({
    "path": attempt(socket.AF_UNIX, path),
    "docker": attempt(socket.AF_UNIX, "/var/run/docker.sock"),
    "abstract": attempt(socket.AF_UNIX, "\\0" + abstract),
    "tcp": attempt(socket.AF_INET, ("127.0.0.1", int(port))),
}))
"""
CALLS = """
import ctypes, fcntl, json, platform, socket
libc = ctypes.CDLL(None, use_errno=True)
names = {"x86_64": {"mount": 165, "unshare": 272, "ptrace": 101, "keyctl": 250, "bpf": 321, "clone3": 435,
    "io_uring_setup": 425, "perf_event_open": 298, "userfaultfd": 323, "setns": 308, "kexec_load": 246},
  "aarch64": {"mount": 40, "unshare": 97, "ptrace": 117, "keyctl": 219, "bpf": 280, "clone3": 435,
    "io_uring_setup": 425, "perf_event_open": 241, "userfaultfd": 282, "setns": 268, "kexec_load": 104}}
told = {}
for name, number in names[platform.machine()].items():
    ctypes.set_errno(0)
    told[name] = [libc.syscall(number, 0, 0, 0, 0, 0), ctypes.get_errno()]
try:
    socket.socket(40, socket.SOCK_STREAM)
    told["vsock"] = [0, 0]
except OSError as error:
    told["vsock"] = [-1, error.errno]
try:
    fcntl.ioctl(0, 0x5412, b"x")
    told["tiocsti"] = [0, 0]
except OSError as error:
    told["tiocsti"] = [-1, error.errno]
print(json.dumps(told))
"""
SELF = """
import json, os, socket
told = {"uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(), "env": dict(os.environ),
    "cwd": os.getcwd(), "processes": sorted(int(n) for n in os.listdir("/proc") if n.isdigit()),
    "status": dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines()),
    "interfaces": [name for _, name in socket.if_nameindex()], "host": socket.gethostname(),
    "fds": sorted(os.listdir("/proc/self/fd"))}
print(json.dumps(told))
"""
EPERM, ENOSYS, EAFNOSUPPORT = 1, 38, 97


async def test_a_server_reads_no_secret_of_the_host(bench: Benched, tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.write_text("secret")
    paths = ("/etc/shadow", "/root", "/home", "/run", "/var", "/var/run/docker.sock", "/proc/1/environ",
             str(private), str(bench.state), str(Path.home()))  # fmt: skip
    told = await bench.tell(READS, *paths)
    # A Python outside /usr is bound where it is, so that a way to it may stand in an otherwise empty home.
    interpreter = {part for part in Path(os.path.realpath(sys.executable)).parts if part != "/"}
    for path, seen in told.items():
        if isinstance(seen, list):
            assert set(seen) <= interpreter, path
        elif path == "/proc/1/environ" and bench.sandbox != "landlock":
            assert seen in ("PermissionError", 0) or isinstance(seen, int)
        else:
            assert seen in ("FileNotFoundError", "PermissionError"), path


async def test_what_a_server_has_of_etc_is_made_up_or_harmless(bench: Benched) -> None:
    if bench.sandbox == "landlock":
        pytest.skip("landlock leaves the host's paths")
    told = await bench.tell(READS, "/etc", "/etc/passwd")
    allowed = {"passwd", "group", "hosts", "nsswitch.conf", "ld.so.cache", "localtime"}
    assert set(told["/etc"]) <= allowed
    assert told["/etc/passwd"] < 100


async def test_a_server_reaches_no_socket_of_the_host(bench: Benched, tmp_path: Path) -> None:
    path, name = str(tmp_path / "engine.sock"), f"tidegate-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as two:
        one.bind(path)
        one.listen()
        two.bind("\0" + name)
        two.listen()
        with socket.create_server(("127.0.0.1", 0)) as three:
            told = await bench.tell(CONNECTS, path, name, str(three.getsockname()[1]))
    assert "connected" not in told.values()


async def test_a_declared_network_is_given(bench: Benched, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        told = await bench.tell(CONNECTS, "/x", "x", str(listener.getsockname()[1]), network=Network.OPEN)
    assert told["tcp"] == "connected"
    assert told["docker"] != "connected"


async def test_a_server_writes_nowhere_but_in_its_temporary_directory(bench: Benched) -> None:
    tried = ("/", "/usr", "/usr/local/lib", "/etc", "/dev", "/opt", "/proc", "/proc/sys/kernel", "/var/tmp")
    told = await bench.tell(WRITES, *tried, ".")
    assert told.pop(".") == "written"
    assert "written" not in told.values()


async def test_the_temporary_directory_is_bounded_and_gone_with_the_server(bench: Benched) -> None:
    program = """
import json, os, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
size = 0
try:
    with open("big", "wb", 0) as opened:
        for _ in range(64):
            size += opened.write(b"x" * 1048576)
except OSError as error:
    print(json.dumps({"size": size, "error": error.errno}))
"""
    told = await bench.tell(program, limits=Limits(tmp=8 * 1024 * 1024))
    assert told["size"] <= 8 * 1024 * 1024
    assert [path.name for path in (bench.state / "runtime" / "process").glob("tg-*")] == []


async def test_a_server_is_alone_and_without_rights(bench: Benched, monkeypatch: pytest.MonkeyPatch) -> None:
    if bench.sandbox == "landlock":
        pytest.skip("landlock leaves the host's processes in place, and /proc unread")
    monkeypatch.setenv("GATEWAY_SECRET", "not for servers")
    told = await bench.tell(SELF, env={"KEY": Secret("s3cret"), "MODE": "fast"})
    own = 65532 if os.geteuid() == 0 else os.geteuid()
    assert told["uid"] == own
    assert set(told["groups"]) <= {told["gid"], 65534}
    assert len(told["processes"]) <= 3
    assert told["processes"][0] == 1
    assert told["interfaces"] == ["lo"]
    assert told["host"] == "sandbox"
    status = {name: value.strip() for name, value in told["status"].items()}
    assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert told["env"].pop("KEY") == "s3cret"
    assert set(told["env"]) <= {"PATH", "HOME", "TMPDIR", "LANG", "MODE", "PWD", "LC_CTYPE"}
    # Standard input, output and error, and the one that lists them.
    assert len(told["fds"]) == 4


async def test_calls_that_lead_out_of_a_sandbox_are_refused(bench: Benched) -> None:
    told = await bench.tell(CALLS)
    assert told.pop("clone3") == [-1, ENOSYS]
    assert told.pop("vsock") == [-1, EAFNOSUPPORT]
    assert set(map(tuple, told.values())) == {(-1, EPERM)}


async def test_a_server_cannot_signal_the_gateway(bench: Benched) -> None:
    program = """
import json, os, sys
try:
    os.kill(int(sys.argv[1]), 0)
    print(json.dumps({"kill": "reached"}))
except OSError as error:
    print(json.dumps({"kill": type(error).__name__}))
"""
    told = await bench.tell(program, str(os.getpid()))
    assert told["kill"] in ("ProcessLookupError", "PermissionError")


async def test_no_secret_is_in_an_argv_while_a_server_runs(bench: Benched) -> None:
    program = "import sys; print('up', flush=True); sys.stdin.read()"
    running, heard = await bench.start(bench.spec(program, env={"KEY": Secret("needle-4711")}))
    await heard.until(lambda h: h.out == b"up\n")
    lines: list[bytes] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes())
        except OSError:
            continue
    await bench.runtime.stop(running.identity, 1)
    assert not [line for line in lines if b"needle-4711" in line]


async def test_a_mount_is_read_only_unless_said(bench: Benched, tmp_path: Path) -> None:
    data, work = tmp_path / "data", bench.writable(tmp_path / "work")
    data.mkdir(mode=0o755)
    (data / "rows").write_text("three\n")
    if os.geteuid() == 0:
        os.chown(data, 65532, 65532)
    mounts = (Mount(str(data), str(data)), Mount(str(work), str(work), writable=True))
    told = await bench.tell(WRITES, str(data), str(work), mounts=mounts)
    assert told[str(data)] in ("PermissionError", "OSError")
    assert told[str(work)] == "written"
    assert (work / "mark").read_text() == "x"
    seen = await bench.tell(READS, str(data / "rows"), mounts=mounts)
    assert seen == {str(data / "rows"): 6}


@pytest.mark.root
async def test_a_mount_that_the_servers_user_cannot_use_is_refused_by_name(
    bench: Benched, tmp_path: Path
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for writable, said in ((False, "read"), (True, "read")):
        spec = bench.spec("pass", mounts=(Mount(str(closed), "/data", writable=writable),))
        with pytest.raises(RuntimeFailure, match=rf"{closed}.*cannot be {said}.*65532"):
            await bench.start(spec)
    closed.chmod(0o755)
    spec = bench.spec("pass", mounts=(Mount(str(closed), "/data", writable=True),))
    with pytest.raises(RuntimeFailure, match=rf"{closed}.*cannot be written by uid 65532"):
        await bench.start(spec)
    assert await bench.runtime.observe() == []


async def test_a_program_that_is_not_there_is_refused_before_it_is_started(bench: Benched) -> None:
    from dataclasses import replace

    from tidegate.domain.server import Command

    spec = replace(bench.spec("pass"), launch=Command(("/usr/bin/no-such-program",)))
    with pytest.raises(RuntimeFailure, match="/usr/bin/no-such-program does not exist"):
        await bench.start(spec)
