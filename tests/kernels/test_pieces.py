"""Cutting into pieces against the same rule written plainly: the best pair first, the leftmost of equals."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.pieces import PieceTable

PIECES = ["a", "b", "c", "ab", "bc", "abc", "aa", "aaa", "ca", "é", "éa", "漢", "字", "漢字", "cab", "bb", "abca"]
SCORES = [0, 0, 0, -1, -1, -3, -2, -2, -4, 0, -5, 0, 0, -2, -1, -6, -1]
BYTES = {byte: len(PIECES) + index for index, byte in enumerate(b"xy\xc3\xf0")}


def plainly(text: str) -> list[int]:
    parts = list(text)
    while True:
        pairs = [left + right for left, right in itertools.pairwise(parts)]
        known = [(-SCORES[PIECES.index(pair)], at) for at, pair in enumerate(pairs) if pair in PIECES]
        if not known:
            break
        _, at = min(known)
        parts[at : at + 2] = [pairs[at]]
    ids = [
        [PIECES.index(part)] if part in PIECES else [BYTES.get(byte, -1) for byte in part.encode()] for part in parts
    ]
    return [piece for group in ids for piece in group if piece >= 0]


@pytest.fixture(scope="module")
def table() -> PieceTable:
    byte_ids = np.full(256, -1, np.int32)
    for byte, piece in BYTES.items():
        byte_ids[byte] = piece
    every = [piece.encode() for piece in PIECES] + [b"<0x%02X>" % byte for byte in BYTES]
    scores = np.array([*SCORES, *[9] * len(BYTES)], np.float32)
    return PieceTable(every, scores, np.arange(len(PIECES), dtype=np.int32), byte_ids)


@given(text=st.text(alphabet="abcabcé漢字xyz\U0001f9ea\x00<0>", max_size=60))
def test_against_the_rule(table: PieceTable, text: str) -> None:
    assert table.cut(text.encode()) == plainly(text)


def test_nothing_and_much(table: PieceTable) -> None:
    assert table.cut(b"") == []
    ids = table.cut(b"a" * 300_000)
    assert "".join(PIECES[piece] for piece in ids) == "a" * 300_000


def test_only_given_ids_are_found() -> None:
    """A byte's or a special token's name in a text is text."""
    byte_ids = np.full(256, -1, np.int32)
    pieces = [b"<", b"s", b">", b"<s", b"<s>"]
    all_of_them = PieceTable(pieces, np.zeros(5, np.float32), np.arange(5, dtype=np.int32), byte_ids)
    without = PieceTable(pieces, np.zeros(5, np.float32), np.arange(4, dtype=np.int32), byte_ids)
    assert all_of_them.cut(b"<s>") == [4]
    assert without.cut(b"<s>") == [3, 2]
