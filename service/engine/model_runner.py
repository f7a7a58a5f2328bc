"""Runs a plan as a native step and reads the sampled records as tokens. Decides nothing, computes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

from kernels.ops.sampling import SAMPLING_MARK
from kernels.runtime.abi import NOT_FINITE, NOTHING_LEFT
from kernels.runtime.program import Program
from service.engine.logit_edits import LogitEdits
from service.engine.plan import StepPlan
from service.engine.request import FailedRow, SampledToken
from service.engine.step_arrays import StepArrays
from service.errors import OutputStuck

INLINE_MASKS = 2
"""So few are filled sooner than another thread is woken, and without taking a core from the team: 60 us each for 49,152
tokens, 2 % of a step of SmolLM2 on two cores."""
NO_TOKEN_LEFT = (
    "no token can come next: the output format, 'allowed_token_ids', 'logit_bias', 'bad_words' and 'min_tokens' "
    "together rule out all of them"
)


class Walker(Protocol):
    """What walks the program: kernels.runtime.executor, or something around it that looks between ops."""

    @property
    def program(self) -> Program: ...

    def run(self, step_address: int, first_op: int = 0, end_op: int | None = None) -> None: ...


class ModelRunner:
    """Runs plans of at most `max_tokens` tokens of `max_batch` sequences; called on one thread.

    A step is one native call, before which the masks of a few constraints are filled. With more it is two, and masks
    are filled while the first computes logits.
    """

    def __init__(self, executor: Walker, max_tokens: int, max_batch: int, max_context: int) -> None:
        self.on_filled: Callable[[], object] = lambda: None
        self._executor = executor
        self._sampling_op = executor.program.marks[SAMPLING_MARK]
        self._mask_threads = ThreadPoolExecutor(1, thread_name_prefix="mask")
        vocab_size = executor.program.buffers["logits"].shape[1]
        self._arrays = StepArrays(max_tokens, max_batch, max_context, vocab_size)

    def run(self, plan: StepPlan) -> Sequence[SampledToken | FailedRow]:
        """A row fails if its logits are not finite or leave no token to draw, or if its constraint fails."""
        watched = self._arrays.fill(plan)
        failed = self._walk(watched.constrained)
        for index, mirostat in watched.following:
            mirostat.observe(float(self._arrays.sampled[index]["surprise"]))
        tokens = self._tokens(plan.num_logit_rows)
        for index, failure in failed.items():
            tokens[index] = failure
        return tokens

    def close(self) -> None:
        """End the thread that fills masks, if there ever was one."""
        self._mask_threads.shutdown()

    def _walk(self, constrained: list[tuple[int, LogitEdits]]) -> dict[int, FailedRow]:
        """The native calls. Returns the rows whose constraints failed; these are drawn without, and not used."""
        address = self._arrays.address
        if len(constrained) <= INLINE_MASKS:
            failed = dict(_failures((row, partial(_fill, edits)) for row, edits in constrained))
            self._free_rows(failed)
            self.on_filled()
            self._executor.run(address)
            return failed
        filling = [(row, self._mask_threads.submit(edits.fill_mask)) for row, edits in constrained]
        self.on_filled()
        try:
            self._executor.run(address, 0, self._sampling_op)
        finally:
            failed = dict(_failures((row, future.exception) for row, future in filling))
        self._free_rows(failed)
        self._executor.run(address, self._sampling_op)
        return failed

    def _free_rows(self, rows: Iterable[int]) -> None:
        for row in rows:
            self._arrays.free_row(row)

    def _tokens(self, num_rows: int) -> list[SampledToken | FailedRow]:
        tokens: list[SampledToken | FailedRow] = []
        columns = self._arrays.sampled_columns(num_rows)
        for row, (finite, token, logprob, num_top) in enumerate(zip(*columns, strict=True)):
            if finite == NOT_FINITE:
                tokens.append(FailedRow("the model's logits are not finite"))
            elif finite == NOTHING_LEFT:
                tokens.append(FailedRow("no token is left to draw", OutputStuck(NO_TOKEN_LEFT)))
            else:
                tokens.append(SampledToken(token, logprob, self._top(row, num_top) if num_top else ()))
        return tokens

    def _top(self, row: int, num_top: int) -> tuple[tuple[int, float], ...]:
        ids, logprobs = (self._arrays.sampled[name][row, :num_top].tolist() for name in ("top_ids", "top_logprobs"))
        return tuple(zip(ids, logprobs, strict=True))


def _fill(edits: LogitEdits) -> BaseException | None:
    """What the constraint raised."""
    try:
        edits.fill_mask()
    except Exception as error:
        return error
    return None


def _failures(
    filled: Iterable[tuple[int, Callable[[], BaseException | None]]],
) -> Iterator[tuple[int, FailedRow]]:
    """Each is asked for its error, in order: waits for all of them."""
    for row, error_of in filled:
        error = error_of()
        if error is not None:
            refusal = error if isinstance(error, OutputStuck) else None
            yield row, FailedRow(f"its constraint gives no mask: {error!r}", refusal)
