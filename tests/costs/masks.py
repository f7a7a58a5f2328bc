"""What following a JSON schema costs a token, over the same token drawn freely: its mask, the grammar's next state.

As in the engine, tokens that the schema forces are not drawn, and computed with the one before them: a step then yields
several. Compiling a schema is not a token's cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from service.engine.blocks import blocks_for
from service.engine.output import Output, take_forced, take_row
from service.engine.plan import StepPlan, decode_chunk
from service.engine.request import FailedRow, SamplingParams
from service.engine.sequence import Sequence
from service.gemmule_model import GemmuleModel
from service.structured.grammars import Grammars
from service.structured.output_format import OutputFormat
from tests.costs.decoding import decode, prefill, sequence_of
from tests.costs.pairs import Cost, cost_of
from tests.service.structured.schemas import NUM_SCHEMAS, schema_of

Clock = Callable[[], float]

TOKENS_A_SCHEMA = 60
MOST_FORCED = 15
"""In a step, as a server with its default settings has it."""


@dataclass(frozen=True, slots=True)
class MaskCost:
    """all_tokens: over the same tokens drawn one by one, of all steps together. single: of steps that compute one token
    and yield one."""

    all_tokens: float
    num_tokens: int
    num_forced: int
    single: Cost

    def line(self, what: str, most: float) -> str:
        return (
            f"{what}: {self.all_tokens:+.1%} a token, {self.num_forced} of {self.num_tokens} forced; "
            f"bar {most:.0%}: {'met' if self.is_within(most) else 'NOT MET'}\n"
            f"{self.single.line('  where nothing is forced', most)}"
        )

    def is_within(self, most: float) -> bool:
        return self.all_tokens <= most


@dataclass(frozen=True, slots=True)
class _Step:
    num_computed: int
    num_yielded: int
    bound_s: float
    free_s: float
    """Of all tokens that it yields."""


def masks(model: GemmuleModel, num_steps: int, clock: Clock) -> MaskCost:
    grammars = Grammars(model.tokenizer)
    steps: list[_Step] = []
    for index in range(NUM_SCHEMAS):
        output_format = OutputFormat.json_schema(schema_of(index))
        steps += _steps_of(model, grammars, output_format, index, clock)
        if len(steps) >= num_steps:
            break
    num_tokens = sum(step.num_yielded for step in steps)
    single = [(step.bound_s, step.free_s) for step in steps if step.num_computed == step.num_yielded == 1]
    return MaskCost(
        all_tokens=sum(step.bound_s for step in steps) / sum(step.free_s for step in steps) - 1,
        num_tokens=num_tokens,
        num_forced=num_tokens - len(steps),
        single=cost_of(single),
    )


def _steps_of(
    model: GemmuleModel, grammars: Grammars, output_format: OutputFormat, index: int, clock: Clock
) -> Iterator[_Step]:
    """Bound and free steps write the same keys and values to the same places."""
    prompt = tuple(model.tokenizer.encode(f"Example {index} of such an object, as JSON:\n"))
    sampling = SamplingParams(temperature=0.0)
    num_blocks = blocks_for(len(prompt) + TOKENS_A_SCHEMA + MOST_FORCED + 1)
    free = sequence_of(prompt, sampling, num_blocks)
    bound = sequence_of(prompt, sampling, num_blocks, grammars.constraint(output_format))
    prefill(model, free)
    bound.num_computed = len(prompt) - 1
    is_bound_first = False
    while bound.num_output_tokens < TOKENS_A_SCHEMA:
        is_bound_first = not is_bound_first
        free_s = 0.0 if is_bound_first else _free(model, free, clock)
        begun_s = clock()
        outputs = _bound(model, bound)
        bound_s = clock() - begun_s
        free_s = free_s or _free(model, free, clock)
        num_computed = bound.num_computed - len(free.token_ids) + 1
        for output in outputs:
            assert not isinstance(output.token, FailedRow), output.token.reason
            free.token_ids.append(output.token.id)
        # The other tokens that the step has yielded, one by one: the last of all is not computed yet.
        for position in range(len(free.token_ids) - len(outputs), len(free.token_ids) - 1):
            free_s += _free(model, free, clock, position)
        yield _Step(num_computed, len(outputs), bound_s, free_s)
        if outputs[-1].finish_reason is not None:
            return


def _bound(model: GemmuleModel, sequence: Sequence) -> list[Output]:
    chunk = decode_chunk(sequence, ())
    (row,) = model.runner.run(StepPlan((chunk,)))
    sequence.num_computed += chunk.num_tokens
    return [take_row(sequence, row), *take_forced(sequence, MOST_FORCED)]


def _free(model: GemmuleModel, sequence: Sequence, clock: Clock, position: int | None = None) -> float:
    begun_s = clock()
    decode(model, sequence, position)
    return clock() - begun_s
