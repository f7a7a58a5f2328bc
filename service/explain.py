"""What a model's step is made of, op by op: packing at load, micro-kernels of prefill and decode, what they cost.

A pure function of a program, its packed weights and what the executor has counted: of steps run for the purpose, as
`gemmule kernels explain` does, or of a server's whole life. `dataclasses.asdict` makes JSON of the answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from kernels.matmul import MATMUL
from kernels.matmul import matmul as matmul_op
from kernels.runtime.abi import OP_HEADER
from kernels.runtime.program import KernelSlot, Program
from kernels.runtime.stats import KernelStats
from kernels.select import MatmulChoice

PHASES = ("prefill", "decode")
MIB = 1 << 20


class Matrix(Protocol):
    """service.model.weights.Matrix."""

    @property
    def choice(self) -> MatmulChoice: ...
    @property
    def n(self) -> int: ...
    @property
    def k(self) -> int: ...
    @property
    def packed_bytes(self) -> int: ...
    @property
    def source_bytes(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Packing:
    """What load did to the weights of an op: of all layers together. `shapes`: n x k, each once.

    reason: why this rung. gemm_tile, gemv_tile: why this tile.
    """

    source: str
    shapes: tuple[tuple[int, int], ...]
    layout: str
    source_bytes: int
    packed_bytes: int
    reason: str
    gemm_tile: str
    gemv_tile: str


@dataclass(frozen=True, slots=True)
class Cost:
    """One step's worth of an op in a phase, all layers together, averaged over the steps that were counted.

    seconds: wall time of the team; share: of all ops in this phase. Zeros where no step of the phase was counted.
    """

    kernel: str
    calls: float = 0.0
    bytes: float = 0.0
    operations: float = 0.0
    seconds: float = 0.0
    share: float = 0.0

    @property
    def gigabytes_per_s(self) -> float:
        return self.bytes / self.seconds / 1e9 if self.seconds else 0.0

    @property
    def gigaoperations_per_s(self) -> float:
        return self.operations / self.seconds / 1e9 if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class ExplainedOp:
    """Ops of one name with the same micro-kernels: `count` of them in a step, one a layer as a rule."""

    op: str
    count: int
    packing: Packing | None
    prefill: Cost
    decode: Cost


_Key = tuple[str, tuple[str, ...]]
"""An op's name, the micro-kernels of its variants: a prefill's, a decode's, others that either may run instead."""


def explain(
    program: Program, matrices: Iterable[tuple[int, Matrix]], stats: Sequence[KernelStats]
) -> tuple[ExplainedOp, ...]:
    """matrices: (address of the packed bytes, what was packed), of every matmul. Ops in the order of a step."""
    packed = dict(matrices)
    counts: Counter[_Key] = Counter()
    packings: dict[_Key, Packing] = {}
    for name, slots, matrix in _ops(program, packed):
        key = (name, tuple(slot.kernel for slot in slots))
        counts[key] += 1
        if matrix is not None:
            packings[key] = _add(packings.get(key), matrix)
    costs = {phase: _costs(phase, stats, counts, column) for column, phase in enumerate(PHASES)}
    return tuple(
        ExplainedOp(key[0], count, packings.get(key), costs["prefill"][key], costs["decode"][key])
        for key, count in counts.items()
    )


def _ops(program: Program, packed: dict[int, Matrix]) -> Iterator[tuple[str, tuple[KernelSlot, ...], Matrix | None]]:
    for name, record in zip(program.op_names, program.records, strict=True):
        header = record[: OP_HEADER.itemsize].view(OP_HEADER)[0]
        slots = tuple(program.slots[slot] for slot in header["slots"].tolist())
        is_matmul = int(header["run"]) == matmul_op.address
        yield name, slots, packed.get(int(record.view(MATMUL)[0]["rhs"])) if is_matmul else None


def _add(packing: Packing | None, matrix: Matrix) -> Packing:
    shape = (matrix.n, matrix.k)
    if packing is None:
        choice = matrix.choice
        source, layout = choice.family.source, choice.rhs.layout_id
        tiles = choice.gemm_reason, choice.gemv_reason
        return Packing(source, (shape,), layout, matrix.source_bytes, matrix.packed_bytes, choice.reason, *tiles)
    return replace(
        packing,
        shapes=tuple(dict.fromkeys((*packing.shapes, shape))),
        source_bytes=packing.source_bytes + matrix.source_bytes,
        packed_bytes=packing.packed_bytes + matrix.packed_bytes,
    )


def _costs(phase: str, stats: Sequence[KernelStats], counts: Counter[_Key], column: int) -> dict[_Key, Cost]:
    """column: the micro-kernel that the phase runs of an op's, unless it has few rows, as logits in a prefill do."""
    counted = {(row.op, row.kernel): row for row in stats if row.phase == phase and row.calls}
    used = {key: _used(key[0], (key[1][column], *key[1]), counted) for key in counts}
    of_kernel: Counter[tuple[str, str]] = Counter()
    for key, count in counts.items():
        of_kernel[key[0], used[key]] += count
    steps = float(np.median([row.calls / of_kernel[name] for name, row in counted.items() if of_kernel[name]] or [1.0]))
    total = sum(row.wall_seconds for row in counted.values())
    return {
        key: _cost(used[key], counted.get((key[0], used[key])), count / of_kernel[key[0], used[key]] / steps, total)
        for key, count in counts.items()
    }


def _used(op: str, kernels: tuple[str, ...], counted: Mapping[tuple[str, str], KernelStats]) -> str:
    """The first that was counted."""
    return next((kernel for kernel in kernels if (op, kernel) in counted), kernels[0])


def _cost(kernel: str, row: KernelStats | None, part: float, total_s: float) -> Cost:
    """part: of what was counted, that stands for one step."""
    if row is None:
        return Cost(kernel)
    return Cost(
        kernel,
        row.calls * part,
        row.bytes * part,
        row.operations * part,
        row.wall_seconds * part,
        row.wall_seconds / total_s if total_s else 0.0,
    )


def since(before: Sequence[KernelStats], after: Sequence[KernelStats]) -> list[KernelStats]:
    """What was counted between two readings; `histogram` is left as it is."""
    earlier = {(row.kernel, row.op, row.phase): row for row in before}
    rows = []
    for row in after:
        old = earlier.get((row.kernel, row.op, row.phase))
        if old is not None:
            fields = ("calls", "seconds", "barrier_seconds", "wall_seconds", "units", "bytes", "operations")
            row = replace(row, **{name: getattr(row, name) - getattr(old, name) for name in fields})
        rows.append(row)
    return rows


def lines(ops: Iterable[ExplainedOp]) -> Iterator[str]:
    """For people: three to five lines an op, its time a step and its share of the phase in each of the two."""
    for op in ops:
        times = f" x {op.count}" if op.count > 1 else ""
        if op.packing is None:
            yield f"{op.op}{times}"
        else:
            p = op.packing
            shapes = ", ".join(f"{n} x {k}" for n, k in p.shapes)
            ratio = p.packed_bytes / p.source_bytes
            yield f"{op.op}{times}: {p.source} {shapes}; {p.reason}"
            yield f"  packed   {p.layout}, {p.packed_bytes / MIB:.2f} MiB, {ratio:.3f} x the file's bytes"
            yield f"  tiles    GEMM {p.gemm_tile}; GEMV {p.gemv_tile}"
        for phase, cost in zip(PHASES, (op.prefill, op.decode), strict=True):
            yield (
                f"  {phase:<8} {1e6 * cost.seconds:10.1f} us {cost.share:6.1%}  {cost.bytes / 1e6:9.3f} MB "
                f"{cost.gigabytes_per_s:6.1f} GB/s  {cost.operations / 1e9:8.4f} GOP "
                f"{cost.gigaoperations_per_s:6.1f} GOP/s  {cost.kernel}"
            )
