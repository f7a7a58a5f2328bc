"""Any history of requests, steps, aborts and failures: blocks conserved, no token lost or changed, everybody served."""

from dataclasses import replace
from itertools import groupby

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kernels.runtime.abi import BLOCK_TOKENS
from service.engine.blocks import BlockPool
from service.engine.drafter import NO_DRAFTS
from service.engine.limits import SchedulerLimits
from service.engine.output import Output
from service.engine.plan import StepPlan
from service.engine.request import DrafterKind, FailedRow, FinishReason, Request, SampledToken, SamplingParams
from service.engine.scheduler import Scheduler
from service.errors import ContextOverflow
from tests.service.engine.constraints import Forcing
from tests.service.engine.fake_draft_model import FakeDraftRunner, fake_draft_model
from tests.service.fakes import LETTERS, FakeRunner


class SchedulerMachine(RuleBasedStateMachine):
    @initialize(
        num_blocks=st.integers(1, 10),
        max_context=st.integers(2, 400),
        max_batch=st.integers(1, 12),
        spare_budget=st.integers(0, 70),
        shares_prefixes=st.booleans(),
        inter_token_s=st.none() | st.floats(1e-4, 1.0),
        num_drafts=st.sampled_from([0, 1, 5, 20]),
        alphabet=st.sampled_from([b"a", b"ab", LETTERS]),
        percent_right=st.sampled_from([None, 0, 70, 100]),
        num_draft_blocks=st.integers(1, 10),
        draft_context=st.integers(2, 400),
    )
    def build(
        self,
        num_blocks: int,
        max_context: int,
        max_batch: int,
        spare_budget: int,
        shares_prefixes: bool,
        inter_token_s: float | None,
        num_drafts: int,
        alphabet: bytes,
        percent_right: int | None,
        num_draft_blocks: int,
        draft_context: int,
    ) -> None:
        """`percent_right`: of the draft model's guesses; None: there is no such model."""
        limits = SchedulerLimits(
            max_context=max_context,
            max_batch=max_batch,
            token_budget=max_batch + spare_budget,
            shares_prefixes=shares_prefixes,
            inter_token_s=inter_token_s,
            num_drafts=num_drafts,
        )
        self.pool = BlockPool(num_blocks)
        draft_model, self.draft_pool = None, BlockPool(1)
        self.guessing = FakeDraftRunner(percent_right=percent_right or 0, alphabet=alphabet)
        if percent_right is not None:
            draft_model, self.draft_pool = fake_draft_model(
                self.guessing, num_draft_blocks, max_context=draft_context, shares_prefixes=shares_prefixes
            )
        self.engine = Scheduler(self.pool, limits, draft_model=draft_model)
        # With one letter every guess comes true, with two some do.
        self.runner = FakeRunner(alphabet=alphabet)
        self.open: dict[str, Request] = {}
        self.heard: dict[str, list[int]] = {}
        self.num_added = 0
        self.now_s = 0.0
        self.step_s = 0.01

    @rule(
        num_prompt=st.integers(1, 200),
        max_tokens=st.none() | st.integers(1, 100),
        priority=st.integers(-2, 2),
        temperature=st.sampled_from([0.0, 1.0]),
        waited_s=st.floats(0, 30),
        num_common=st.integers(0, 150),
        salt=st.sampled_from(["", "a"]),
        prompt_logprobs=st.sampled_from([None, None, 0, 2]),
        drafter=st.none() | st.sampled_from(DrafterKind),
        choices=st.none() | st.sets(st.integers(0, 100)),
    )
    def add(
        self,
        num_prompt: int,
        max_tokens: int | None,
        priority: int,
        temperature: float,
        waited_s: float,
        num_common: int,
        salt: str,
        prompt_logprobs: int | None,
        drafter: DrafterKind | None,
        choices: set[int] | None,
    ) -> None:
        """`choices`: its output is to match a format that forces all tokens but those in these places."""
        self.num_added += 1
        self.now_s += waited_s
        request = Request(
            id=f"r{self.num_added}",
            # All begin alike, each for a while.
            prompt_ids=tuple(
                (position + (self.num_added * 7 if position >= num_common else 0)) % 256
                for position in range(num_prompt)
            ),
            sampling=SamplingParams(
                temperature=temperature, max_tokens=max_tokens, seed=self.num_added, prompt_logprobs=prompt_logprobs
            ),
            arrival_s=self.now_s,
            priority=priority,
            cache_salt=salt,
            drafter=drafter,
        )
        if choices is not None:
            request = replace(request, constraint=Forcing(self.runner.expected_tokens(request, 500), choices))
        try:
            self.engine.add(request, seed=self.num_added)
        except ContextOverflow:
            assert num_prompt >= min(self.engine.limits.max_context, self.pool.num_blocks * BLOCK_TOKENS)
        else:
            self.open[request.id] = request
            self.heard[request.id] = []

    @rule(num_steps=st.integers(1, 30))
    def step(self, num_steps: int) -> None:
        for _ in range(num_steps):
            if self.engine.has_work:
                self._step()

    @rule(step_s=st.floats(1e-6, 10.0))
    def steps_take(self, step_s: float) -> None:
        self.step_s = step_s

    @rule()
    def fail(self) -> None:
        if self.open:
            failed = self.engine.fail(self._plan())
            assert failed
            for sequence in failed:
                del self.open[sequence.id]

    @rule(data=st.data())
    def fail_a_row(self, data: st.DataObject) -> None:
        if not self.open:
            return
        plan = self._plan()
        sampled: list[SampledToken | FailedRow] = list(self.runner.run(plan))
        failing = data.draw(st.integers(0, len(sampled) - 1)) if sampled else None
        if failing is not None:
            sampled[failing] = FailedRow("bad luck")
        for output in self.engine.commit(plan, sampled):
            if isinstance(output.token, FailedRow):
                assert output.finish_reason is FinishReason.ERROR
                assert not output.sequence.block_table
                del self.open[output.sequence.id]
            else:
                self._hear(output)

    @rule()
    def the_draft_model_fails(self) -> None:
        if self.open:
            self.guessing.to_raise.append(RuntimeError("bad luck"))
            self._step()
            self.guessing.to_raise.clear()

    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        if self.open:
            request_id = data.draw(st.sampled_from(sorted(self.open)))
            assert self.engine.abort(request_id) is not None
            del self.open[request_id]
            assert self.engine.abort(request_id) is None

    @invariant()
    def books_balance(self) -> None:
        if self.num_added:
            self.engine.check()
            assert self.engine.num_running + self.engine.num_waiting == len(self.open)

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        # Alone, each would need a step a token; preemption may cost everyone's tokens again whenever one ends.
        tokens = sum(len(request.prompt_ids) + (request.sampling.max_tokens or 400) for request in self.open.values())
        steps_left = tokens * (len(self.open) + 1)
        while self.engine.has_work:
            self._step()
            steps_left -= 1
            assert steps_left >= 0, "somebody starves"
        assert not self.open
        assert self.pool.num_used == 0
        self.pool.check([])
        self.draft_pool.check([])

    def _plan(self) -> StepPlan:
        plan = self.engine.plan()
        num_right = sum(stats.num_right for stats in self.engine.drafting.stats.values())
        by_model = self.engine.drafting.stats.get(DrafterKind.DRAFT_MODEL, NO_DRAFTS)
        event(f"guesses: {plan.num_drafts > 0}")
        event(f"some came true: {num_right > 0}, of the draft model: {by_model.num_right > 0}")
        assert plan.num_logit_rows <= self.engine.limits.max_batch
        event(f"forces: {self.engine.num_forced_tokens > 0}")
        event(f"preempts: {plan.num_preempted > 0}")
        event(f"shares: {self.engine.prefix_stats.num_hit_tokens > 0}")
        limits = self.engine.limits
        assert 1 <= plan.num_tokens <= limits.token_budget
        ids = [chunk.sequence.id for chunk in plan.chunks]
        assert len(ids) == len(set(ids)) <= limits.max_batch
        assert set(ids) <= set(self.open)
        for chunk in plan.chunks:
            sequence, end = chunk.sequence, chunk.start + chunk.num_tokens
            assert chunk.num_tokens >= 1
            assert chunk.start == sequence.num_computed
            assert chunk.samples == (end - len(chunk.drafts) == len(sequence.token_ids))
            assert not chunk.drafts or chunk.is_decode
            assert end <= len(sequence.block_table) * BLOCK_TOKENS
            # What was reported and what the next step reads are the same.
            assert sequence.token_ids == [*sequence.request.prompt_ids, *self.heard[sequence.id]]
        return plan

    def _step(self) -> None:
        plan = self._plan()
        sampled: list[SampledToken] = self.runner.run(plan)
        self.engine.observe(plan, self.step_s)
        outputs = self.engine.commit(plan, sampled)
        # A row at least for each that samples; for its drafts more, up to the first that was wrong or an end.
        heard = [id for id, _ in groupby(output.sequence.id for output in outputs)]
        assert heard == [chunk.sequence.id for chunk in plan.chunks if chunk.samples]
        num_forced = sum(chunk.sequence.num_forced for chunk in plan.chunks if chunk.samples)
        assert len(outputs) <= plan.num_logit_rows + num_forced
        for output in outputs:
            self._hear(output)

    def _hear(self, output: Output) -> None:
        assert isinstance(output.token, SampledToken)
        request = self.open[output.sequence.id]
        heard = self.heard[request.id]
        heard.append(output.token.id)
        scored = () if request.sampling.prompt_logprobs is None else request.prompt_ids[1:]
        assert tuple(score.id for score in output.sequence.scores) == scored, "a prompt is scored once, and whole"
        assert len(heard) <= output.sequence.max_tokens
        assert len(request.prompt_ids) + len(heard) <= self.engine.max_context
        if output.finish_reason is not None:
            assert output.finish_reason is FinishReason.LENGTH
            assert len(heard) == output.sequence.max_tokens
            assert heard == self.runner.expected_tokens(request, len(heard)), "preemption or sharing changed the tokens"
            del self.open[request.id]


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
