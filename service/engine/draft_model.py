"""Guesses by a smaller model (Leviathan et al. 2023), a step of it for each guessed token. Knows no step of the target.

It computes every sequence that it guesses for, into blocks of its own. Where it lags behind (a prompt, a sequence that
was preempted, steps in which nobody guessed) it catches up first, a part in each step of the target's; its sequences
share prefixes as the target's do. It is never needed: where its blocks or its context end, or it fails, tokens come one
at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Seq
from operator import attrgetter

from service.engine.block_tables import BlockTables
from service.engine.blocks import BlockPool, blocks_for
from service.engine.draft_sequence import DraftSequence
from service.engine.limits import SchedulerLimits
from service.engine.plan import Chunk, StepPlan
from service.engine.request import FailedRow, SampledToken
from service.engine.runner import Runner
from service.engine.sequence import Sequence

CATCH_UP_TOKENS = 128
"""In one step, of all sequences: streams wait for it."""

_log = logging.getLogger(__name__)
_num_uncomputed = attrgetter("num_uncomputed")


class DraftModel:
    """A Drafter. Its runner is called on the engine thread, between the target's steps."""

    def __init__(self, runner: Runner, pool: BlockPool, limits: SchedulerLimits) -> None:
        """`pool`, `limits`: the draft model's own."""
        self.runner = runner
        self._pool = pool
        self._tables = BlockTables(pool, shares=limits.shares_prefixes, kv_type=limits.kv_type)
        self._limits = limits
        self._drafts: dict[Sequence, DraftSequence] = {}
        self._given_up: set[Sequence] = set()
        """Whose numbers were not finite."""
        self._is_broken = False

    @property
    def num_blocks(self) -> int:
        return self._pool.num_blocks

    @property
    def num_used_blocks(self) -> int:
        return self._pool.num_used

    def guess(self, wanted: Mapping[Sequence, int]) -> dict[Sequence, tuple[int, ...]]:
        if self._is_broken:
            return {}
        drafts = [draft for sequence, most in wanted.items() if (draft := self._following(sequence, most)) is not None]
        try:
            self._draw(drafts)
        except Exception:
            _log.exception("the draft model has failed and is not asked again; requests go on without it")
            self._is_broken = True
            for sequence in list(self._drafts):
                self._forget(sequence)
            return {}
        return {draft.sequence: tuple(draft.guess) for draft in drafts if draft.guess}

    def release(self, sequence: Sequence) -> None:
        self._given_up.discard(sequence)
        draft = self._drafts.pop(sequence, None)
        if draft is not None:
            self._tables.release(draft.own)

    def check(self, running: Iterable[Sequence]) -> None:
        assert self._drafts.keys() | self._given_up <= set(running), "something is kept of a sequence that does not run"
        self._pool.check(draft.own.block_table for draft in self._drafts.values())
        self._tables.check()

    def _following(self, sequence: Sequence, most: int) -> DraftSequence | None:
        """With its tokens taken over, and a place for each that is computed. None: it cannot guess now."""
        num_tokens = len(sequence.token_ids)
        most = min(most, self._limits.max_context - num_tokens)
        if most <= 0:
            self.release(sequence)
            return None
        draft = self._drafts.get(sequence) or self._admitted(sequence)
        if draft is None:
            return None
        draft.follow(sequence.token_ids)
        own = draft.own
        num_missing = blocks_for(num_tokens + most - 1) - len(own.block_table)  # the last guess is not computed
        if num_missing > 0 and self._pool.can_allocate(num_missing):
            own.block_table += self._pool.allocate(num_missing)
        draft.most = min(most, own.num_free_places + 1)
        return draft if draft.most > 0 else None

    def _admitted(self, sequence: Sequence) -> DraftSequence | None:
        """With blocks, of which some may be found computed. None: there is no room, or somebody computes them."""
        if sequence in self._given_up:
            return None
        draft = DraftSequence(sequence)
        draft.follow(sequence.token_ids)
        if self._tables.must_wait(draft.own) or not self._tables.can_admit(draft.own, num_reserved=0):
            return None
        self._tables.admit(draft.own)
        self._drafts[sequence] = draft
        return draft

    def _draw(self, drafts: Iterable[DraftSequence]) -> None:
        """Steps of the draft model until nobody wants more; the first one computes what has been missed."""
        chunks = self._catch_up(drafts)
        rows = self._run(chunks)
        for chunk in chunks:
            self._tables.publish(chunk.sequence)  # now, while it has no token that is only guessed
        by_own = {draft.own: draft for draft in drafts}
        while chunks:
            drawing = [by_own[chunk.sequence] for chunk in chunks if chunk.samples]
            for draft, row in zip(drawing, rows, strict=True):
                if isinstance(row, FailedRow):
                    self._forget(draft.sequence)
                    self._given_up.add(draft.sequence)
                    draft.stop()
                else:
                    draft.take(row)
            chunks = [
                Chunk(draft.own, draft.own.num_computed, 1, samples=True) for draft in drawing if draft.wants_more
            ]
            rows = self._run(chunks)

    def _catch_up(self, drafts: Iterable[DraftSequence]) -> list[Chunk]:
        """Those with the least to compute first: they guess in this step."""
        room = min(CATCH_UP_TOKENS, self._limits.token_budget)
        chunks = []
        for own in sorted((draft.own for draft in drafts), key=_num_uncomputed):
            num_tokens = min(own.num_uncomputed, room)
            if num_tokens:
                chunks.append(Chunk(own, own.num_computed, num_tokens, samples=num_tokens == own.num_uncomputed))
                room -= num_tokens
        return chunks

    def _run(self, chunks: list[Chunk]) -> Seq[SampledToken | FailedRow]:
        if not chunks:
            return []
        rows = self.runner.run(StepPlan(tuple(chunks)))
        for chunk in chunks:
            chunk.sequence.num_computed += chunk.num_tokens
        return rows

    def _forget(self, sequence: Sequence) -> None:
        """What it has computed shall not be shared."""
        self._tables.release(self._drafts.pop(sequence).own, is_spoilt=True)
