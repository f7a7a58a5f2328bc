"""A plan as the arrays of a native step, and the sampled records as tokens. Decides nothing, computes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt

from kernels.ops.sampling import SAMPLING_MARK
from kernels.runtime.abi import BLOCK_TOKENS, NOT_FINITE, NOTHING_LEFT, SAMPLED, SAMPLING, STEP
from kernels.runtime.program import Program
from service.engine.constraint import MASK_WORD_TOKENS, mask_words
from service.engine.logit_edits import LogitEdits
from service.engine.mirostat import Mirostat
from service.engine.plan import Chunk, StepPlan
from service.engine.request import FailedRow, SampledToken
from service.engine.sequence import Sequence as TokenSequence
from service.errors import OutputStuck

SEED_RANGE = 1 << 64
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
        self._vocab_size = executor.program.buffers["logits"].shape[1]
        self._mask_threads = ThreadPoolExecutor(1, thread_name_prefix="mask")
        max_blocks = -(-max_context // BLOCK_TOKENS)
        self._token_ids = np.zeros(max_tokens, np.int32)
        self._positions = np.zeros(max_tokens, np.int32)
        self._kv_slots = np.zeros(max_tokens, np.int32)
        self._token_sequence = np.zeros(max_tokens, np.int32)
        self._query_starts = np.zeros(max_batch + 1, np.int32)
        self._context_lengths = np.zeros(max_batch, np.int32)
        self._block_tables = np.zeros((max_batch, max_blocks), np.int32)
        self._logit_rows = np.zeros(max_batch, np.int32)
        self._sampling = np.zeros(max_batch, SAMPLING)
        self._sampled = np.zeros(max_batch, SAMPLED)
        self._scoring_masks = np.zeros((max_batch, mask_words(self._vocab_size)), np.uint32)
        self._step = np.zeros(1, STEP)
        for name in (
            "token_ids",
            "positions",
            "kv_slots",
            "token_sequence",
            "query_starts",
            "context_lengths",
            "block_tables",
            "logit_rows",
            "sampling",
            "sampled",
        ):
            self._step[name] = getattr(self, f"_{name}").ctypes.data
        self._step["max_blocks"] = max_blocks

    def run(self, plan: StepPlan) -> Sequence[SampledToken | FailedRow]:
        """A row fails if its logits are not finite or leave no token to draw, or if its constraint fails."""
        row = num_logit_rows = 0
        constrained: list[tuple[int, LogitEdits]] = []
        following: list[tuple[int, Mirostat]] = []
        for index, chunk in enumerate(plan.chunks):
            self._fill_chunk(chunk, index, row)
            row += chunk.num_tokens
            self._query_starts[index + 1] = row
            for index_in_chunk in range(chunk.num_logit_rows):
                first = row - chunk.num_logit_rows
                self._logit_rows[num_logit_rows] = first + index_in_chunk
                drawn = index_in_chunk - chunk.num_scored
                if drawn < 0:
                    self._fill_scoring(num_logit_rows, chunk.sequence, chunk.start + index_in_chunk + 1)
                else:
                    position = chunk.start + chunk.num_tokens - len(chunk.drafts) + drawn
                    edits = self._fill_sampling(self._sampling[num_logit_rows], chunk.sequence, position)
                    if edits is not None and edits.has_constraint:
                        constrained.append((num_logit_rows, edits))
                    if chunk.sequence.mirostat is not None:
                        following.append((num_logit_rows, chunk.sequence.mirostat))
                num_logit_rows += 1
        step = self._step[0]
        step["num_tokens"], step["num_sequences"], step["num_logit_rows"] = row, len(plan.chunks), num_logit_rows
        step["phase"] = plan.phase
        failed = self._walk(constrained)
        for index, mirostat in following:
            mirostat.observe(float(self._sampled[index]["surprise"]))
        tokens = self._tokens(num_logit_rows)
        for index, failure in failed.items():
            tokens[index] = failure
        return tokens

    def close(self) -> None:
        """End the thread that fills masks, if there ever was one."""
        self._mask_threads.shutdown()

    def _walk(self, constrained: list[tuple[int, LogitEdits]]) -> dict[int, FailedRow]:
        """The native calls. Returns the rows whose constraints failed; these are drawn without, and not used."""
        address = int(self._step.ctypes.data)
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
            self._sampling[row]["mask"] = 0

    def _fill_chunk(self, chunk: Chunk, index: int, row: int) -> None:
        sequence, start, end = chunk.sequence, chunk.start, chunk.start + chunk.num_tokens
        rows = slice(row, row + chunk.num_tokens)
        table = self._block_tables[index]
        num_blocks = -(-end // BLOCK_TOKENS)
        table[:num_blocks] = sequence.block_table[:num_blocks]
        if chunk.num_tokens == 1:
            self._token_ids[row] = sequence.token_ids[start]
            self._positions[row] = start
            self._kv_slots[row] = table[start // BLOCK_TOKENS] * BLOCK_TOKENS + start % BLOCK_TOKENS
        else:
            positions = np.arange(start, end, dtype=np.int32)
            self._token_ids[rows] = [*sequence.token_ids[start : end - len(chunk.drafts)], *chunk.drafts]
            self._positions[rows] = positions
            self._kv_slots[rows] = table[positions // BLOCK_TOKENS] * BLOCK_TOKENS + positions % BLOCK_TOKENS
        self._token_sequence[rows] = index
        self._context_lengths[index] = end

    def _fill_sampling(self, record: npt.NDArray[np.void], sequence: TokenSequence, position: int) -> LogitEdits | None:
        """`position`: of the token to be drawn."""
        sampling = sequence.sampling
        record["typical_p"] = sampling.typical_p
        record["temperature"], record["top_p"], record["min_p"] = sampling.temperature, sampling.top_p, sampling.min_p
        record["top_k"], record["num_top"] = min(sampling.top_k, 1 << 30), sampling.logprobs or 0
        record["seed"] = (sequence.seed + SEED_RANGE // 2) % SEED_RANGE - SEED_RANGE // 2
        record["position"] = position
        record["xtc_probability"], record["xtc_threshold"] = sampling.xtc_probability, sampling.xtc_threshold
        record["is_mirostat"] = sequence.mirostat is not None
        if sequence.mirostat is not None:
            record["mirostat_mu"] = sequence.mirostat.mu
        if not LogitEdits.are_needed(sampling, sequence.request.constraint):
            record["num_bias"] = record["num_seen"] = record["num_history"] = record["mask"] = 0
            return None
        if sequence.edits is None:
            request, end_ids = sequence.request, sequence.end_ids
            sequence.edits = LogitEdits(sampling, request.prompt_ids, end_ids, request.constraint, self._vocab_size)
        sequence.edits.update(sequence.token_ids)
        sequence.edits.write(record)
        return sequence.edits

    def _fill_scoring(self, row: int, sequence: TokenSequence, position: int) -> None:
        """The token that stands there is the only one to be drawn: its log probability is that of all tokens."""
        token_id = sequence.token_ids[position]
        mask = self._scoring_masks[row]
        mask[:] = 0
        mask[token_id // MASK_WORD_TOKENS] = 1 << token_id % MASK_WORD_TOKENS
        self._sampling[row] = np.zeros((), SAMPLING)
        record = self._sampling[row]
        record["top_p"] = 1
        record["num_top"] = sequence.sampling.prompt_logprobs or 0
        record["mask"] = mask.ctypes.data

    def _tokens(self, num_rows: int) -> list[SampledToken | FailedRow]:
        # Whole columns at a time: a field of a single record costs as much as a column of twenty.
        sampled = self._sampled[:num_rows]
        columns = (sampled[name].tolist() for name in ("finite", "token", "logprob", "num_top"))
        tokens: list[SampledToken | FailedRow] = []
        for row, (finite, token, logprob, num_top) in enumerate(zip(*columns, strict=True)):
            if finite == NOT_FINITE:
                tokens.append(FailedRow("the model's logits are not finite"))
            elif finite == NOTHING_LEFT:
                tokens.append(FailedRow("no token is left to draw", OutputStuck(NO_TOKEN_LEFT)))
            else:
                tokens.append(SampledToken(token, logprob, self._top(row, num_top) if num_top else ()))
        return tokens

    def _top(self, row: int, num_top: int) -> tuple[tuple[int, float], ...]:
        ids, logprobs = (self._sampled[name][row, :num_top].tolist() for name in ("top_ids", "top_logprobs"))
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
