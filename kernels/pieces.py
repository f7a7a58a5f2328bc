"""Cuts a text into the pieces of a vocabulary as SentencePiece's BPE does: characters are merged, best score first.

While two neighbours make up a piece together, the pair whose piece has the greatest score is merged; of equal scores
the leftmost. A character that is no piece becomes its bytes. One native call for a text, n log n, the GIL free. Knows
neither models nor special tokens. Source: Kudo and Richardson, arXiv:1808.06226; ties as in llama.cpp.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kernels.jit.function import c_callable, native
from kernels.jit.native import load, record, store

SYMBOL_BYTES: Final = 16  # i32 start, size in bytes, previous, next; -1: none; size 0: merged into the one before
PAIR_BYTES: Final = 16  # f32 score | i32 left, right, size of both in bytes
WORK_BYTES: Final = SYMBOL_BYTES + 3 * PAIR_BYTES  # a byte of text: at most one symbol and three pairs
NONE: Final = -1

TABLE: Final = np.dtype(
    [
        ("slots", "i8"),  # i32[mask + 1], ids by hash, -1 where free
        ("mask", "i8"),
        ("bytes", "i8"),  # u8: all pieces, one after another
        ("starts", "i8"),  # i64[num_pieces + 1]
        ("scores", "i8"),  # f32[num_pieces]
        ("byte_ids", "i8"),  # i32[256], -1: the byte has no piece
        ("longest", "i8"),  # bytes of the longest piece
    ]
)


@native
def _i32(address: int) -> int:
    return int(load(address, np.int32))


@native
def _hash(text: int, size: int) -> int:
    """FNV-1a, folded."""
    value = -3750763034362895579
    for i in range(size):
        value = (value ^ int(load(text + i, np.uint8))) * 1099511628211
    return value ^ (value >> 29)


@native
def _same(a: int, b: int, size: int) -> bool:
    at = 0
    while at < size and load(a + at, np.uint8) == load(b + at, np.uint8):
        at += 1
    return at == size


@native
def _find(table: Any, text: int, size: int) -> int:
    """The id of the piece that these bytes are, or -1."""
    if size > table.longest:
        return NONE
    slot = _hash(text, size) & table.mask
    while True:
        piece = _i32(table.slots + 4 * slot)
        if piece == NONE:
            return NONE
        start = int(load(table.starts + 8 * piece, np.int64))
        if load(table.starts + 8 * piece + 8, np.int64) - start == size and _same(table.bytes + start, text, size):
            return int(piece)
        slot = (slot + 1) & table.mask


@c_callable("void(int64, int64, int64)")
def fill_table(table_address: int, ids: int, num_ids: int) -> None:
    """Enter the pieces ids i32[num_ids] into free slots."""
    table: Any = record(table_address, TABLE)
    for i in range(num_ids):
        piece = _i32(ids + 4 * i)
        start = int(load(table.starts + 8 * piece, np.int64))
        size = load(table.starts + 8 * piece + 8, np.int64) - start
        slot = _hash(table.bytes + start, size) & table.mask
        while load(table.slots + 4 * slot, np.int32) != NONE:
            slot = (slot + 1) & table.mask
        store(table.slots + 4 * slot, piece, np.int32)


@native
def _before(a: int, b: int) -> bool:
    """Whether pair a is merged before pair b."""
    mine, other = load(a, np.float32), load(b, np.float32)
    return bool(mine > other or (mine == other and _i32(a + 4) < _i32(b + 4)))


@native
def _copy(source: int, target: int) -> None:
    store(target, load(source, np.int64), np.int64)
    store(target + 8, load(source + 8, np.int64), np.int64)


@native
def _push(heap: int, count: int, score: float, left: int, right: int, size: int) -> None:
    """Into a heap of `count` pairs; the one past its end is room to work in."""
    made = heap + PAIR_BYTES * (count + 1)
    store(made, score, np.float32)
    store(made + 4, left, np.int32)
    store(made + 8, right, np.int32)
    store(made + 12, size, np.int32)
    at = count
    while at > 0:
        parent = (at - 1) // 2
        if not _before(made, heap + PAIR_BYTES * parent):
            break
        _copy(heap + PAIR_BYTES * parent, heap + PAIR_BYTES * at)
        at = parent
    _copy(made, heap + PAIR_BYTES * at)


@native
def _pop(heap: int, count: int) -> None:
    """Remove the first of `count` pairs."""
    last, at = heap + PAIR_BYTES * (count - 1), 0
    while True:
        child = 2 * at + 1
        if child >= count - 1:
            break
        if child + 1 < count - 1 and _before(heap + PAIR_BYTES * (child + 1), heap + PAIR_BYTES * child):
            child += 1
        if not _before(heap + PAIR_BYTES * child, last):
            break
        _copy(heap + PAIR_BYTES * child, heap + PAIR_BYTES * at)
        at = child
    _copy(last, heap + PAIR_BYTES * at)


@native
def _try_pair(table: Any, text: int, symbols: int, left: int, right: int, heap: int, count: int) -> int:
    """Push the pair if it is a piece -> pairs in the heap."""
    if left == NONE or right == NONE:
        return count
    first, second = symbols + SYMBOL_BYTES * left, symbols + SYMBOL_BYTES * right
    size = _i32(first + 4) + _i32(second + 4)
    piece = _find(table, text + _i32(first), size)
    if piece == NONE:
        return count
    _push(heap, count, load(table.scores + 4 * piece, np.float32), left, right, size)
    return count + 1


@native
def _characters(text: int, num_bytes: int, symbols: int) -> int:
    """A symbol for each character of UTF-8 -> how many."""
    count, at = 0, 0
    while at < num_bytes:
        end = at + 1
        while end < num_bytes and int(load(text + end, np.uint8)) & 0xC0 == 0x80:
            end += 1
        symbol = symbols + SYMBOL_BYTES * count
        store(symbol, at, np.int32)
        store(symbol + 4, end - at, np.int32)
        store(symbol + 8, count - 1, np.int32)
        store(symbol + 12, NONE if end == num_bytes else count + 1, np.int32)
        count, at = count + 1, end
    return count


@c_callable("int64(int64, int64, int64, int64, int64)")
def cut(table_address: int, text: int, num_bytes: int, work: int, out: int) -> int:
    """Ids i32[at most num_bytes] of the pieces of UTF-8 text -> how many. Bytes without a piece are left out."""
    table: Any = record(table_address, TABLE)
    symbols, heap = work, work + SYMBOL_BYTES * num_bytes
    num_symbols, num_pairs = _characters(text, num_bytes, symbols), 0
    for i in range(1, num_symbols):
        num_pairs = _try_pair(table, text, symbols, i - 1, i, heap, num_pairs)
    while num_pairs > 0:
        left, right = _i32(heap + 4), _i32(heap + 8)
        size = _i32(heap + 12)
        _pop(heap, num_pairs)
        num_pairs -= 1
        first, second = symbols + SYMBOL_BYTES * left, symbols + SYMBOL_BYTES * right
        left_size, right_size = _i32(first + 4), _i32(second + 4)
        if left_size == 0 or right_size == 0 or left_size + right_size != size:
            continue  # one of them has been merged with another since
        following = _i32(second + 12)
        store(first + 4, size, np.int32)
        store(second + 4, 0, np.int32)
        store(first + 12, following, np.int32)
        if following != NONE:
            store(symbols + SYMBOL_BYTES * following + 8, left, np.int32)
        num_pairs = _try_pair(table, text, symbols, _i32(first + 8), left, heap, num_pairs)
        num_pairs = _try_pair(table, text, symbols, left, following, heap, num_pairs)
    count, at = 0, 0
    while num_symbols > 0 and at != NONE:
        symbol = symbols + SYMBOL_BYTES * at
        start, size = _i32(symbol), _i32(symbol + 4)
        piece = _find(table, text + start, size)
        if piece != NONE:
            store(out + 4 * count, piece, np.int32)
            count += 1
        else:
            for i in range(start, start + size):
                byte_id = _i32(table.byte_ids + 4 * int(load(text + i, np.uint8)))
                if byte_id != NONE:
                    store(out + 4 * count, byte_id, np.int32)
                    count += 1
        at = _i32(symbol + 12)
    return count


class PieceTable:
    """A vocabulary ready to cut texts with. Does not change; any thread may use it."""

    def __init__(
        self,
        pieces: Sequence[bytes],
        scores: npt.NDArray[np.float32],
        ids: npt.NDArray[np.int32],
        byte_ids: npt.NDArray[np.int32],
    ) -> None:
        """scores: f32[len(pieces)], finite. ids: of the pieces to be found, all different. byte_ids: i32[256]."""
        assert len(scores) == len(pieces), "one score a piece"
        assert byte_ids.shape == (256,), "one id a byte"
        lengths = np.fromiter(map(len, pieces), np.int64, len(pieces))
        self._bytes = np.frombuffer(b"".join(pieces) + b"\0", np.uint8)
        self._starts = np.concatenate([[0], np.cumsum(lengths)])
        self._scores = np.ascontiguousarray(scores, np.float32)
        self._byte_ids = np.ascontiguousarray(byte_ids, np.int32)
        self._slots = np.full(1 << (2 * len(pieces)).bit_length(), NONE, np.int32)
        arrays: dict[str, npt.NDArray[Any]] = {
            "slots": self._slots,
            "bytes": self._bytes,
            "starts": self._starts,
            "scores": self._scores,
            "byte_ids": self._byte_ids,
        }
        self._table: npt.NDArray[Any] = np.zeros(1, TABLE)
        for name, array in arrays.items():
            self._table[name] = array.ctypes.data
        self._table["mask"], self._table["longest"] = len(self._slots) - 1, int(lengths.max(initial=0))
        wanted = np.ascontiguousarray(ids, np.int32)
        fill_table.ctypes(self._table.ctypes.data, wanted.ctypes.data, len(wanted))

    def cut(self, text: bytes) -> list[int]:
        """The ids of a text in UTF-8."""
        work = np.empty(WORK_BYTES * (len(text) + 1), np.uint8)
        out = np.empty(len(text), np.int32)
        address = ctypes.cast(ctypes.c_char_p(text), ctypes.c_void_p).value or 0
        count: int = cut.ctypes(self._table.ctypes.data, address, len(text), work.ctypes.data, out.ctypes.data)
        ids: list[int] = out[:count].tolist()
        return ids
