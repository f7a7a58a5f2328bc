"""An executor that shows what the matmuls of a step are multiplied with. Knows records of ops, no architecture.

It walks op by op: after each op that makes and packs the rows of a matmul, the same rows are made again in f32 from the
buffers that the op read.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kernels.ops.lhs_pack import LHS_PACK, pack_geglu, pack_normed, pack_plain, pack_swiglu
from kernels.ops.swiglu import geglu, swiglu
from kernels.runtime.abi import STEP
from kernels.runtime.executor import Executor
from kernels.runtime.program import Program

Floats = npt.NDArray[np.float32]


def _array_at(address: int, count: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Memory that somebody else keeps."""
    kind: np.dtype[Any] = np.dtype(dtype)
    memory = (ctypes.c_uint8 * (count * kind.itemsize)).from_address(address)
    return np.ctypeslib.as_array(memory).view(kind)


def _rows(op: Any, num_tokens: int, row_elements: int) -> Floats:
    """f32[T, row_elements] of what the op read"""
    stride = int(op["x_stride"]) // 4
    return _array_at(int(op["x"]), num_tokens * stride, np.float32).reshape(num_tokens, stride)[:, :row_elements]


def _plain(op: Any, num_tokens: int) -> Floats:
    return _rows(op, num_tokens, int(op["k"]))


def _normed(op: Any, num_tokens: int) -> Floats:
    """After the op x has what was added to it."""
    x = _plain(op, num_tokens)
    mean_square = np.square(x).mean(axis=1, keepdims=True)
    weight: Floats = _array_at(int(op["weight"]), int(op["k"]), np.float32)
    return np.asarray(x / np.sqrt(mean_square + op["eps"]) * weight, np.float32)


def _swiglu(op: Any, num_tokens: int) -> Floats:
    return swiglu(_rows(op, num_tokens, 2 * int(op["k"])))


def _geglu(op: Any, num_tokens: int) -> Floats:
    return geglu(_rows(op, num_tokens, 2 * int(op["k"])))


READERS: Final = ((pack_plain, _plain), (pack_normed, _normed), (pack_swiglu, _swiglu), (pack_geglu, _geglu))
"""An op's function, and the rows that it has made: f32[T, K] of its record and T."""


class WatchedExecutor:
    """Walks like the executor; `seen(op, rows)` gets f32[T, K] of every op that packs a matmul's inputs, but for the
    logits'."""

    def __init__(self, executor: Executor, seen: Callable[[int, Floats], None]) -> None:
        self._executor, self._seen = executor, seen
        readers = {function.address: read for function, read in READERS}
        ops = [record.view(LHS_PACK)[0] for record in executor.program.records]
        self._packs = {
            index: (op, readers[int(op["run"])]) for index, op in enumerate(ops) if int(op["run"]) in readers
        }

    @property
    def program(self) -> Program:
        return self._executor.program

    @property
    def packs(self) -> Sequence[int]:
        """The ops that `seen` gets, in order."""
        return tuple(self._packs)

    def run(self, step_address: int, first_op: int = 0, end_op: int | None = None) -> None:
        end_op = self.program.num_ops if end_op is None else end_op
        num_tokens = int(_array_at(step_address, STEP.itemsize, np.uint8).view(STEP)[0]["num_tokens"])
        for index, (op, read) in self._packs.items():
            if first_op <= index < end_op:
                self._executor.run(step_address, first_op, index + 1)
                self._seen(index, read(op, num_tokens))
                first_op = index + 1
        if first_op < end_op:
            self._executor.run(step_address, first_op, end_op)
