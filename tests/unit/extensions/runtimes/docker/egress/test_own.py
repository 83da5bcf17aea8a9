"""The addresses of this machine."""

from __future__ import annotations

from pathlib import Path

from tidegate.extensions.runtimes.docker.egress.own import own_addresses

TABLE = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     |-- 198.51.100.0
        /24 link UNICAST
Local:
  +-- 0.0.0.0/0 3 0 5
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
     +-- 198.51.100.0/24 2 0 2
        |-- 198.51.100.1
           /32 host LOCAL
        |-- 198.51.100.255
           /32 link BROADCAST
"""


def test_they_are_read_from_the_kernels_routes_without_the_loopbacks(tmp_path: Path) -> None:
    table = tmp_path / "fib_trie"
    table.write_text(TABLE)
    assert own_addresses(table) == ("198.51.100.1",)


def test_where_the_kernel_does_not_tell_there_are_none(tmp_path: Path) -> None:
    assert own_addresses(tmp_path / "nothing") == ()
