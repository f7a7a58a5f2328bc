"""The issue ceiling of a micro-kernel: its own hot loop with every load taken out, timed from registers.

What is left, dot products, conversions, scale products and sums of floats in the kernel's own mix and with its own
dependencies, is as fast as the vector pipes of this core take it. x86 only: on Arm `make arm-report` models the bound.
Tiles and vectors meet in memory only, so the loop of an AMX kernel keeps its loads and stores, on one block in L1.
"""

from __future__ import annotations

import ctypes
import time
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm

from kernels.families.amx.in_place import MACS, emit_in_place
from kernels.families.amx.rows_in_place import emit_rows_in_place, row_turn_macs
from kernels.families.amx.variants import records_of
from kernels.families.rowwise.rhs import RowRhs
from kernels.families.variant import MatmulVariant
from kernels.jit.build import compile_here
from kernels.jit.elf import read_object
from kernels.jit.memory_image import load
from kernels.ladder import AMX_INT8
from service.kernel_bench.register_loop import register_loop

ARCH = "x86_64"
WARM_TURNS = 1000


@dataclass(frozen=True, slots=True)
class Ceiling:
    """`turn_macs`: multiply-adds of one turn of the loop behind `address`."""

    address: int
    turn_macs: int

    def gigaoperations_per_s(self, seconds: float) -> float:
        """One measurement of about that long; an operation is a multiply or an add."""
        run = ctypes.CFUNCTYPE(None, ctypes.c_int64)(self.address)
        turns, taken_ns = WARM_TURNS, self._nanoseconds(run, WARM_TURNS)
        while taken_ns < 5e8 * seconds:
            turns *= 4
            taken_ns = self._nanoseconds(run, turns)
        return 2 * self.turn_macs * turns / taken_ns

    @staticmethod
    def _nanoseconds(run: Any, turns: int) -> int:
        begun = time.perf_counter_ns()
        run(turns)
        return time.perf_counter_ns() - begun


def ceiling_of(variant: MatmulVariant) -> Ceiling | None:
    """The loop compiled and loaded, of a variant that this CPU runs; None on Arm and for the portable rung."""
    if variant.rung.arch != ARCH:
        return None
    symbol = f"ceiling_{variant.name}"
    if variant.rung == AMX_INT8:
        rhs, features = variant.rhs, variant.rung.attributes
        if isinstance(rhs, RowRhs):
            text, macs = emit_rows_in_place(symbol, rhs, features), row_turn_macs(rhs)
        else:
            text, macs = emit_in_place(symbol, records_of(rhs), features), MACS
        return Ceiling(_load(text, symbol), macs)
    body = register_loop(compile_here(variant.emit(), ARCH, emit="assembly").decode())
    llvm.initialize_native_asmparser()
    return Ceiling(
        _load(_module(symbol, body), symbol), variant.name.m_step * variant.name.n_step * variant.name.k_step
    )


def _load(text: str, symbol: str) -> int:
    return load(read_object(compile_here(text, ARCH)))[symbol]


def _module(symbol: str, body: list[str]) -> str:
    """`void symbol(int64 turns)` as module assembly. Registers begin as zeros: values do not matter to the pipes."""
    width = "z" if any("%zmm" in line for line in body) else "y"
    zeros = [f"\tvpxor{'d' * (width == 'z')} {_three(width, n)}" for n in range(32 if width == "z" else 16)]
    loop = [f"{symbol}:", *zeros, "\t.p2align 5", "1:", *body, "\tdecq %rdi", "\tjne 1b", "\tvzeroupper", "\tretq"]
    lines = ["\t.text", f"\t.globl {symbol}", "\t.p2align 6", *loop]
    return "\n".join('module asm "' + line.replace("\t", "\\09") + '"' for line in lines) + "\n"


def _three(width: str, number: int) -> str:
    return ", ".join([f"%{width}mm{number}"] * 3)
