"""All families beside each other: a line each, a column for each rung or core. Measures nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from kernels.families.variant import MatmulVariant
from kernels.ladder import LADDER, Rung
from tools.arm_report.hot_loop import HotLoop
from tools.arm_report.mca import Model

ARM_RUNGS = [rung for rung in LADDER if rung.arch == "aarch64"]
# Columns of modelled speed: LLVM's core, and the engine whose best rung there is shown.
CORES = (
    ("neoverse-n1", "neon"),
    ("neoverse-n2", "neon"),
    ("neoverse-v1", "neon"),
    ("neoverse-v1", "sve"),
    ("neoverse-v2", "neon"),
)


class Measured(Protocol):
    """What a cell shows of a micro-kernel."""

    @property
    def source(self) -> str: ...
    @property
    def variant(self) -> MatmulVariant: ...
    @property
    def loop(self) -> HotLoop: ...
    @property
    def models(self) -> dict[str, Model]: ...
    @property
    def macs_per_instruction(self) -> float: ...


def survey(rows: Sequence[Measured]) -> Iterable[str]:
    for title, wanted in (("GEMM", False), ("GEMV", True)):
        here = [row for row in rows if row.variant.is_gemv == wanted]
        yield f"\n### {title}: MAC an instruction, whole call\n\n"
        yield from _table([_rung_title(rung) for rung in ARM_RUNGS], here, _by_rung)
        yield f"\n### {title}: modelled MAC/cycle, and its share of the bound\n\n"
        yield from _table([f"{core} {engine}" for core, engine in CORES], here, _by_core)
    yield "\n### Vectors stored in hot loops\n\n"
    spilling = [row for row in rows if row.loop.num_spills]
    yield from (f"- `{row.variant.name}`: {row.loop.num_spills}\n" for row in spilling)


def _rung_title(rung: Rung) -> str:
    return f"{rung.name} {rung.streaming_bits}" if rung.streaming_bits else rung.name


def _table(
    titles: list[str], rows: Sequence[Measured], cells: Callable[[Sequence[Measured]], list[str]]
) -> Iterable[str]:
    yield f"| weights | {' | '.join(titles)} |\n|---|{'--:|' * len(titles)}\n"
    for source in dict.fromkeys(row.source for row in rows):
        shown = cells([row for row in rows if row.source == source])
        yield f"| {source.removeprefix('gemmule.')} | {' | '.join(shown)} |\n"


def _by_rung(rows: Sequence[Measured]) -> list[str]:
    """Of a rung's tiles the first, which is the static choice."""
    found: dict[Rung, str] = {}
    for row in rows:
        found.setdefault(row.variant.rung, f"{row.macs_per_instruction:.1f}")
    return [found.get(rung, "") for rung in ARM_RUNGS]


def _by_core(rows: Sequence[Measured]) -> list[str]:
    """Rows come best rung first."""
    shown = []
    for core, engine in CORES:
        row = next((row for row in rows if core in row.models and row.variant.name.engine == engine), None)
        if row is None:
            shown.append("")
            continue
        model = row.models[core]
        shown.append(f"{row.loop.num_macs / model.cycles:.1f} ({model.vector_cycles / model.cycles:.0%})")
    return shown
