"""Constants that stay in memory: a load for each use, where a register, or copying one, costs more. Knows no kernel."""

from __future__ import annotations

from collections.abc import Sequence

from kernels.jit.ir import I32, PTR, Function, Value, vector


class MemoryConstants:
    """`copies`, one for each use in a turn, of int32 `values`, repeated over `num_bytes` each, on the stack.

    LLVM does not see through `refresh`, so it neither folds the loads nor keeps one in a register; copies have
    addresses of their own, so that it loads each of them, in pairs.
    """

    def __init__(self, f: Function, values: Sequence[int], num_bytes: int, copies: int) -> None:
        self._num_bytes, self._copies, self._next = num_bytes, copies, 0
        slot = f.stack(num_bytes * copies)
        listed = ", ".join(f"i32 {value}" for value in list(values) * (num_bytes // 4 // len(values)))
        for copy in range(copies):
            f.store(Value(f, vector(num_bytes // 4, I32), f"<{listed}>"), slot, copy * num_bytes, align=16)
        self._pointer = f.variable(slot)
        self._f = f

    def refresh(self) -> None:
        """To be called in each turn of the loop."""
        old = self._pointer.get()
        self._pointer.set(self._f.emit(PTR, f'call ptr asm sideeffect "", "=r,0"(ptr {old.name})'))

    def load(self, type_: str) -> Value:
        self._next += 1
        at = (self._next - 1) % self._copies * self._num_bytes
        return self._f.load(type_, self._pointer.get(), at, align=16)
