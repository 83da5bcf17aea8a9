"""The filter of system calls, run by a small machine for its programs."""

import struct

import pytest

from tidegate.extensions.runtimes.process.seccomp import Sockets, knows, program

X86, ARM, I386 = 0xC000003E, 0xC00000B7, 0x40000003
ALLOW, KILL = "allow", "kill"
EPERM, ENOSYS, EAFNOSUPPORT = 1, 38, 97


def judge(code: bytes, architecture: int, number: int, *arguments: int) -> str | int:
    """Run a filter as the kernel would; gives `allow`, `kill` or the error."""
    data = struct.pack("=IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    value, at = 0, 0
    for _ in range(1000):
        kind, true, false, word = struct.unpack_from("=HBBI", code, at * 8)
        at += 1
        if kind == 0x20:
            value = struct.unpack_from("=I", data, word)[0]
        elif kind == 0x06:
            return {0x7FFF0000: ALLOW, 0x80000000: KILL}.get(word) or word & 0xFFFF
        else:
            holds = {0x15: value == word, 0x35: value >= word, 0x45: bool(value & word)}[kind]
            at += true if holds else false
    raise AssertionError("the filter does not end")


@pytest.mark.parametrize(
    ("machine", "architecture", "numbers"),
    [
        (
            "x86_64",
            X86,
            {"mount": 165, "ptrace": 101, "bpf": 321, "keyctl": 250, "io_uring": 425, "setns": 308},
        ),
        (
            "aarch64",
            ARM,
            {"mount": 40, "ptrace": 117, "bpf": 280, "keyctl": 219, "io_uring": 425, "setns": 268},
        ),
    ],
)
def test_what_leads_out_is_refused_and_the_ordinary_passes(
    machine: str, architecture: int, numbers: dict[str, int]
) -> None:
    code = program(machine, Sockets.NAMESPACED)
    assert {name: judge(code, architecture, number) for name, number in numbers.items()} == dict.fromkeys(
        numbers, EPERM
    )
    read, execve = (0, 59) if machine == "x86_64" else (63, 221)
    assert judge(code, architecture, read) == ALLOW
    assert judge(code, architecture, execve) == ALLOW


@pytest.mark.parametrize(("machine", "architecture", "clone"), [("x86_64", X86, 56), ("aarch64", ARM, 220)])
def test_a_process_may_fork_but_not_into_new_namespaces(machine: str, architecture: int, clone: int) -> None:
    code = program(machine, Sockets.NAMESPACED)
    assert judge(code, architecture, clone, 0x3D0F00) == ALLOW  # a thread
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x80):
        assert judge(code, architecture, clone, flag | 17) == EPERM
    assert judge(code, architecture, 435) == ENOSYS


@pytest.mark.parametrize(("machine", "architecture", "ioctl"), [("x86_64", X86, 16), ("aarch64", ARM, 29)])
def test_a_terminal_may_be_asked_but_not_typed_into(machine: str, architecture: int, ioctl: int) -> None:
    code = program(machine, Sockets.NAMESPACED)
    assert judge(code, architecture, ioctl, 0, 0x5413) == ALLOW
    assert judge(code, architecture, ioctl, 0, 0x5412) == EPERM
    assert judge(code, architecture, ioctl, 0, 0x541C) == EPERM
    # The kernel looks at the lower half only, so the upper must not hide it.
    assert judge(code, architecture, ioctl, 0, 0x5412 | 1 << 40) == EPERM


@pytest.mark.parametrize(
    ("sockets", "allowed"),
    [(Sockets.NAMESPACED, {1, 2, 10, 16}), (Sockets.INTERNET, {2, 10, 16}), (Sockets.NONE, set())],
)
def test_only_sockets_that_the_sandbox_holds_in_check_may_be_opened(
    sockets: Sockets, allowed: set[int]
) -> None:
    for machine, architecture, number in (("x86_64", X86, 41), ("aarch64", ARM, 198)):
        code = program(machine, sockets)
        said = {family: judge(code, architecture, number, family) for family in range(46)}
        assert {family for family, answer in said.items() if answer == ALLOW} == allowed
        assert set(said.values()) <= {ALLOW, EAFNOSUPPORT}


def test_another_architectures_calls_kill() -> None:
    assert judge(program("x86_64", Sockets.NAMESPACED), I386, 21) == KILL
    assert judge(program("aarch64", Sockets.NAMESPACED), X86, 165) == KILL
    assert judge(program("x86_64", Sockets.NAMESPACED), X86, 0x40000000 + 165) == ENOSYS


def test_a_machine_without_a_table_is_known_to_have_none() -> None:
    assert knows("x86_64")
    assert not knows("riscv64")
