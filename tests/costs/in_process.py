"""What counting, tracing and masks cost a decode step of a loaded model, in one process, in turn with doing without."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from service.engine.blocks import blocks_for
from service.engine.request import SamplingParams
from service.engine.sequence import Sequence
from service.gemmule_model import GemmuleModel
from service.structured.constraint import GrammarConstraint
from service.structured.grammars import Grammars
from service.structured.output_format import OutputFormat
from tests.costs.decoding import Decoding, decode, prefill, sequence_of
from tests.costs.pairs import Cost, cost_of, measure_pairs
from tests.service.structured.schemas import NUM_SCHEMAS, schema_of

Clock = Callable[[], float]

BLOCK_STEPS = 16
"""Traced steps in a row: a trace is begun and ended around them, outside of what is timed."""
TOKENS_A_SCHEMA = 60


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


def masks(model: GemmuleModel, num_pairs: int, clock: Clock) -> Cost:
    """Tokens that follow a JSON schema, over the same tokens drawn freely: mask, two native calls instead of one, and
    what the grammar does with the token. Compiling it is not a token's cost."""
    grammars = Grammars(model.tokenizer)
    pairs: list[tuple[float, float]] = []
    for index in range(NUM_SCHEMAS):
        constraint = grammars.constraint(OutputFormat.json_schema(schema_of(index)))
        room = min(TOKENS_A_SCHEMA, num_pairs - len(pairs))
        pairs += _tokens(model, constraint, index, room, clock)
        if len(pairs) == num_pairs:
            break
    return cost_of(pairs)


def _tokens(
    model: GemmuleModel, constraint: GrammarConstraint, index: int, most: int, clock: Clock
) -> Iterator[tuple[float, float]]:
    prompt = tuple(model.tokenizer.encode(f"Example {index} of such an object, as JSON:\n"))
    sampling = SamplingParams(temperature=0.0)
    num_blocks = blocks_for(len(prompt) + TOKENS_A_SCHEMA + 1)
    bound, free = sequence_of(prompt, sampling, num_blocks, constraint), sequence_of(prompt, sampling, num_blocks)
    prefill(model, free)
    for number in range(most):
        # Both write the same keys and values to the same places.
        if number % 2:
            plain_s = _plain(model, free, clock)
        begun_s = clock()
        token = decode(model, bound)
        constraint.accept(token.id)
        bound_s = clock() - begun_s
        if not number % 2:
            plain_s = _plain(model, free, clock)
        yield bound_s, plain_s
        if constraint.is_finished:
            return
        for sequence in (bound, free):
            sequence.token_ids.append(token.id)


def _plain(model: GemmuleModel, sequence: Sequence, clock: Clock) -> float:
    begun_s = clock()
    decode(model, sequence)
    return clock() - begun_s
