"""How kernels.ops.lhs_pack makes the rows that it packs. Native; `op` is its record. Knows no layout.

`first`, `size`: elements of K, multiples of 32. Each returns the address of the first row's, op.row_stride bytes apart.
"""

from typing import Any

import numpy as np

from kernels.jit.function import inlined, native
from kernels.jit.native import load
from kernels.ops.rms_norm import add_row, rms_norm_row
from kernels.ops.swiglu import geglu_row, swiglu_row


@native
def plain_rows(op: Any, step: Any, row: int, count: int, first: int, size: int, scratch: int) -> int:
    return int(op.x + op.x_stride * row + 4 * first)


@native
def _add_delta(op: Any, x: int, token: int, made: int, out: int) -> None:
    """out = x + norm(delta + bias); `made`: room for a row, which may be `out`."""
    delta = op.delta + op.delta_stride * token
    if op.bias != 0:
        add_row(delta, op.bias, made, op.k)
        delta = made
    if op.delta_norm != 0:
        rms_norm_row(delta, op.delta_norm, made, op.k, op.eps)
        delta = made
    add_row(x, delta, out, op.k)


@native
def normed_rows(op: Any, step: Any, row: int, count: int, first: int, size: int, scratch: int) -> int:
    """Whole rows: `first` is 0."""
    for i in range(count):
        x, out = op.x + op.x_stride * (row + i), scratch + op.row_stride * i
        if op.delta != 0:
            _add_delta(op, x, row + i, out, x)
        rms_norm_row(x, op.weight, out, op.k, op.eps)
    return scratch


@native
def sampled_rows(op: Any, step: Any, row: int, count: int, first: int, size: int, scratch: int) -> int:
    """Whole rows. x stays as it is: nothing reads it after the logits, and a token may be sampled twice."""
    for i in range(count):
        token = int(load(step.logit_rows + 4 * (row + i), np.int32))
        x, out = op.x + op.x_stride * token, scratch + op.row_stride * i
        if op.delta != 0:
            _add_delta(op, x, token, out, out)
            x = out
        rms_norm_row(x, op.weight, out, op.k, op.eps)
    return scratch


@inlined
def _gate_and_up(op: Any, row: int, first: int, size: int) -> Any:
    """Their addresses, from `first` on; with a bias, if they have one."""
    gate: Any = op.x + op.x_stride * row + 4 * first
    up = gate + 4 * op.k
    if op.bias != 0:
        add_row(gate, op.bias + 4 * first, gate, size)
        add_row(up, op.bias + 4 * (op.k + first), up, size)
    return gate, up


@native
def swiglu_rows(op: Any, step: Any, row: int, count: int, first: int, size: int, scratch: int) -> int:
    for i in range(count):
        gate, up = _gate_and_up(op, row + i, first, size)
        swiglu_row(gate, up, scratch + op.row_stride * i, size)
    return scratch


@native
def geglu_rows(op: Any, step: Any, row: int, count: int, first: int, size: int, scratch: int) -> int:
    for i in range(count):
        gate, up = _gate_and_up(op, row + i, first, size)
        geglu_row(gate, up, scratch + op.row_stride * i, size)
    return scratch
