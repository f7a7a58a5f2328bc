"""Micro-kernels by name, and their assembly for any core. Runs nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kernels.attention.variants import ATTENTION_VARIANTS, AttentionName
from kernels.jit.build import compile_apart
from kernels.ladder import ANY_ARCH, Rung
from kernels.naming import UnknownName
from kernels.registry import matmul_variants
from kernels.runtime.kv_types import kv_type_named

DEFAULT_ARCH = "x86_64"  # of the portable rung


@dataclass(frozen=True, slots=True)
class EmittedKernel:
    """What every kind of micro-kernel has."""

    name: str
    rung: Rung
    emit: Callable[[], str]

    def assembly(self, cpu: str = "") -> str:
        """cpu: LLVM's name. Compiled in a child process. Raises CompileError for a core that LLVM does not know."""
        arch = self.rung.arch if self.rung.arch != ANY_ARCH else DEFAULT_ARCH
        return compile_apart(self.emit(), arch, cpu, emit="assembly").decode()


def find_kernel(text: str) -> EmittedKernel:
    """By its name or a part that no other has. Raises UnknownName, with the names that fit if there are several."""
    if text.startswith("attention_"):
        return _attention(text)
    found = {kernel.name: kernel for kernel in _kernels() if text in kernel.name}
    if text in found:
        return found[text]
    if not found:
        raise UnknownName(f"no micro-kernel's name has {text!r} in it; gemmule kernels list shows them")
    if len(found) > 1:
        some = list(found)[:8]
        more = f" and {len(found) - len(some)} more" if len(found) > len(some) else ""
        raise UnknownName(f"{text!r} is in {len(found)} names: {', '.join(some)}{more}")
    return next(iter(found.values()))


def _kernels() -> Iterator[EmittedKernel]:
    for _, variant in matmul_variants():
        yield EmittedKernel(str(variant.name), variant.rung, variant.emit)
        pack = variant.lhs_pack
        yield EmittedKernel(pack.name, pack.rung, pack.emit)


def _attention(text: str) -> EmittedKernel:
    """Attention tiles exist for any head_dim, so their names are not listed but parsed."""
    name = AttentionName.parse(text)
    for variant in ATTENTION_VARIANTS:
        if variant.engine == name.engine:
            kv = kv_type_named(name.kv)
            tile = variant.tile(name.head_dim, name.rows, name.window, name.soft_cap, kv, name.is_wide)
            if tile.name == text:
                return EmittedKernel(tile.name, variant.rung, tile.emit)
            raise UnknownName(f"{text!r} is no tile of {name.engine}; the nearest is {tile.name}")
    raise UnknownName(f"no attention micro-kernel is written for {name.engine}")
