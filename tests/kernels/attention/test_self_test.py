"""The self-test of attention: every rung passes for every type, and a broken one gives its place to the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import pytest

from kernels.attention.emit import Tile
from kernels.attention.program import AttentionShape
from kernels.attention.self_test import fault_of, sound_attention
from kernels.attention.variants import AttentionVariant
from kernels.cpu import detect_cpu
from kernels.errors import KernelsError
from kernels.jit.library import KernelLibrary
from kernels.ladder import rungs_for
from kernels.runtime.kv_types import KV_TYPES, KVType
from tests.kernels.attention.native_attention import VARIANTS_HERE

RUNGS = rungs_for(detect_cpu())
SHAPE = AttentionShape(9, 3, 64, 0.125)


@dataclass(frozen=True, slots=True)
class BrokenTile(Tile):
    damage: Callable[[str], str] = str

    def emit(self) -> str:
        return self.damage(Tile.emit(self))


@dataclass(frozen=True, slots=True)
class BrokenVariant(AttentionVariant):
    """Its tiles of `height` rows, or all, are damaged, under names of their own: a process loads each name once."""

    damage: Callable[[str], str] = str
    mark: str = "broken"
    height: int | None = None

    def tile(
        self,
        head_dim: int,
        rows: int | None = None,
        window: int | None = None,
        soft_cap: float | None = None,
        kv: KVType = KV_TYPES[0],
        is_wide: bool = False,
    ) -> Tile:
        whole = AttentionVariant.tile(self, head_dim, rows, window, soft_cap, kv, is_wide)
        if self.height not in (None, whole.rows):
            return whole
        same = {field.name: getattr(whole, field.name) for field in fields(whole)}
        return BrokenTile(**same | {"name": f"{whole.name}_{self.mark}"}, damage=self.damage)


def broken(variant: AttentionVariant, damage: Callable[[str], str], mark: str, height: int | None) -> BrokenVariant:
    return BrokenVariant(variant.rung, variant.isa, variant.rows, damage, mark, height)


def empty(ir: str) -> str:
    """Returns at once."""
    head, body = ir.split("{\n", 1)
    return f"{head}{{\nentry:\n  ret void\n}}\n{body[body.index('}') + 2 :]}"


def sees_a_token_less(ir: str) -> str:
    """The first position that is read counts from one more."""
    at = ir.index("sub i64 %v")
    line = ir[ir.rindex("\n", 0, at) + 1 : ir.index("\n", at)]
    value = line.split(" = ")[0].strip()
    return ir.replace(line, f"{line.replace(value, '%before')}\n  {value} = sub i64 %before, 1", 1)


@pytest.mark.parametrize("kv", KV_TYPES, ids=lambda kv: kv.name)
@pytest.mark.parametrize("variant", VARIANTS_HERE, ids=lambda variant: variant.engine)
def test_every_rung_passes(variant: AttentionVariant, kv: KVType) -> None:
    library = KernelLibrary()
    assert fault_of(variant, replace(SHAPE, kv=kv), library) is None
    assert fault_of(variant, replace(SHAPE, kv=kv, window=40, soft_cap=20.0), library) is None


@pytest.mark.parametrize(
    ("damage", "height"), [(empty, None), (empty, 3), (sees_a_token_less, None), (sees_a_token_less, 3)]
)
def test_a_broken_kernel_costs_its_rung(damage: Callable[[str], str], height: int | None) -> None:
    """`height` 3: of the decode alone."""
    if len(VARIANTS_HERE) == 1:
        pytest.skip("this CPU has no rung above scalar")
    best, next_best = VARIANTS_HERE[:2]
    bad = broken(best, damage, f"{damage.__name__}{height}", height)
    found = sound_attention(RUNGS, [SHAPE], KernelLibrary(), [bad, *VARIANTS_HERE[1:]])
    assert found.variant is next_best
    (fault,) = found.faults
    assert damage.__name__ in fault.kernel
    assert fault.rung == best.rung.name
    assert "the reference" in fault.reason


def test_where_all_are_broken_nothing_runs() -> None:
    bad = [broken(variant, empty, "all", None) for variant in VARIANTS_HERE]
    with pytest.raises(KernelsError, match=r"no rung is left for attention; .* failed its self-test on f16 keys"):
        sound_attention(RUNGS, [SHAPE], KernelLibrary(), bad)


def test_the_best_that_passes_is_taken() -> None:
    found = sound_attention(RUNGS, [SHAPE], KernelLibrary())
    assert (found.variant, found.faults) == (VARIANTS_HERE[0], ())
