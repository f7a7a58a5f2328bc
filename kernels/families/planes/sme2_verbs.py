"""What unpacking planes takes in streaming mode. Knows no loop and no layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kernels.families.planes.code import PlaneCode
from kernels.families.planes.verbs import PlanePortable, floats, table_vector
from kernels.jit.ir import F16, Function, Value, vector
from kernels.jit.scalable import as_fixed, as_scalable, look_up_in


@dataclass(frozen=True, slots=True)
class StreamingVerbs(PlanePortable):
    """Fixed vectors as long as the streaming ones; the products are the tiles' own."""

    def gemm_code(self, code: PlaneCode) -> PlaneCode:
        return code.multiplied()

    def half_to_float(self, f: Function, pointer: Value, offset: int) -> Value:
        return f.cast("fpext", f.load(vector(self.lanes, F16), pointer, offset), floats(self.lanes))

    def lookup(self, f: Function, codes: Value, table: Sequence[int]) -> Value:
        num_bytes = 4 * self.lanes
        found = look_up_in(f, as_scalable(f, table_vector(f, table, num_bytes)), as_scalable(f, codes))
        return as_fixed(f, found, num_bytes)
