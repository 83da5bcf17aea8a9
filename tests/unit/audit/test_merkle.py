"""Roots and proofs are those of RFC 6962."""

from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.audit.merkle import Tree, leaf_hash, prove, root_from

# Leaves and roots of the vectors that Certificate Transparency implementations share.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


def by_definition(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962, 2.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha256(b"\x01" + by_definition(leaves[:k]) + by_definition(leaves[k:])).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    tree = Tree()
    for leaf in leaves:
        tree.add(leaf)
    return tree.root()


@pytest.mark.parametrize(("count", "expected"), ROOTS.items())
def test_known_roots_come_out(count: int, expected: str) -> None:
    assert root(LEAVES[:count]).hex() == expected


@given(st.lists(st.binary(max_size=8), max_size=70))
def test_the_growing_tree_has_the_root_of_the_definition(leaves: list[bytes]) -> None:
    assert root(leaves) == by_definition(leaves)


@pytest.mark.parametrize("count", [255, 256, 257, 511, 512, 513, 768, 1023, 1024, 1025, 1500])
def test_the_tree_is_right_around_its_blocks(count: int) -> None:
    leaves = [number.to_bytes(2, "big") for number in range(count)]
    assert root(leaves) == by_definition(leaves)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 21, 64, 65])
def test_every_leaf_can_be_proved_and_no_other_in_its_place(count: int) -> None:
    leaves = [bytes([number]) for number in range(count)]
    hashes = [leaf_hash(leaf) for leaf in leaves]
    for index in range(count):
        path = prove(hashes, index)
        assert root_from(hashes[index], index, count, path) == by_definition(leaves)
        assert root_from(leaf_hash(b"other"), index, count, path) != by_definition(leaves)
        assert root_from(hashes[index], index, count, [*path, bytes(32)]) is None
        if path:
            assert root_from(hashes[index], index, count, path[:-1]) is None


def test_there_is_no_proof_of_what_is_not_there() -> None:
    with pytest.raises(IndexError):
        prove([leaf_hash(b"a")], 1)
    assert root_from(leaf_hash(b"a"), 1, 1, []) is None
