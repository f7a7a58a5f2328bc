"""Decides which tokens each step computes and who holds which blocks. Knows no arrays, no threads and no clock.

Continuous batching with one token budget: every running sequence that decodes gets one token, what is left goes to
prefill chunks, as many tokens as keep the pace of those that decode: a long prompt never stops the others. One order
rules everything, the rank: first come first served, where a level of priority counts as `PRIORITY_STEP_S` seconds of
waiting. Nobody starves: whoever comes late enough comes after.

A sequence gets the blocks of all its tokens when it is admitted, those of a prefix that is cached as they are, and one
more whenever decoding fills the last. When none is free, the running sequence of the highest rank gives all its blocks
back and waits to be computed again (preemption by recompute; the runner guarantees the same tokens). The lowest rank
can always take what it needs, and no request is accepted that could not run alone, so every step makes progress.
"""

from bisect import insort
from collections.abc import Iterable, Iterator
from collections.abc import Sequence as Seq
from itertools import zip_longest
from operator import attrgetter

from kernels.runtime.abi import BLOCK_TOKENS
from service.engine.block_tables import BlockTables, PrefixStats
from service.engine.blocks import BlockPool
from service.engine.draft_model import DraftModel
from service.engine.drafting import Drafting
from service.engine.limits import SchedulerLimits
from service.engine.output import Output, take_forced, take_row
from service.engine.plan import Chunk, StepPlan, decode_chunk
from service.engine.prefill_chunk import prefill_chunk, take_scores
from service.engine.prefill_pace import PrefillPace
from service.engine.request import FailedRow, Request, SampledToken
from service.engine.sequence import Sequence
from service.errors import ContextOverflow

PRIORITY_STEP_S = 10.0

_rank = attrgetter("rank")


class Scheduler:
    def __init__(
        self,
        pool: BlockPool,
        limits: SchedulerLimits,
        eos_ids: Iterable[int] = (),
        draft_model: DraftModel | None = None,
    ) -> None:
        self._pool = pool
        self._tables = BlockTables(pool, shares=limits.shares_prefixes, kv_type=limits.kv_type)
        self._limits = limits
        self.drafting = Drafting(limits, draft_model)
        self._most_forced = limits.token_budget // limits.max_batch - 1  # all at once fit into a step
        self.num_forced_tokens = 0
        """Since the start."""
        self._pace = PrefillPace(limits.inter_token_s)
        self._eos_ids = frozenset(eos_ids)
        # Both in the order of rank. A waiting sequence holds no blocks.
        self._waiting: list[Sequence] = []
        self._running: list[Sequence] = []
        self._timed: dict[str, Sequence] = {}
        """Those with a deadline."""
        self._num_added = 0

    @property
    def limits(self) -> SchedulerLimits:
        return self._limits

    @property
    def max_context(self) -> int:
        """Tokens that a sequence can have: the model's context, or the whole KV cache if that is smaller."""
        return min(self._limits.max_context, self._pool.num_blocks * BLOCK_TOKENS)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def num_blocks(self) -> int:
        return self._pool.num_blocks

    @property
    def num_used_blocks(self) -> int:
        return self._pool.num_used

    @property
    def num_cached_blocks(self) -> int:
        return self._pool.num_cached

    @property
    def prefix_stats(self) -> PrefixStats:
        return self._tables.stats

    @property
    def has_work(self) -> bool:
        return bool(self._running or self._waiting)

    def check_fits(self, request: Request) -> None:
        """Raise ContextOverflow if the request could never run. Reads only what never changes: any thread may ask."""
        num_prompt = len(request.prompt_ids)
        if num_prompt >= self.max_context:
            bound = "context" if self.max_context == self._limits.max_context else "KV cache"
            raise ContextOverflow(
                f"the prompt has {num_prompt} tokens; the {bound} holds {self.max_context}, "
                f"and at least one of them is for the output",
                param="prompt",
            )

    def add(self, request: Request, seed: int) -> Sequence:
        self.check_fits(request)
        left = self.max_context - len(request.prompt_ids)
        sampling = request.sampling
        wanted = sampling.max_tokens
        sequence = Sequence(
            request,
            rank=(request.arrival_s + request.priority * PRIORITY_STEP_S, self._num_added),
            max_tokens=left if wanted is None else min(wanted, left),
            seed=seed,
            end_ids=sampling.stop_token_ids if sampling.ignore_eos else sampling.stop_token_ids | self._eos_ids,
        )
        self._num_added += 1
        insort(self._waiting, sequence, key=_rank)
        if request.deadline_s is not None:
            self._timed[request.id] = sequence
        return sequence

    def expire(self, now_s: float) -> list[Sequence]:
        """Forget those whose deadline has passed."""
        late = [name for name, s in self._timed.items() if (s.request.deadline_s or 0.0) <= now_s]
        return [sequence for name in late if (sequence := self.abort(name)) is not None]

    def abort(self, request_id: str) -> Sequence | None:
        """Forget a request wherever it is. None: it has ended already."""
        for sequences in (self._running, self._waiting):
            for sequence in sequences:
                if sequence.id == request_id:
                    sequences.remove(sequence)
                    self._end(sequence)
                    return sequence
        return None

    def abort_all(self) -> list[Sequence]:
        ended = [*self._running, *self._waiting]
        for sequence in ended:
            self._end(sequence)
        self._running.clear()
        self._waiting.clear()
        return ended

    def plan(self) -> StepPlan:
        """The next step, to be given to `commit` or to `fail` before another is made."""
        num_preempted = self._grow_decoding()
        decoding = [s for s in self._running if s.is_decoding and s.num_missing_blocks <= 0]
        chunks = [decode_chunk(s, drafts) for s, drafts in zip(decoding, self._drafts(decoding), strict=True)]
        prefilling = [s for s in self._running if not s.is_decoding]
        budget = self._prefill_budget(chunks, len(prefilling) + len(self._waiting))
        may_admit = True
        candidates = sorted([*prefilling, *self._waiting[: self._limits.max_batch - len(self._running)]], key=_rank)
        num_logit_rows = self._limits.max_batch - len(decoding) - len(candidates) + 1  # beyond one for each other
        for sequence in candidates:
            if budget == 0:
                break
            if not sequence.block_table:
                # For a prefix that is being computed it waits a few steps at most, and keeps nobody else.
                if not may_admit or self._tables.must_wait(sequence):
                    continue
                # The head of the queue is never overtaken: else large prompts would starve behind small ones.
                may_admit = self._can_admit(sequence)
                if not may_admit:
                    continue
                self._admit(sequence)
            chunks.append(prefill_chunk(sequence, budget, num_logit_rows))
            num_logit_rows -= max(0, chunks[-1].num_logit_rows - 1)
            budget -= chunks[-1].num_tokens
        assert chunks or not self.has_work, "there is work and nothing to do"
        return StepPlan(tuple(chunks), num_preempted)

    def commit(self, plan: StepPlan, sampled: Seq[SampledToken | FailedRow]) -> list[Output]:
        """Take over what the runner computed; sequences that end give their blocks back."""
        outputs: list[Output] = []
        row = 0
        for chunk in plan.chunks:
            chunk.sequence.num_computed += chunk.num_tokens - len(chunk.drafts)
            outputs += self._take_rows(chunk, sampled[row : row + chunk.num_logit_rows])
            row += chunk.num_logit_rows
        assert row == len(sampled), "more tokens than rows that sample"
        return outputs

    def observe(self, plan: StepPlan, run_s: float) -> None:
        """How long the step took."""
        decoding = [chunk.num_tokens for chunk in plan.chunks if chunk.is_decode]
        if sum(decoding) == len(decoding):
            self._pace.observe(len(decoding), plan.num_tokens - len(decoding), run_s)

    def fail(self, plan: StepPlan) -> list[Sequence]:
        """The step could not be computed: its sequences end here."""
        failed = [chunk.sequence for chunk in plan.chunks]
        for sequence in failed:
            self._running.remove(sequence)
            self._end(sequence)
        return failed

    def check(self) -> None:
        """Assert that no block is lost and both orders are kept."""
        self._pool.check(sequence.block_table for sequence in self._running)
        self._tables.check()
        self.drafting.check(self._running)
        for sequences in (self._running, self._waiting):
            assert sequences == sorted(sequences, key=_rank), "out of order"
        assert all(not s.block_table and s.num_computed == 0 for s in self._waiting), "who waits holds nothing"
        assert all(s.num_computed < len(s.token_ids) for s in self._running), "a token to compute is always left"
        assert len(self._running) <= self._limits.max_batch
        assert all(s in self._running or s in self._waiting for s in self._timed.values()), (
            "who has ended has no deadline"
        )

    def _prefill_budget(self, decoding: Seq[Chunk], num_waiting: int) -> int:
        """Tokens. As many prompts as are allowed to run count as waiting, and no more; 0 if nobody would take any."""
        if num_waiting == 0:
            return 0
        num_decoding = len(decoding)
        room = self._limits.token_budget - sum(chunk.num_tokens for chunk in decoding)
        paced = self._pace.num_tokens(num_decoding, min(num_waiting, self._limits.max_batch - num_decoding))
        return room if paced is None else min(room, paced)

    def _grow_decoding(self) -> int:
        """Give every decoding sequence a place for its next tokens, best first. Returns how many were preempted."""
        num_preempted = 0
        for sequence in list(self._running):
            if not (sequence.is_decoding and sequence.num_missing_blocks > 0):
                continue
            num_missing = sequence.num_missing_blocks
            while not self._pool.can_allocate(num_missing) and self._running[-1] is not sequence:
                self._preempt(self._running[-1])
                num_preempted += 1
            if not self._pool.can_allocate(num_missing):
                break  # It is the last in the order itself: it keeps its blocks and stalls until others end.
            sequence.block_table += self._pool.allocate(num_missing)
        return num_preempted

    def _preempt(self, sequence: Sequence) -> None:
        self._running.remove(sequence)
        self._tables.release(sequence)
        self.drafting.release(sequence)
        sequence.num_preemptions += 1
        insort(self._waiting, sequence, key=_rank)

    def _can_admit(self, sequence: Sequence) -> bool:
        # Beyond its own tokens, leave every running sequence a block to grow: else the newcomer, who computes a whole
        # prompt, is the first to be preempted.
        return self._tables.can_admit(sequence, num_reserved=len(self._running))

    def _admit(self, sequence: Sequence) -> None:
        self._waiting.remove(sequence)
        insort(self._running, sequence, key=_rank)
        self._tables.admit(sequence)

    def _end(self, sequence: Sequence, *, is_spoilt: bool = False) -> None:
        self._tables.release(sequence, is_spoilt=is_spoilt)
        self.drafting.release(sequence)
        self._timed.pop(sequence.id, None)

    def _drafts(self, decoding: Seq[Sequence]) -> Seq[tuple[int, ...]]:
        """Only where a step has room that nobody else needs: none is prefilling or waiting."""
        if not self._limits.num_drafts or self._waiting or len(self._running) > len(decoding):
            return [()] * len(decoding)
        return self.drafting.guess(decoding, self._num_places)

    def _num_places(self, sequence: Sequence, num_drafts: int) -> int:
        """For its next tokens, with a block more where one is to spare."""
        if sequence.num_free_places < num_drafts and self._pool.can_allocate(1 + len(self._running)):
            sequence.block_table += self._pool.allocate(1)
        return min(num_drafts, sequence.num_free_places)

    def _take_rows(self, chunk: Chunk, rows: Seq[SampledToken | FailedRow]) -> Iterator[Output]:
        """The first row counts; each further one as long as the draft it builds on was what came before.

        What a constraint forces follows.
        """
        sequence, num_right, reason, row = chunk.sequence, 0, None, None
        for row, draft in zip_longest(take_scores(chunk, rows), chunk.drafts):
            output = take_row(sequence, row)
            yield output
            reason = output.finish_reason
            if reason is not None or draft != sequence.token_ids[-1]:
                break
            num_right += 1
        sequence.num_computed += num_right
        if chunk.samples and reason is None:
            for output in take_forced(sequence, self._most_forced):
                yield output
                row, reason = output.token, output.finish_reason
            self.num_forced_tokens += sequence.num_forced
        self.drafting.learn(chunk, num_right)
        self._tables.publish(sequence)
        if reason is not None:
            self._running.remove(sequence)
            self._end(sequence, is_spoilt=isinstance(row, FailedRow))
