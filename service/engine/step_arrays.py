"""A plan as the arrays of a native step. Computes nothing, decides nothing.

From one step to the next most rows stay what they were: a sequence that decodes has a token more, perhaps a block more,
and is sampled as before. What is known to stand there already is not written again. The weights of a large model have
passed through the caches since the step before, so this code runs cold, and counts in every token: it writes through
memoryviews, in less than half the time of NumPy's indexing.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from kernels.runtime.abi import BLOCK_TOKENS, SAMPLED, SAMPLING, STEP
from service.engine.constraint import MASK_WORD_TOKENS, mask_words
from service.engine.logit_edits import LogitEdits
from service.engine.mirostat import Mirostat
from service.engine.plan import Chunk, StepPlan
from service.engine.sequence import Sequence

SEED_RANGE = 1 << 64
COUNTS = ("num_tokens", "num_sequences", "num_logit_rows", "phase")
"""The fields that a STEP begins with: those that change."""
SAMPLED_COLUMNS = ("finite", "token", "logprob", "num_top")


class RowsToWatch(NamedTuple):
    """Rows of logits that need more than their record, by their index."""

    constrained: list[tuple[int, LogitEdits]]
    """Their masks are to be filled before they are sampled."""
    following: list[tuple[int, Mirostat]]
    """To be told how surprising their token was."""


class StepArrays:
    """Of steps of at most `max_tokens` tokens of `max_batch` sequences."""

    def __init__(self, max_tokens: int, max_batch: int, max_context: int, vocab_size: int) -> None:
        max_blocks = -(-max_context // BLOCK_TOKENS)
        self._vocab_size = vocab_size
        token_ids, positions, kv_slots, token_sequence = (np.zeros(max_tokens, np.int32) for _ in range(4))
        query_starts = np.zeros(max_batch + 1, np.int32)
        context_lengths, logit_rows = (np.zeros(max_batch, np.int32) for _ in range(2))
        self._block_tables = np.zeros((max_batch, max_blocks), np.int32)
        self._sampling = np.zeros(max_batch, SAMPLING)
        self.sampled = np.zeros(max_batch, SAMPLED)
        self._scoring_masks = np.zeros((max_batch, mask_words(vocab_size)), np.uint32)
        # What stands in a row of _block_tables: so many blocks of this table, which only grows while it is the same
        # list; and in a record of _sampling: what this sequence wants at whatever position.
        self._tables: list[tuple[list[int], int]] = [([], 0)] * max_batch
        self._drawing: list[Sequence | None] = [None] * max_batch
        assert (STEP.names or ())[: len(COUNTS)] == COUNTS, STEP.names
        self._step = np.zeros(1, STEP)
        self._step["max_blocks"] = max_blocks
        for name, written in (
            ("token_ids", token_ids),
            ("positions", positions),
            ("kv_slots", kv_slots),
            ("token_sequence", token_sequence),
            ("query_starts", query_starts),
            ("context_lengths", context_lengths),
            ("block_tables", self._block_tables),
            ("logit_rows", logit_rows),
            ("sampling", self._sampling),
            ("sampled", self.sampled),
        ):
            self._step[name] = written.ctypes.data
        self._token_ids, self._positions = token_ids.data, positions.data
        self._kv_slots, self._token_sequence = kv_slots.data, token_sequence.data
        self._query_ends, self._context_lengths = query_starts.data[1:], context_lengths.data
        self._logit_rows, self._draw_positions = logit_rows.data, self._sampling["position"].data
        self._counts = self._step.view(np.int64).data[: len(COUNTS)]
        self._sampled_columns = tuple(self.sampled[name].data for name in SAMPLED_COLUMNS)
        self.address = int(self._step.ctypes.data)

    def fill(self, plan: StepPlan) -> RowsToWatch:
        num_tokens = self._fill_tokens(plan.chunks)
        logit_rows, watched = self._fill_logit_rows(plan.chunks)
        self._logit_rows[: len(logit_rows)] = array("i", logit_rows)
        for row, token in enumerate(logit_rows):
            # A draw is for the place behind the row's own token.
            self._draw_positions[row] = self._positions[token] + 1
        self._counts[:] = array("l", (num_tokens, len(plan.chunks), len(logit_rows), plan.phase))
        return watched

    def sampled_columns(self, num_rows: int) -> Iterator[list[int]]:
        """SAMPLED_COLUMNS of the first rows. A field of a single record would cost as much as a column of twenty."""
        return (column[:num_rows].tolist() for column in self._sampled_columns)

    def free_row(self, row: int) -> None:
        """Sample this row without its mask."""
        self._sampling[row]["mask"] = 0

    def _fill_tokens(self, chunks: tuple[Chunk, ...]) -> int:
        """All that says which tokens these are and where their keys and values go; returns how many."""
        token_ids: list[int] = []
        token_sequence: list[int] = []
        positions: list[int] = []
        kv_slots: list[int] = []
        ends: list[int] = []
        context_lengths: list[int] = []
        for index, chunk in enumerate(chunks):
            sequence, start, end = chunk.sequence, chunk.start, chunk.start + chunk.num_tokens
            table = sequence.block_table
            self._fill_block_table(index, table, -(-end // BLOCK_TOKENS))
            token_ids += sequence.token_ids[start : end - len(chunk.drafts)]
            token_ids += chunk.drafts
            token_sequence += [index] * chunk.num_tokens
            positions += range(start, end)
            kv_slots += [
                table[place // BLOCK_TOKENS] * BLOCK_TOKENS + place % BLOCK_TOKENS for place in range(start, end)
            ]
            ends.append(len(token_ids))
            context_lengths.append(end)
        num_tokens, num_sequences = len(token_ids), len(chunks)
        for view, values in (
            (self._token_ids, token_ids),
            (self._token_sequence, token_sequence),
            (self._positions, positions),
            (self._kv_slots, kv_slots),
        ):
            view[:num_tokens] = array("i", values)
        self._query_ends[:num_sequences] = array("i", ends)
        self._context_lengths[:num_sequences] = array("i", context_lengths)
        return num_tokens

    def _fill_block_table(self, index: int, table: list[int], num_blocks: int) -> None:
        known, num_known = self._tables[index]
        if known is not table:
            num_known = 0
        if num_blocks > num_known:
            self._block_tables[index, num_known:num_blocks] = table[num_known:num_blocks]
            self._tables[index] = table, num_blocks

    def _fill_logit_rows(self, chunks: tuple[Chunk, ...]) -> tuple[list[int], RowsToWatch]:
        """The records of what is sampled but for the position; returns the token row of each."""
        logit_rows: list[int] = []
        watched = RowsToWatch([], [])
        end = 0
        for chunk in chunks:
            sequence = chunk.sequence
            end += chunk.num_tokens
            for index_in_chunk in range(num_logit_rows := chunk.num_logit_rows):
                row = len(logit_rows)
                logit_rows.append(end - num_logit_rows + index_in_chunk)
                if index_in_chunk < chunk.num_scored:
                    self._fill_scoring(row, sequence, chunk.start + index_in_chunk + 1)
                elif self._drawing[row] is not sequence:
                    self._fill_sampling(row, sequence, watched)
        return logit_rows, watched

    def _fill_sampling(self, row: int, sequence: Sequence, watched: RowsToWatch) -> None:
        record, sampling = self._sampling[row], sequence.sampling
        record["typical_p"] = sampling.typical_p
        record["temperature"], record["top_p"], record["min_p"] = sampling.temperature, sampling.top_p, sampling.min_p
        record["top_k"], record["num_top"] = min(sampling.top_k, 1 << 30), sampling.logprobs or 0
        record["seed"] = (sequence.seed + SEED_RANGE // 2) % SEED_RANGE - SEED_RANGE // 2
        record["xtc_probability"], record["xtc_threshold"] = sampling.xtc_probability, sampling.xtc_threshold
        record["is_mirostat"] = sequence.mirostat is not None
        record["num_bias"] = record["num_seen"] = record["num_history"] = record["mask"] = 0
        changes = False
        if sequence.mirostat is not None:
            changes = True
            record["mirostat_mu"] = sequence.mirostat.mu
            watched.following.append((row, sequence.mirostat))
        if LogitEdits.are_needed(sampling, sequence.request.constraint):
            changes = True
            edits = self._edits_of(sequence)
            edits.write(record)
            if edits.has_constraint:
                watched.constrained.append((row, edits))
        self._drawing[row] = None if changes else sequence

    def _edits_of(self, sequence: Sequence) -> LogitEdits:
        """As of its last token."""
        if sequence.edits is None:
            request, end_ids = sequence.request, sequence.end_ids
            sequence.edits = LogitEdits(
                sequence.sampling, request.prompt_ids, end_ids, request.constraint, self._vocab_size
            )
        sequence.edits.update(sequence.token_ids)
        return sequence.edits

    def _fill_scoring(self, row: int, sequence: Sequence, position: int) -> None:
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
        self._drawing[row] = None
