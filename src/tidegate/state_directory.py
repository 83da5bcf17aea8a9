"""The state directory: who may use it, what stands where, and the keys that never leave it.

Knows paths and permissions; what is in the files belongs to the parts that write them.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import stat
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from tidegate.domain.errors import StateError

VERSION = 1
"""Of the directory's layout. A gateway opens its own and earlier ones."""
SHARED_VERSION = 1
"""Of a shared directory's layout."""
KEY_BYTES = 32
CONTROL = "control.sock"
_SOCKET_PATH = 107
"""Bytes of a Unix socket's path (unix(7): `sun_path` has 108, with the NUL at its end)."""
_KEY_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_INSTANCE = re.compile(r"[0-9a-f]{16}")

Upgrade = Callable[[Path], None]
UPGRADES: Mapping[int, Upgrade] = {}
"""From each version to the next, to be run in order; each must bear being run twice."""


@contextmanager
def control_socket(state: Path) -> Generator[Path]:
    """Give a path of the control socket that can be connected to, however long that of the directory is.

    Raises:
        OSError: the directory cannot be opened.
    """
    if _fits(state):
        yield state / CONTROL
        return
    fd = os.open(state, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield _by_descriptor(fd)
    finally:
        os.close(fd)


def _fits(state: Path) -> bool:
    return len(os.fsencode(state / CONTROL)) <= _SOCKET_PATH


def _by_descriptor(directory: int) -> Path:
    # The link in /proc leads into the directory itself, so the socket stands where it always does, behind the
    # directory's own permissions.
    return Path(f"/proc/self/fd/{directory}/{CONTROL}")


class StateDirectory:
    """An opened state directory: `open` for the one gateway that owns it, `look` for commands beside it."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock
        self._descriptor = -1
        self._instance = ""

    @classmethod
    def open(
        cls, path: Path, *, version: int = VERSION, upgrades: Mapping[int, Upgrade] = UPGRADES
    ) -> StateDirectory:
        """Create the directory where it is missing, lock it, and bring it to this version.

        Raises:
            StateError: others could get at it, another gateway has it, or it is of a later version.
        """
        path = path.absolute()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check(path)
            directory = cls(path, _take_lock(path))
            try:
                directory._upgrade(version, upgrades)
                directory._instance = _once(path / "instance", lambda: secrets.token_hex(8).encode()).decode()
                for name in ("journal", "packages", "runtime", "keys"):
                    (path / name).mkdir(mode=0o700, exist_ok=True)
                directory._check_instance()
                if not _fits(path):
                    directory._descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            except BaseException:
                directory.close()
                raise
        except OSError as error:
            raise StateError(f"the state directory {path} cannot be used: {_why(error)}") from error
        return directory

    @classmethod
    def look(cls, path: Path, *, version: int = VERSION) -> StateDirectory:
        """Open without the lock, changing nothing, beside a gateway that may run.

        Raises:
            StateError: there is none, others could get at it, or it is of another version.
        """
        path = path.absolute()
        try:
            if not path.is_dir():
                raise StateError(f"there is no state directory {path}: no gateway was started with it yet")
            _check(path)
            directory = cls(path, -1)
            found = directory._version()
            if found is None:
                raise StateError(f"{path} is no state directory: it has no VERSION")
            if found != version:
                raise StateError(_other_version(path, found, version))
            directory._instance = (path / "instance").read_text().strip()
            directory._check_instance()
        except OSError as error:
            raise StateError(f"the state directory {path} cannot be read: {_why(error)}") from error
        return directory

    def close(self) -> None:
        """Let another gateway have it. Idempotent."""
        for fd in (self._descriptor, self._lock):
            if fd >= 0:
                os.close(fd)
        self._descriptor = self._lock = -1

    def __enter__(self) -> StateDirectory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def locked(self) -> bool:
        """Whether this is the gateway that owns it."""
        return self._lock >= 0

    @property
    def instance(self) -> str:
        """16 hex digits that name this directory for good."""
        return self._instance

    @property
    def journal(self) -> Path:
        """Directory of the journal."""
        return self.path / "journal"

    @property
    def sqlite(self) -> Path:
        """File of the state store."""
        return self.path / "state.sqlite"

    @property
    def control_socket(self) -> Path:
        """Unix socket of the command line, by a path that the owner can listen on while it has the directory."""
        return self.path / CONTROL if self._descriptor < 0 else _by_descriptor(self._descriptor)

    @property
    def packages(self) -> Path:
        """Directory of fetched packages."""
        return self.path / "packages"

    @property
    def runtime(self) -> Path:
        """Directory of the runtimes' files."""
        return self.path / "runtime"

    def key(self, name: str) -> bytes:
        """Give 32 random bytes, drawn and stored the first time the name is asked for.

        Raises:
            StateError: the file cannot be read or made, or is not whole.
            ValueError: the name cannot be a file's name.
        """
        return _key(self.path, name, _once if self.locked else lambda path, _: path.read_bytes())

    def _version(self) -> int | None:
        try:
            text = (self.path / "VERSION").read_text().strip()
        except FileNotFoundError:
            return None
        if not text.isdecimal() or len(text) > 6:
            raise StateError(f"{self.path / 'VERSION'} is damaged: it holds no number")
        return int(text)

    def _upgrade(self, version: int, upgrades: Mapping[int, Upgrade]) -> None:
        found = self._version()
        if found is None:
            _replace(self.path / "VERSION", b"%d\n" % version)
            return
        if found > version:
            raise StateError(_other_version(self.path, found, version))
        while found < version:
            step = upgrades.get(found)
            if step is None:
                raise StateError(f"{self.path} has version {found}, from which there is no way to {version}")
            step(self.path)
            found += 1
            _replace(self.path / "VERSION", b"%d\n" % found)

    def _check_instance(self) -> None:
        if not _INSTANCE.fullmatch(self._instance):
            raise StateError(f"{self.path / 'instance'} is damaged: it does not hold 16 hex digits")


class SharedDirectory:
    """What gateways on one host share so that they are one to their clients: the state store and keys.

    Each keeps a state directory of its own for its journal, its control socket and its workloads.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, path: Path) -> SharedDirectory:
        """Create the directory where it is missing. Several may have it open.

        Raises:
            StateError: others could get at it, it is a gateway's own state directory, or of a later version.
        """
        path = path.absolute()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check(path, "shared")
            if (path / "instance").exists():
                raise StateError(f"{path} is a gateway's own state directory: shared needs one beside it")
            (path / "keys").mkdir(mode=0o700, exist_ok=True)
            found = _first(path / "SHARED", lambda: b"%d\n" % SHARED_VERSION).strip()
        except OSError as error:
            raise StateError(f"the shared directory {path} cannot be used: {_why(error)}") from error
        if not found.isdigit() or len(found) > 6 or int(found) > SHARED_VERSION:
            raise StateError(
                f"the shared directory {path} is damaged, or of a later version than this gateway knows"
            )
        return cls(path)

    def key(self, name: str) -> bytes:
        """Give 32 random bytes, the same to every gateway, drawn the first time the name is asked for.

        Raises:
            StateError: the file cannot be read or made, or is not whole.
            ValueError: the name cannot be a file's name.
        """
        return _key(self.path, name, _first)


def _key(directory: Path, name: str, obtain: Callable[[Path, Callable[[], bytes]], bytes]) -> bytes:
    """Give a key of a directory. `obtain` reads its file, or makes it by what it is given."""
    if not _KEY_NAME.fullmatch(name):
        raise ValueError(f"a key's name is 1 to 63 of [a-z0-9-], not {name!r}")
    path = directory / "keys" / name
    try:
        key = obtain(path, lambda: secrets.token_bytes(KEY_BYTES))
    except OSError as error:
        raise StateError(f"the key {path} cannot be used: {_why(error)}") from error
    if len(key) != KEY_BYTES:
        raise StateError(f"the key {path} is damaged: it has {len(key)} bytes, not {KEY_BYTES}")
    return key


def _other_version(path: Path, found: int, version: int) -> str:
    if found > version:
        return (
            f"the state directory {path} has version {found}, this gateway knows up to {version}: "
            "use the later gateway, or another directory"
        )
    return f"the state directory {path} has version {found}: start the gateway once, to bring it to {version}"


def _check(path: Path, kind: str = "state") -> None:
    found = path.stat()
    if not stat.S_ISDIR(found.st_mode):
        raise StateError(f"{path} is no directory")
    if found.st_uid != os.geteuid():
        raise StateError(
            f"the {kind} directory {path} belongs to user {found.st_uid}, not to the one running this "
            f"({os.geteuid()}): run as its owner, or choose another directory"
        )
    if found.st_mode & 0o077:
        raise StateError(
            f"the {kind} directory {path} can be used by others (mode {stat.S_IMODE(found.st_mode):04o}): "
            f"chmod 700 {path}"
        )


def _take_lock(path: Path) -> int:
    lock = path / "lock"
    fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
        os.close(fd)
        who = f" (process {holder})" if holder.isdecimal() else ""
        raise StateError(f"another gateway{who} uses the state directory {path}") from error
    os.ftruncate(fd, 0)
    os.pwrite(fd, b"%d\n" % os.getpid(), 0)
    return fd


def _once(path: Path, make: Callable[[], bytes]) -> bytes:
    """Read a file, making it first where it is missing: whole or not at all, and durable."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        _replace(path, make())
        return path.read_bytes()


def _first(path: Path, make: Callable[[], bytes]) -> bytes:
    """Read a file, making it first where it is missing; of several that make it at once, one does."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        fresh = _write(path, make())
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass  # another gateway was faster, and this one takes what it made
        finally:
            os.unlink(fresh)
        _sync(path.parent)
        return path.read_bytes()


def _replace(path: Path, content: bytes) -> None:
    os.rename(_write(path, content), path)
    _sync(path.parent)


def _write(path: Path, content: bytes) -> Path:
    """Write a file that is to be this one, whole and durable, beside it."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)
    return fresh


def _sync(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _why(error: OSError) -> str:
    return error.strerror or type(error).__name__
