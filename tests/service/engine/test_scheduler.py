from dataclasses import replace

import pytest

from kernels.runtime.abi import BLOCK_TOKENS
from service.engine.limits import SchedulerLimits
from service.engine.output import Output
from service.engine.plan import Phase, StepPlan
from service.engine.request import FailedRow, FinishReason, SampledToken
from service.engine.scheduler import PRIORITY_STEP_S, Scheduler
from service.errors import ContextOverflow
from tests.service.engine.builders import request, scheduler
from tests.service.engine.constraints import Script
from tests.service.fakes import EOS, FakeRunner


def step(engine: Scheduler, runner: FakeRunner) -> tuple[StepPlan, list[Output]]:
    plan = engine.plan()
    outputs = engine.commit(plan, runner.run(plan))
    engine.check()
    return plan, outputs


def shape(plan: StepPlan) -> list[tuple[str, int, int]]:
    return [(chunk.sequence.id, chunk.start, chunk.num_tokens) for chunk in plan.chunks]


def run_all(engine: Scheduler, runner: FakeRunner) -> dict[str, list[int]]:
    tokens: dict[str, list[int]] = {}
    while engine.has_work:
        for output in step(engine, runner)[1]:
            tokens.setdefault(output.sequence.id, []).append(output.token.id)
    assert engine.num_used_blocks == 0
    return tokens


def test_a_prompt_is_cut_to_the_budget_and_only_its_last_chunk_samples() -> None:
    engine, runner = scheduler(token_budget=10), FakeRunner()
    engine.add(request(25, id="a"), seed=0)
    plans = [step(engine, runner)[0] for _ in range(4)]
    assert [shape(plan) for plan in plans] == [[("a", 0, 10)], [("a", 10, 10)], [("a", 20, 5)], [("a", 25, 1)]]
    assert [plan.num_logit_rows for plan in plans] == [0, 0, 1, 1]
    assert [plan.phase for plan in plans] == [Phase.PREFILL, Phase.PREFILL, Phase.PREFILL, Phase.DECODE]


def test_a_prompt_of_one_token_is_prefill() -> None:
    engine, runner = scheduler(), FakeRunner()
    engine.add(request(1), seed=0)
    assert step(engine, runner)[0].phase is Phase.PREFILL
    assert step(engine, runner)[0].phase is Phase.DECODE


def test_running_streams_decode_beside_a_long_prompt() -> None:
    engine, runner = scheduler(token_budget=16), FakeRunner()
    engine.add(request(3, id="a", arrival_s=1), seed=0)
    engine.add(request(3, id="b", arrival_s=2), seed=0)
    step(engine, runner)
    engine.add(request(40, id="long", arrival_s=3), seed=0)
    plan, outputs = step(engine, runner)
    assert shape(plan) == [("a", 3, 1), ("b", 3, 1), ("long", 0, 14)]
    assert plan.phase is Phase.MIXED
    assert [output.sequence.id for output in outputs] == ["a", "b"]


def test_two_prompts_share_a_step() -> None:
    engine, runner = scheduler(token_budget=16), FakeRunner()
    engine.add(request(10, id="a"), seed=0)
    engine.add(request(10, id="b"), seed=0)
    assert shape(step(engine, runner)[0]) == [("a", 0, 10), ("b", 0, 6)]
    assert shape(step(engine, runner)[0]) == [("a", 10, 1), ("b", 6, 4)]


def test_the_batch_is_bounded() -> None:
    engine, runner = scheduler(max_batch=2), FakeRunner()
    for _ in range(5):
        engine.add(request(), seed=0)
    assert len(step(engine, runner)[0].chunks) == 2
    assert (engine.num_running, engine.num_waiting) == (2, 3)


def test_first_come_first_served_whatever_the_order_of_adding() -> None:
    engine, runner = scheduler(max_batch=1), FakeRunner()
    for name, arrival_s in (("late", 3.0), ("early", 1.0), ("middle", 2.0)):
        engine.add(request(id=name, arrival_s=arrival_s, max_tokens=2), seed=0)
    assert list(run_all(engine, runner)) == ["early", "middle", "late"]


def test_a_level_of_priority_is_worth_ten_seconds_of_waiting() -> None:
    engine, runner = scheduler(max_batch=1), FakeRunner()
    engine.add(request(id="urgent, too late", arrival_s=PRIORITY_STEP_S + 0.1, priority=-1), seed=0)
    engine.add(request(id="plain", arrival_s=0.0), seed=0)
    engine.add(request(id="urgent", arrival_s=PRIORITY_STEP_S - 0.1, priority=-1), seed=0)
    assert list(run_all(engine, runner)) == ["urgent", "plain", "urgent, too late"]


def test_nobody_starves_behind_a_stream_of_urgent_requests() -> None:
    engine, runner = scheduler(max_batch=1), FakeRunner()
    engine.add(request(id="patient", arrival_s=0.0, priority=3), seed=0)
    for second in range(100):
        engine.add(request(arrival_s=float(second), priority=0, max_tokens=1), seed=0)
        outputs = step(engine, runner)[1]
        if outputs[0].sequence.id == "patient":
            assert second == pytest.approx(3 * PRIORITY_STEP_S, abs=1)
            return
    raise AssertionError("starved")


def test_a_large_prompt_at_the_head_is_not_overtaken() -> None:
    engine, runner = scheduler(num_blocks=8, max_context=256), FakeRunner()
    engine.add(request(4 * BLOCK_TOKENS, id="running", arrival_s=1, max_tokens=20), seed=0)
    for _ in range(3):
        step(engine, runner)
    engine.add(request(5 * BLOCK_TOKENS, id="large", arrival_s=2), seed=0)
    engine.add(request(1, id="small", arrival_s=3), seed=0)
    step(engine, runner)
    assert engine.num_running == 1
    assert list(run_all(engine, runner)) == ["running", "large", "small"]


def test_the_reserve_does_not_keep_a_sequence_from_the_whole_pool() -> None:
    engine, runner = scheduler(num_blocks=4, max_context=1024), FakeRunner()
    engine.add(request(4 * BLOCK_TOKENS - 1, max_tokens=None), seed=0)
    assert [len(tokens) for tokens in run_all(engine, runner).values()] == [1]


def test_a_newcomer_leaves_every_running_sequence_room_to_grow() -> None:
    engine, runner = scheduler(num_blocks=4, max_context=128), FakeRunner()
    engine.add(request(BLOCK_TOKENS - 4, id="running", arrival_s=1, max_tokens=8), seed=0)
    step(engine, runner)
    newcomer = engine.add(request(3 * BLOCK_TOKENS, id="newcomer", arrival_s=2), seed=0)
    # Three blocks are free, but the running sequence will need one of them soon.
    assert len(step(engine, runner)[0].chunks) == 1
    assert set(run_all(engine, runner)) == {"running", "newcomer"}
    assert newcomer.num_preemptions == 0


def test_preemption_takes_the_last_and_changes_no_token() -> None:
    engine, runner = scheduler(num_blocks=4, max_context=256), FakeRunner()
    first = request(BLOCK_TOKENS - 2, id="first", arrival_s=1, max_tokens=70)
    second = request(BLOCK_TOKENS - 2, id="second", arrival_s=2, max_tokens=70)
    engine.add(first, seed=0)
    loser = engine.add(second, seed=0)
    tokens: dict[str, list[int]] = {"first": [], "second": []}
    num_preempted = 0
    while engine.has_work:
        plan, outputs = step(engine, runner)
        num_preempted += plan.num_preempted
        for output in outputs:
            tokens[output.sequence.id].append(output.token.id)
    assert num_preempted == loser.num_preemptions == 1
    assert tokens == {"first": runner.expected_tokens(first, 70), "second": runner.expected_tokens(second, 70)}


def test_the_last_in_the_order_stalls_rather_than_give_up_its_own_blocks() -> None:
    engine, runner = scheduler(num_blocks=4, max_context=128), FakeRunner()
    engine.add(request(3 * BLOCK_TOKENS - 8, id="first", arrival_s=1, max_tokens=6), seed=0)
    second = engine.add(request(1, id="second", arrival_s=2, max_tokens=40), seed=0)
    tokens = run_all(engine, runner)
    assert second.num_preemptions == 0
    assert len(tokens["second"]) == 40


def test_stop_tokens_end_a_request_and_free_its_blocks() -> None:
    engine, runner = scheduler(), FakeRunner(script=b"abc")
    engine.add(request(max_tokens=50), seed=0)
    outputs = [output for _ in range(4) for output in step(engine, runner)[1]]
    assert [output.token.id for output in outputs] == [*b"abc", EOS]
    assert [output.finish_reason for output in outputs] == [None, None, None, FinishReason.STOP]
    assert not engine.has_work
    assert engine.num_used_blocks == 0


@pytest.mark.parametrize(
    ("sampling", "num_tokens", "reason"),
    [
        ({"max_tokens": 2}, 2, FinishReason.LENGTH),
        ({"max_tokens": 9, "ignore_eos": True}, 9, FinishReason.LENGTH),
        ({"max_tokens": 9, "ignore_eos": True, "stop_token_ids": frozenset({EOS})}, 4, FinishReason.STOP),
        ({"max_tokens": 9, "stop_token_ids": frozenset(b"b")}, 2, FinishReason.STOP),
        ({"max_tokens": 9, "min_tokens": 6}, 6, FinishReason.STOP),
        ({"max_tokens": 9, "min_tokens": 3, "stop_token_ids": frozenset(b"b")}, 4, FinishReason.STOP),
        ({"max_tokens": 4}, 4, FinishReason.STOP),
    ],
)
def test_how_a_request_ends(sampling: dict[str, object], num_tokens: int, reason: FinishReason) -> None:
    engine, runner = scheduler(), FakeRunner(script=b"abc")
    engine.add(request(**sampling), seed=0)
    outputs = [output for _ in range(num_tokens) for output in step(engine, runner)[1]]
    assert [output.finish_reason for output in outputs] == [*[None] * (num_tokens - 1), reason]
    assert not engine.has_work


def test_max_tokens_is_cut_to_what_the_context_leaves() -> None:
    engine, runner = scheduler(max_context=20), FakeRunner()
    engine.add(request(15, id="huge", max_tokens=1 << 31), seed=0)
    engine.add(request(15, id="none", max_tokens=None), seed=0)
    assert {name: len(tokens) for name, tokens in run_all(engine, runner).items()} == {"huge": 5, "none": 5}


@pytest.mark.parametrize(("num_blocks", "bound"), [(64, "the context holds 128"), (2, "the KV cache holds 64")])
def test_what_can_never_fit_is_refused_with_numbers(num_blocks: int, bound: str) -> None:
    engine = scheduler(num_blocks, max_context=128)
    engine.check_fits(request(engine.max_context - 1))
    too_long = request(engine.max_context)
    with pytest.raises(ContextOverflow, match=rf"{engine.max_context} tokens; {bound}"):
        engine.check_fits(too_long)
    with pytest.raises(ContextOverflow):
        engine.add(too_long, seed=0)
    assert not engine.has_work


def test_abort_wherever_it_is() -> None:
    engine, runner = scheduler(max_batch=1), FakeRunner()
    engine.add(request(id="running", arrival_s=1), seed=0)
    engine.add(request(id="waiting", arrival_s=2), seed=0)
    step(engine, runner)
    assert engine.num_used_blocks == 1
    for name in ("waiting", "running"):
        sequence = engine.abort(name)
        assert sequence is not None
        assert sequence.id == name
        engine.check()
    assert engine.abort("running") is None
    assert engine.num_used_blocks == 0
    assert not engine.has_work


def test_a_failed_step_ends_its_own_sequences_only() -> None:
    engine, runner = scheduler(max_batch=1), FakeRunner()
    lucky = request(id="lucky", arrival_s=2)
    engine.add(request(id="unlucky", arrival_s=1), seed=0)
    engine.add(lucky, seed=0)
    step(engine, runner)
    assert [sequence.id for sequence in engine.fail(engine.plan())] == ["unlucky"]
    engine.check()
    assert engine.num_used_blocks == 0
    assert run_all(engine, runner) == {"lucky": runner.expected_tokens(lucky, 8)}


def test_abort_all() -> None:
    engine, runner = scheduler(max_batch=2), FakeRunner()
    for _ in range(4):
        engine.add(request(), seed=0)
    step(engine, runner)
    assert len(engine.abort_all()) == 4
    engine.check()
    assert engine.num_used_blocks == 0


def test_the_runner_may_not_sample_more_or_less_than_planned() -> None:
    engine = scheduler()
    engine.add(request(), seed=0)
    token = SampledToken(1, 0.0)
    with pytest.raises(AssertionError, match="more tokens"):
        engine.commit(engine.plan(), [token, token])


def test_every_running_sequence_must_fit_the_budget() -> None:
    limits = SchedulerLimits(max_context=64, max_batch=8, token_budget=8)
    with pytest.raises(AssertionError):
        replace(limits, token_budget=7)


def test_a_finished_constraint_ends_its_request_with_its_last_token() -> None:
    engine, runner = scheduler(), FakeRunner(script=b"abc")
    script = Script(*b"ab")
    engine.add(replace(request(max_tokens=50), constraint=script), seed=0)
    outputs = [output for _ in range(2) for output in step(engine, runner)[1]]
    assert [output.finish_reason for output in outputs] == [None, FinishReason.STOP]
    assert outputs[-1].is_complete
    assert script.accepted == [*b"ab"]
    assert not engine.has_work


def test_a_constraint_may_end_with_the_end_of_text() -> None:
    engine, runner = scheduler(), FakeRunner(script=b"a")
    engine.add(replace(request(max_tokens=50), constraint=Script(ord("a"), EOS)), seed=0)
    outputs = [output for _ in range(2) for output in step(engine, runner)[1]]
    assert outputs[-1].finish_reason is FinishReason.STOP
    assert not outputs[-1].is_complete


def test_a_constraint_that_refuses_the_token_fails_its_own_request() -> None:
    engine, runner = scheduler(), FakeRunner(script=b"abc")
    engine.add(replace(request(id="bound"), constraint=Script(*b"ax")), seed=0)
    engine.add(request(id="free", max_tokens=3), seed=0)
    step(engine, runner)
    _, (bound, free) = step(engine, runner)
    assert bound.finish_reason is FinishReason.ERROR
    assert isinstance(bound.token, FailedRow)
    assert "refused token 98" in bound.token.reason
    assert free.finish_reason is None
    assert not bound.sequence.block_table
