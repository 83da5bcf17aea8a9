"""The state directory is private, has one owner, and knows its version."""

import asyncio
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tidegate.domain.errors import StateError
from tidegate.state_directory import VERSION, SharedDirectory, StateDirectory, control_socket

HOLD = """
import sys
from pathlib import Path
from tidegate.state_directory import StateDirectory
with StateDirectory.open(Path(sys.argv[1])):
    print("open", flush=True)
    sys.stdin.read()
"""


def test_a_new_directory_and_all_in_it_is_private(tmp_path: Path) -> None:
    with StateDirectory.open(tmp_path / "a" / "state") as directory:
        directory.key("journal")
        assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
        for path in directory.path.rglob("*"):
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_instance_and_keys_stay_the_same_and_differ_between_directories(tmp_path: Path) -> None:
    def facts(name: str) -> tuple[str, bytes, bytes]:
        with StateDirectory.open(tmp_path / name) as directory:
            return directory.instance, directory.key("journal"), directory.key("session-1")

    first, again, other = facts("a"), facts("a"), facts("b")
    assert first == again
    assert len(first[0]) == 16
    assert len(set(first + other)) == 6
    assert len(first[1]) == 32


def test_paths_are_those_that_are_documented(tmp_path: Path) -> None:
    with StateDirectory.open(tmp_path / "s") as directory:
        found = (
            directory.journal, directory.sqlite, directory.control_socket, directory.packages, directory.runtime
        )  # fmt: skip
        assert [path.name for path in found] == [
            "journal",
            "state.sqlite",
            "control.sock",
            "packages",
            "runtime",
        ]
        assert {path.parent for path in found} == {tmp_path / "s"}


async def test_the_control_socket_stands_in_the_directory_however_long_its_path_is(tmp_path: Path) -> None:
    path = tmp_path / ("long" * 40) / "s"
    answered = asyncio.Event()

    def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        answered.set()

    with StateDirectory.open(path) as directory:
        server = await asyncio.start_unix_server(answer, directory.control_socket)
        assert (path / "control.sock").is_socket()
        with control_socket(path) as reached:
            _, writer = await asyncio.open_unix_connection(reached)
        await asyncio.wait_for(answered.wait(), 10)
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        directory.control_socket.unlink(missing_ok=True)
    assert not (path / "control.sock").exists()
    assert str(path) not in {os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")}


def test_a_second_gateway_is_told_who_has_it(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "s")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(StateError, match=rf"another gateway \(process {holder.pid}\) uses .*s$"):
            StateDirectory.open(tmp_path / "s")
        with StateDirectory.look(tmp_path / "s") as beside:
            assert not beside.locked
    finally:
        holder.stdin.close()
        holder.wait(10)
        holder.stdout.close()
    with StateDirectory.open(tmp_path / "s") as directory:
        assert directory.locked


def test_a_killed_gateway_leaves_no_lock(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "s")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"open\n"
    holder.kill()
    holder.wait(10)
    holder.stdin.close()
    holder.stdout.close()
    StateDirectory.open(tmp_path / "s").close()


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o701, 0o770])
def test_a_directory_that_others_can_use_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "s"
    path.mkdir()
    path.chmod(mode)
    for way in (StateDirectory.open, StateDirectory.look):
        with pytest.raises(StateError, match=f"chmod 700 {path}"):
            way(path)
    assert list(path.iterdir()) == []


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="giving a directory to another user needs root")
def test_another_users_directory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.mkdir(mode=0o700)
    os.chown(path, 65534, 65534)
    with pytest.raises(StateError, match="belongs to user 65534"):
        StateDirectory.open(path)


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("")
    with pytest.raises(StateError, match="cannot be used: File exists"):
        StateDirectory.open(tmp_path / "s")


def test_a_later_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    StateDirectory.open(tmp_path / "s", version=VERSION + 1).close()
    for way in (StateDirectory.open, StateDirectory.look):
        with pytest.raises(
            StateError, match=f"has version {VERSION + 1}, this gateway knows up to {VERSION}"
        ):
            way(tmp_path / "s")
    assert (tmp_path / "s" / "VERSION").read_text() == f"{VERSION + 1}\n"


def test_an_earlier_version_is_brought_up_step_by_step(tmp_path: Path) -> None:
    StateDirectory.open(tmp_path / "s", version=1).close()
    steps: list[str] = []
    upgrades = {1: lambda path: steps.append(f"1 {path.name}"), 2: lambda path: steps.append("2")}
    with pytest.raises(StateError, match="start the gateway once"):
        StateDirectory.look(tmp_path / "s", version=3)
    StateDirectory.open(tmp_path / "s", version=3, upgrades=upgrades).close()
    assert steps == ["1 s", "2"]
    StateDirectory.look(tmp_path / "s", version=3).close()


def test_an_upgrade_that_failed_is_taken_up_where_it_stopped(tmp_path: Path) -> None:
    StateDirectory.open(tmp_path / "s", version=1).close()
    steps: list[int] = []

    def fail(path: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(StateError, match="No space left"):
        StateDirectory.open(tmp_path / "s", version=3, upgrades={1: lambda _: steps.append(1), 2: fail})
    StateDirectory.open(tmp_path / "s", version=3, upgrades={2: lambda _: steps.append(2)}).close()
    assert steps == [1, 2]


def test_a_version_without_a_way_up_is_refused(tmp_path: Path) -> None:
    StateDirectory.open(tmp_path / "s", version=1).close()
    with pytest.raises(StateError, match="no way to 2"):
        StateDirectory.open(tmp_path / "s", version=2, upgrades={})


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [("VERSION", "two", "VERSION is damaged"), ("instance", "../x", "instance is damaged")],
)
def test_damage_is_said_by_name(tmp_path: Path, name: str, content: str, says: str) -> None:
    StateDirectory.open(tmp_path / "s").close()
    (tmp_path / "s" / name).write_text(content)
    for way in (StateDirectory.open, StateDirectory.look):
        with pytest.raises(StateError, match=says):
            way(tmp_path / "s")


def test_a_damaged_key_is_not_replaced(tmp_path: Path) -> None:
    with StateDirectory.open(tmp_path / "s") as directory:
        directory.key("journal")
        (directory.path / "keys" / "journal").write_bytes(b"short")
        with pytest.raises(StateError, match="has 5 bytes, not 32"):
            directory.key("journal")


@pytest.mark.parametrize("name", ["", "../lock", "a/b", ".hidden", "A"])
def test_a_key_cannot_be_named_out_of_its_directory(tmp_path: Path, name: str) -> None:
    with StateDirectory.open(tmp_path / "s") as directory, pytest.raises(ValueError, match="a key's name"):
        directory.key(name)


def test_looking_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no gateway was started"):
        StateDirectory.look(tmp_path / "s")
    (tmp_path / "s").mkdir(mode=0o700)
    with pytest.raises(StateError, match="no state directory"):
        StateDirectory.look(tmp_path / "s")
    StateDirectory.open(tmp_path / "t").close()
    with StateDirectory.look(tmp_path / "t") as directory, pytest.raises(StateError, match="No such file"):
        directory.key("journal")


# -- what gateways share ------------------------------------------------------------------------


def test_a_shared_directory_is_private_and_gives_every_gateway_the_same_key(tmp_path: Path) -> None:
    first, second = SharedDirectory.open(tmp_path / "a" / "one"), SharedDirectory.open(tmp_path / "a" / "one")
    assert first.key("session") == second.key("session")
    assert len(first.key("session")) == 32
    assert stat.S_IMODE(first.path.stat().st_mode) == 0o700
    for path in first.path.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_gateways_that_start_at_once_agree_on_the_key(tmp_path: Path) -> None:
    def key(number: int) -> bytes:
        return SharedDirectory.open(tmp_path / "one").key("session")

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(key, range(32)))) == 1
    assert [path.name for path in (tmp_path / "one" / "keys").iterdir()] == ["session"]


def test_a_shared_directory_that_others_can_use_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    with pytest.raises(StateError, match=r"shared directory .* can be used by others"):
        SharedDirectory.open(tmp_path)


def test_a_gateways_own_state_directory_is_not_one_to_share(tmp_path: Path) -> None:
    StateDirectory.open(tmp_path / "own").close()
    with pytest.raises(StateError, match="own state directory"):
        SharedDirectory.open(tmp_path / "own")


@pytest.mark.parametrize("content", [b"", b"2\n", b"x"])
def test_a_shared_directory_of_another_version_is_refused(tmp_path: Path, content: bytes) -> None:
    SharedDirectory.open(tmp_path / "one")
    (tmp_path / "one" / "SHARED").write_bytes(content)
    with pytest.raises(StateError, match="later version"):
        SharedDirectory.open(tmp_path / "one")


def test_a_damaged_shared_key_is_refused(tmp_path: Path) -> None:
    shared = SharedDirectory.open(tmp_path / "one")
    (shared.path / "keys" / "session").write_bytes(b"short")
    with pytest.raises(StateError, match="damaged"):
        shared.key("session")
