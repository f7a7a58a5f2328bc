"""What counting and tracing cost a decode step of a loaded model, in one process, in turn with doing without."""

from __future__ import annotations

import random
from collections.abc import Callable

from service.gemmule_model import GemmuleModel
from tests.costs.decoding import Decoding
from tests.costs.pairs import Cost, cost_of, measure_pairs

Clock = Callable[[], float]

BLOCK_STEPS = 16
"""Traced steps in a row: a trace is begun and ended around them, outside of what is timed."""


def ticks(model: GemmuleModel, num_pairs: int, clock: Clock) -> Cost:
    """Steps that are timed and counted, over steps that are not."""
    decoding = Decoding(model, clock)

    def counted(wanted: bool) -> float:
        model.executor.count(wanted)
        return decoding.step()

    try:
        for _ in range(200):
            decoding.step()
        return measure_pairs(lambda: counted(True), lambda: counted(False), num_pairs)
    finally:
        model.executor.count(True)


def traces(model: GemmuleModel, num_pairs: int, clock: Clock) -> Cost:
    """Steps with a trace under way, over steps without."""
    decoding = Decoding(model, clock)
    tracer = model.tracer()
    draw = random.Random(0)
    pairs: list[tuple[float, float]] = []

    def steps() -> list[float]:
        return [decoding.step() for _ in range(BLOCK_STEPS)]

    while len(pairs) < num_pairs:
        steps()  # a machine that paused, while the last trace was read, is slow for a while
        plain = steps() if (plain_first := draw.random() < 0.5) else []
        tracer.begin(BLOCK_STEPS)
        traced = steps()
        assert tracer.is_done, "as many steps were traced as were wanted"
        plain = plain if plain_first else steps()
        assert len(tracer.end().steps) == BLOCK_STEPS
        pairs += zip(traced, plain, strict=True)
    return cost_of(pairs)
