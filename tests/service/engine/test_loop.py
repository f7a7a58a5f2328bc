"""What the engine thread does when a step fails, when it is idle and when it is wrong; what it measures."""

import asyncio
import threading
from typing import Any

import pytest

from service.engine.blocks import BlockPool
from service.engine.client import EngineClient
from service.engine.limits import SchedulerLimits
from service.engine.observer import NoObserver, RequestTimings, StepTimings
from service.engine.plan import Phase
from service.engine.request import FailedRow, FinishReason, SampledToken
from service.engine.scheduler import Scheduler
from service.errors import StepFailed
from tests.service.engine.builders import request, scheduler, tokens_of
from tests.service.fakes import FakeClock, FakeRunner, serving, until


async def test_a_failing_step_fails_its_requests_and_no_others(caplog: pytest.LogCaptureFixture) -> None:
    runner = FakeRunner()
    async with serving(runner, max_batch=1) as client:
        runner.to_raise.append(ValueError("a kernel's complaint"))
        unlucky, lucky = request(id="unlucky"), request(id="lucky")
        streams = [client.generate(unlucky), client.generate(lucky)]
        events = [event async for event in streams[0]]
        assert events[-1].finish_reason is FinishReason.ERROR
        assert isinstance(events[-1].error, StepFailed)
        assert "a kernel's complaint" not in str(events[-1].error)  # clients hear no internals, the log does
        assert "a kernel's complaint" in caplog.text
        assert await tokens_of(streams[1]) == runner.expected_tokens(lucky, 8)
        assert client.stats().num_used_blocks == 0
        assert client.stats().is_alive


async def test_a_failed_row_ends_its_own_request_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    class Poisoned(FakeRunner):
        def run(self, plan: Any) -> Any:
            sampled = iter(super().run(plan))
            return [self._but_third(chunk.sequence, next(sampled)) for chunk in plan.chunks if chunk.samples]

        def _but_third(self, sequence: Any, token: SampledToken) -> SampledToken | FailedRow:
            fails = sequence.id == "unlucky" and sequence.num_output_tokens == 2
            return FailedRow("a row's complaint") if fails else token

    runner = Poisoned()
    finished: list[RequestTimings] = []

    class Observer(NoObserver):
        def on_finish(self, request: RequestTimings) -> None:
            finished.append(request)

    async with serving(runner, observer=Observer()) as client:
        unlucky, lucky = request(40, id="unlucky", max_tokens=50), request(40, id="lucky", max_tokens=50)
        streams = [client.generate(unlucky), client.generate(lucky)]
        events = [event async for event in streams[0]]
        heard = [token.id for event in events for token in event.tokens]
        assert heard == runner.expected_tokens(unlucky, 2)
        assert events[-1].finish_reason is FinishReason.ERROR
        assert isinstance(events[-1].error, StepFailed)
        assert "complaint" not in str(events[-1].error)
        assert await tokens_of(streams[1]) == runner.expected_tokens(lucky, 50)
        assert client.stats().num_used_blocks == 0
    assert "request unlucky fails at token 42: a row's complaint" in caplog.text
    assert [(timings.id, timings.finish_reason) for timings in finished] == [
        ("unlucky", FinishReason.ERROR),
        ("lucky", FinishReason.LENGTH),
    ]


async def test_a_runner_that_samples_too_little_fails_the_step(caplog: pytest.LogCaptureFixture) -> None:
    class Mute(FakeRunner):
        def run(self, plan: Any) -> Any:
            return super().run(plan)[1:]

    async with serving(Mute()) as client:
        events = [event async for event in client.generate(request())]
        assert isinstance(events[-1].error, StepFailed)
        assert "sampled 0 tokens" in caplog.text


async def test_a_bug_on_the_engine_thread_ends_everything_and_says_so() -> None:
    runner = FakeRunner()
    client = EngineClient(scheduler(), runner)
    client.start()
    bad = request()
    object.__setattr__(bad, "arrival_s", "noon")  # breaks the scheduler's order
    runner.hold()
    streams = [client.generate(request()), client.generate(bad)]
    runner.let_go()
    for stream in streams:
        events = [event async for event in stream]
        assert isinstance(events[-1].error, StepFailed)
    with pytest.raises(StepFailed, match="the engine has failed"):
        client.generate(request())
    await until(client, lambda stats: not stats.is_alive)
    assert await client.stop(drain_s=0)


async def test_the_observer_hears_of_steps_and_requests() -> None:
    steps: list[StepTimings] = []
    requests: list[RequestTimings] = []

    class Observer:
        def on_step(self, step: StepTimings) -> None:
            assert threading.current_thread() is threading.main_thread()
            steps.append(step)

        def on_finish(self, request: RequestTimings) -> None:
            requests.append(request)

    clock = FakeClock()

    class Runner(FakeRunner):
        def run(self, plan: Any) -> Any:
            clock.advance(2.0)
            return super().run(plan)

    runner = Runner()
    async with serving(runner, observer=Observer(), clock=clock, token_budget=8) as client:
        a = request(12, id="timed", arrival_s=clock() - 1.0, max_tokens=3)
        await tokens_of(client.generate(a))
        assert [step.phase for step in steps] == [Phase.PREFILL, Phase.PREFILL, Phase.DECODE, Phase.DECODE]
        assert [step.num_tokens for step in steps] == [8, 4, 1, 1]
        assert [step.run_s for step in steps] == [2.0] * 4
        assert [step.plan_s + step.commit_s for step in steps] == [0.0] * 4
        assert [step.token_gaps_s for step in steps] == [(), (), (2.0,), (2.0,)]
        assert [first.ttft_s for step in steps for first in step.first_tokens] == [5.0]
        (timings,) = requests
        assert timings.first_token is not None
        assert (timings.first_token.queue_s, timings.first_token.prefill_s, timings.total_s) == (1.0, 4.0, 9.0)
        assert (timings.num_prompt_tokens, timings.num_output_tokens) == (12, 3)
        assert timings.finish_reason is FinishReason.LENGTH

        runner.hold()
        stream = client.generate(request(id="aborted", max_tokens=500))
        runner.allow()
        await anext(stream)
        stream.close()
        runner.let_go()
        await until(client, lambda stats: stats.num_queued + stats.num_running == 0)
        assert (requests[-1].id, requests[-1].finish_reason) == ("aborted", FinishReason.ABORT)

        complaint = ValueError("no")
        runner.to_raise.append(complaint)
        [event async for event in client.generate(request(id="failed"))]
        assert steps[-1].error is complaint
        assert (requests[-1].id, requests[-1].finish_reason) == ("failed", FinishReason.ERROR)
        assert requests[-1].first_token is None


async def test_an_idle_engine_beats_without_running_steps() -> None:
    clock = FakeClock()
    runner = FakeRunner()
    async with serving(runner, clock=clock, idle_wake_s=0.01) as client:
        await tokens_of(client.generate(request(arrival_s=clock())))
        num_plans = len(runner.plans)
        clock.advance(1000.0)
        assert client.stats().heartbeat_age_s == 1000.0
        await until(client, lambda stats: stats.heartbeat_age_s == 0.0)
        assert len(runner.plans) == num_plans


async def test_an_idle_engine_finds_a_lost_block(caplog: pytest.LogCaptureFixture) -> None:
    pool = BlockPool(8)
    limits = SchedulerLimits(max_context=64)
    client = EngineClient(Scheduler(pool, limits), FakeRunner(), idle_wake_s=0.01)
    pool.allocate(1)
    client.start()
    await until(client, lambda stats: not stats.is_alive)
    await asyncio.sleep(0)  # its last report may still be on the way
    with pytest.raises(StepFailed, match="the engine has failed"):
        client.generate(request())
    assert "held 0 times" in caplog.text
    await client.stop(drain_s=0)


async def test_the_heartbeat_ages_while_a_step_hangs() -> None:
    clock = FakeClock()
    runner = FakeRunner()
    async with serving(runner, clock=clock) as client:
        runner.hold()
        stream = client.generate(request(max_tokens=1))
        await runner.next_step()
        clock.advance(30.0)
        assert client.stats().heartbeat_age_s == 30.0
        runner.let_go()
        await tokens_of(stream)


async def test_steps_and_idleness_leave_no_second_out() -> None:
    steps: list[StepTimings] = []
    finished: list[RequestTimings] = []
    ends: list[int] = []

    class Observer(NoObserver):
        def on_step(self, step: StepTimings) -> None:
            steps.append(step)

        def on_finish(self, request: RequestTimings) -> None:
            finished.append(request)
            ends.append(len(steps))

    async with serving(FakeRunner(step_s=0.001), observer=Observer(), token_budget=16, idle_wake_s=0.01) as client:
        await tokens_of(client.generate(request(40, max_tokens=5)))
        await asyncio.sleep(0.03)  # idle in between
        await tokens_of(client.generate(request(3, max_tokens=5)))
    assert len(ends) == 2
    for group in (steps[: ends[0]], steps[ends[0] :]):
        ends_s = [step.begun_s + step.plan_s + step.run_s + step.commit_s for step in group]
        assert [step.begun_s for step in group[1:]] == pytest.approx(ends_s[:-1])
    long, short = finished
    assert [num_tokens for _, _, num_tokens in long.prefill_chunks] == [16, 16, 8]
    assert [num_tokens for _, _, num_tokens in short.prefill_chunks] == [3]
    starts_and_ends = [time_s for start_s, end_s, _ in long.prefill_chunks for time_s in (start_s, end_s)]
    assert starts_and_ends == sorted(starts_and_ends)
    assert long.first_token is not None
    assert long.decode_s == pytest.approx(long.total_s - long.first_token.ttft_s)
    assert long.time_per_output_token_s == pytest.approx((long.decode_s or 0) / 4)
