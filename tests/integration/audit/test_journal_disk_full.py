"""On a disk that is really full a call is refused before its effect, and every accepted one gets its outcome."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

INSIDE = r"""
import os, sys, time
from pathlib import Path
from tidegate.audit.journal import Journal
from tidegate.audit.verify import verify
from tidegate.domain.errors import JournalUnavailable
from tidegate.domain.principal import Principal
from tidegate.domain.record import Outcome
from tidegate.domain.target import Decision, Kind, Target

disk = Path(sys.argv[1])
segment_size = int(sys.argv[2])
shared = sys.argv[3] == "shared"
key = bytes(32)
who, what, yes = Principal("default", "key", "a"), Target("s", Kind.TOOL, "t"), Decision(True, "r")

def opened():
    return Journal.open(disk / "journal", key=key, writer="w", segment_size=segment_size, clock=time.time)

def begin(journal, number):
    return journal.intent(
        call_id=f"{number:032d}", principal=who, endpoint="/mcp", target=what, shown="s__t", decision=yes,
        workload="w", arguments=b"", client="c", revision="r")

def fill():
    fd = os.open(disk / "other", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for size in (65536, 4096, 512, 64, 1):
        try:
            while os.write(fd, b"x" * size) == size:
                pass
        except OSError:
            pass
    os.close(fd)

(disk / "spare").write_bytes(bytes(2 * 1024 * 1024))
journal = opened()
waiting = [begin(journal, number) for number in range(50)]
if shared:
    fill()
refused = 0
for number in range(50, 100_000):
    try:
        waiting.append(begin(journal, number))
    except JournalUnavailable as error:
        assert "full" in str(error), error
        refused += 1
        if refused > 100:
            break
assert refused > 100, "the disk never was full"
accepted = len(waiting)
journal.refused("denied", who, {})
assert journal.failure is None
for intent in waiting[10:]:
    journal.outcome(intent, Outcome.OK, size=1, duration_us=1)
verdict = verify(disk / "journal", key)
assert verdict.ok, verdict.faults
assert (verdict.intents, verdict.outcomes) == (accepted, accepted - 10), verdict

# A crash now, still full: what is open can be closed all the same, in the room that was kept.
os.close(journal._tape._fd); os.close(journal._tape._tip)
journal = opened()
verdict = verify(disk / "journal", key)
assert verdict.ok, verdict.faults
assert (verdict.intents, verdict.outcomes, verdict.unknown) == (accepted, accepted, 10), verdict

# Room again: it goes on by itself.
if shared:
    os.unlink(disk / "other")
else:
    os.unlink(disk / "spare")
journal.outcome(begin(journal, 1), Outcome.OK, size=1, duration_us=1)
journal.close()
verdict = verify(disk / "journal", key)
assert verdict.ok, verdict.faults
print("accepted", accepted, "segments", verdict.segments)
"""


def run_on(
    tmp_path: Path, mount: list[str], segment_size: int, use: str = "shared"
) -> subprocess.CompletedProcess[str]:
    disk = tmp_path / "disk"
    disk.mkdir()
    script = 'mount "$@" && exec "$PYTHON" -c "$INSIDE" "$DISK" "$SIZE" "$USE"'
    return subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *mount, str(disk)],
        env={
            **os.environ, "PYTHON": sys.executable, "INSIDE": INSIDE, "DISK": str(disk), "SIZE": str(segment_size)
        },
        capture_output=True,
        text=True,
        timeout=90,
    )  # fmt: skip


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")


@pytest.mark.root
@needs_root
@pytest.mark.parametrize("segment_size", [64 * 1024 * 1024, 1024 * 1024])
def test_a_full_tmpfs_refuses_calls_and_keeps_outcomes(tmp_path: Path, segment_size: int) -> None:
    done = run_on(tmp_path, ["-t", "tmpfs", "-o", "size=6m", "tmpfs"], segment_size)
    assert done.returncode == 0, done.stderr
    assert "accepted" in done.stdout


def image_of(tmp_path: Path, kind: str) -> list[str]:
    """Make a small file system in a file, and give what mounts it."""
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(16 * 1024 * 1024)
    try:
        subprocess.run([f"mkfs.{kind}", "-q", "-F", "-m", "0", str(image)], check=True, timeout=30)
    except FileNotFoundError:
        pytest.skip(f"mkfs.{kind} is not installed")
    return ["-t", kind, "-o", "loop", str(image)]


@pytest.mark.root
@needs_root
@pytest.mark.parametrize("segment_size", [64 * 1024 * 1024, 1024 * 1024])
def test_a_full_ext4_refuses_calls_and_keeps_outcomes(tmp_path: Path, segment_size: int) -> None:
    done = run_on(tmp_path, image_of(tmp_path, "ext4"), segment_size)
    if "loop device" in done.stderr:
        pytest.skip("no loop device can be set up here")
    assert done.returncode == 0, done.stderr
    assert "accepted" in done.stdout


@pytest.mark.root
@needs_root
@pytest.mark.parametrize("segment_size", [64 * 1024 * 1024, 1024 * 1024])
def test_without_a_promise_of_room_the_journal_does_not_fill_the_disk_itself(
    tmp_path: Path, segment_size: int
) -> None:
    # The files of ext3 cannot have room taken ahead. Nobody else writes here: that cannot be guarded against.
    done = run_on(tmp_path, image_of(tmp_path, "ext3"), segment_size, use="alone")
    if "loop device" in done.stderr or "unknown filesystem" in done.stderr:
        pytest.skip("no ext3 can be mounted here")
    assert done.returncode == 0, done.stderr
    assert "accepted" in done.stdout
