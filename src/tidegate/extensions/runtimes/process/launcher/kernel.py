"""Kernel: the system calls that Python has no function for. Each raises OSError with what was tried."""

from __future__ import annotations

import ctypes
import os
import platform
import struct

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
MNT_DETACH = 2
NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 22, 24, 38
SECCOMP_MODE_FILTER = 2
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
# openat2(2), mount_setattr(2) and landlock(7) have one number on every architecture.
_OPENAT2, _RESOLVE_NO_SYMLINKS = 437, 4
_MOUNT_SETATTR, _LANDLOCK_CREATE, _LANDLOCK_RULE, _LANDLOCK_RESTRICT = 442, 444, 445, 446
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_LAST_CAPABILITY = 63

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _done(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    """Leave the namespaces named by `flags` for new ones."""
    _done(_libc.unshare(ctypes.c_int(flags)), "unshare")


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """mount(2)."""
    words = [word.encode() if word is not None else None for word in (source, target, kind)]
    text = data.encode() if data is not None else None
    _done(_libc.mount(*words, ctypes.c_ulong(flags), text), f"mount {target}")


def protect(target: str, flags: int, *, deep: bool) -> None:
    """Add mount flags (MS_RDONLY, MS_NOSUID, MS_NODEV) to the mount at `target`, or all below it."""
    attributes = struct.pack("=QQQQ", flags, 0, 0, 0)
    where = ctypes.c_char_p(target.encode())
    how = ctypes.c_uint(_AT_RECURSIVE if deep else 0)
    size = ctypes.c_size_t(len(attributes))
    _done(
        _libc.syscall(ctypes.c_long(_MOUNT_SETATTR), ctypes.c_int(_AT_FDCWD), where, how, attributes, size),
        f"mount_setattr {target}",
    )


def open_without_links(path: str) -> int:
    """Open `path` as a place (O_PATH); ELOOP where any part of it is a link."""
    how = struct.pack("=QQQ", os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_NO_SYMLINKS)
    where, size = ctypes.c_char_p(path.encode()), ctypes.c_size_t(len(how))
    opened = _libc.syscall(ctypes.c_long(_OPENAT2), ctypes.c_int(_AT_FDCWD), where, how, size)
    return _done(opened, f"open {path}")


def become_root_directory() -> None:
    """Make the current directory, a mount, the root and let go of the old one."""
    number = _PIVOT_ROOT.get(platform.machine())
    if number is None:
        raise OSError(38, f"pivot_root: no number known for {platform.machine()}")
    here = ctypes.c_char_p(b".")
    _done(_libc.syscall(ctypes.c_long(number), here, here), "pivot_root")
    _done(_libc.umount2(b".", ctypes.c_int(MNT_DETACH)), "umount of the old root")
    os.chdir("/")


def prctl(option: int, value: int, more: int = 0) -> None:
    """prctl(2)."""
    words = [ctypes.c_ulong(word) for word in (value, more, 0, 0)]
    _done(_libc.prctl(ctypes.c_int(option), *words), f"prctl {option}")


def drop_bounding_capabilities() -> None:
    """See that no program run from here on can gain a capability."""
    for capability in range(_LAST_CAPABILITY + 1):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError as error:
            if error.errno == 22:  # EINVAL: past the kernel's last one
                return
            raise


def load_seccomp(program: bytes) -> None:
    """Load a filter (`struct sock_filter[]`); no_new_privs must be set."""
    code = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    whole = ctypes.create_string_buffer(head, len(head))
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(whole))


def landlock_abi() -> int:
    """Give the version of Landlock's interface, 0 where there is none."""
    found: int = _libc.syscall(ctypes.c_long(_LANDLOCK_CREATE), None, ctypes.c_size_t(0), ctypes.c_uint(1))
    return max(found, 0)


def landlock_create(attributes: bytes) -> int:
    """Create a ruleset; gives its descriptor."""
    size = ctypes.c_size_t(len(attributes))
    made = _libc.syscall(ctypes.c_long(_LANDLOCK_CREATE), attributes, size, ctypes.c_uint(0))
    return _done(made, "landlock_create_ruleset")


def landlock_allow(ruleset: int, rights: int, path: int) -> None:
    """Allow `rights` beneath the open `path`."""
    rule = struct.pack("=Qi", rights, path)
    words = (ctypes.c_int(ruleset), ctypes.c_int(1), rule, ctypes.c_uint(0))
    _done(_libc.syscall(ctypes.c_long(_LANDLOCK_RULE), *words), "landlock_add_rule")


def landlock_restrict(ruleset: int) -> None:
    """Restrict this process and all it will start; no_new_privs must be set."""
    words = (ctypes.c_int(ruleset), ctypes.c_uint(0))
    _done(_libc.syscall(ctypes.c_long(_LANDLOCK_RESTRICT), *words), "landlock_restrict_self")
