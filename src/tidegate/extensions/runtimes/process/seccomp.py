"""Seccomp: the filter of system calls for a server, as a program for the kernel (seccomp(2)).

A deny-list of what no server needs and an escape does; everything else passes, so that a server does
not break on a call that a newer C library makes. Nothing here runs a filter.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_EPERM, _ENOSYS, _EAFNOSUPPORT = 1, 38, 97
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND = 0, 4, 16, 24
"""Offsets in struct seccomp_data; both architectures are little-endian."""
_NEW_NAMESPACES = 0x7E020080
"""CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET."""
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
"""Typing into a terminal (CVE-2017-5226) and pasting into a console (CVE-2023-28100)."""
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16

# Name: (x86_64, aarch64), None where an architecture has no such call.
_DENIED: dict[str, tuple[int | None, int | None]] = {
    # Another view of the file system, or of a handle into it.
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442), "open_tree_attr": (467, 467),
    "open_by_handle_at": (304, 265), "quotactl": (179, 60), "quotactl_fd": (443, 443),
    # Other namespaces.
    "unshare": (272, 97), "setns": (308, 268),
    # Other processes' memory and files.
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "kcmp": (312, 272), "pidfd_getfd": (438, 438), "process_madvise": (440, 440), "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    # Parts of the kernel with a long record of holes.
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "fanotify_init": (300, 262),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    # Keyrings are not namespaced.
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    # The machine itself.
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "reboot": (169, 142), "swapon": (167, 224),
    "swapoff": (168, 225), "acct": (163, 89), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "clock_adjtime": (305, 266), "adjtimex": (159, 171), "syslog": (103, 116), "vhangup": (153, 58),
    "lookup_dcookie": (212, 18), "nfsservctl": (180, 42), "iopl": (172, None), "ioperm": (173, None),
    "modify_ldt": (154, None), "uselib": (134, None), "ustat": (136, None), "sysfs": (139, None),
    "_sysctl": (156, None), "create_module": (174, None), "query_module": (178, None),
}  # fmt: skip


class Sockets(Enum):
    """Which sockets a server may open."""

    NAMESPACED = frozenset({_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK})
    """What its own namespaces hold in check; not, say, AF_VSOCK or AF_ALG, which none does."""
    INTERNET = frozenset({_AF_INET, _AF_INET6, _AF_NETLINK})
    """No Unix sockets: for a sandbox that cannot hide them."""
    NONE = frozenset[int]()


@dataclass(frozen=True, slots=True)
class _Machine:
    architecture: int
    column: int
    clone: int
    ioctl: int
    socket: int
    x32: bool


_MACHINES = {
    "x86_64": _Machine(0xC000003E, 0, 56, 16, 41, True),
    "aarch64": _Machine(0xC00000B7, 1, 220, 29, 198, False),
}
_CLONE3 = 435


def knows(machine: str) -> bool:
    """Whether there is a filter for `machine` (as `platform.machine()` names it)."""
    return machine in _MACHINES


def program(machine: str, sockets: Sockets) -> bytes:
    """Give the filter for `machine` as `struct sock_filter[]`.

    Raises:
        KeyError: no filter is known for it.
    """
    about = _MACHINES[machine]
    steps = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_EQUAL, about.architecture, 1, 0),
        _step(_RETURN, _KILL),  # another architecture's calls would bear other numbers
        _step(_LOAD, _NUMBER),
    ]
    if about.x32:
        steps += [_step(_AT_LEAST, 0x40000000, 0, 1), _refuse(_ENOSYS)]
    # clone3's flags are in memory, where a filter cannot look; C libraries fall back to clone.
    steps += [_step(_EQUAL, _CLONE3, 0, 1), _refuse(_ENOSYS)]
    for numbers in _DENIED.values():
        number = numbers[about.column]
        if number is not None:
            steps += [_step(_EQUAL, number, 0, 1), _refuse(_EPERM)]
    steps += _when(
        about.clone, [_step(_LOAD, _FIRST), _step(_ANY_BIT, _NEW_NAMESPACES, 0, 1), _refuse(_EPERM)]
    )
    typing = [_step(_EQUAL, _TIOCSTI, 1, 0), _step(_EQUAL, _TIOCLINUX, 0, 1), _refuse(_EPERM)]
    steps += _when(about.ioctl, [_step(_LOAD, _SECOND), *typing])
    families: list[bytes] = []
    for family in sorted(sockets.value):
        families += [_step(_EQUAL, family, 0, 1), _step(_RETURN, _ALLOW)]
    steps += _when(about.socket, [_step(_LOAD, _FIRST), *families, _refuse(_EAFNOSUPPORT)])
    steps.append(_step(_RETURN, _ALLOW))
    return b"".join(steps)


def _step(code: int, value: int, true: int = 0, false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, true, false, value)


def _refuse(number: int) -> bytes:
    return _step(_RETURN, _ERRNO | number)


def _when(number: int, steps: list[bytes]) -> list[bytes]:
    """Do `steps` for one call only, and have its number loaded again behind them."""
    return [_step(_EQUAL, number, 0, len(steps) + 1), *steps, _step(_LOAD, _NUMBER)]
