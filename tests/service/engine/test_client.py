"""The engine thread and its client together, over a FakeRunner: admission, streams, leaving, draining."""

import asyncio
from dataclasses import replace
from random import Random

import pytest

from service.engine.client import STALL_S, EngineClient
from service.engine.request import FinishReason, Request, SamplingParams
from service.errors import ContextOverflow, DeadlineExceeded, Draining, NotReady, QueueFull
from tests.service.engine.builders import request, scheduler, tokens_of
from tests.service.fakes import FakeClock, FakeRunner, serving, until


async def test_one_request() -> None:
    runner = FakeRunner()
    async with serving(runner) as client:
        a = request(100, max_tokens=20)
        assert await tokens_of(client.generate(a)) == runner.expected_tokens(a, 20)
        stats = client.stats()
        assert (stats.num_queued, stats.num_running, stats.num_used_blocks, stats.num_blocks) == (0, 0, 0, 64)


async def test_many_requests_hear_their_own_tokens() -> None:
    runner = FakeRunner()
    # Blocks for about five at a time: most of them wait, some are preempted.
    async with serving(runner, num_blocks=16) as client:
        requests = [request(5 + 7 * n, id=f"many {n}", max_tokens=10 + 5 * n) for n in range(24)]
        heard = await asyncio.gather(*(tokens_of(client.generate(r)) for r in requests))
        for r, tokens in zip(requests, heard, strict=True):
            assert tokens == runner.expected_tokens(r, r.sampling.max_tokens or 0)


async def test_leaving_at_any_moment_disturbs_nobody() -> None:
    runner, random = FakeRunner(), Random(0)

    async def read(r: Request, num_events: int) -> None:
        heard: list[int] = []
        async with client.generate(r) as stream:
            async for event in stream:
                heard += [token.id for token in event.tokens]
                num_events -= 1
                if num_events == 0:
                    break
        assert heard == runner.expected_tokens(r, len(heard))
        assert num_events == 0 or len(heard) == r.sampling.max_tokens

    async with serving(runner, num_blocks=16, max_queue=120) as client:
        requests = [
            request(random.randint(1, 150), id=f"visitor {n}", max_tokens=random.randint(1, 60)) for n in range(120)
        ]
        readers = [asyncio.create_task(read(r, random.randint(1, 90))) for r in requests]
        for reader in random.sample(readers, 30):
            await asyncio.sleep(0.001)
            reader.cancel()
        outcomes = await asyncio.gather(*readers, return_exceptions=True)
        assert [o for o in outcomes if o is not None and not isinstance(o, asyncio.CancelledError)] == []
        await until(client, lambda stats: stats.num_queued + stats.num_running == 0)
        assert client.stats().num_used_blocks == 0


async def test_a_slow_reader_gets_everything_and_slows_nobody() -> None:
    runner = FakeRunner()
    async with serving(runner) as client:
        slow, quick = request(max_tokens=30), request(max_tokens=60)
        stream = client.generate(slow)
        assert await tokens_of(client.generate(quick)) == runner.expected_tokens(quick, 60)
        events = [event async for event in stream]
        assert len(events) == 1
        assert [token.id for token in events[0].tokens] == runner.expected_tokens(slow, 30)
        assert events[0].finish_reason is FinishReason.LENGTH


async def test_seeds() -> None:
    runner = FakeRunner()
    async with serving(runner, draw_seed=iter([5, 6]).__next__) as client:
        params = SamplingParams(temperature=1.0, max_tokens=16)
        base = Request(id="", prompt_ids=(1, 2, 3), sampling=params, arrival_s=0.0)

        async def tokens(name: str, seed: int | None) -> list[int]:
            return await tokens_of(client.generate(replace(base, id=name, sampling=replace(params, seed=seed))))

        five, six = await tokens("drawn", None), await tokens("drawn next", None)
        assert five != six
        assert await tokens("given", 5) == five
        assert await tokens("negative", -1) == await tokens("unsigned", (1 << 64) - 1)


@pytest.mark.parametrize("how", ["close", "leave", "cancel"])
async def test_an_abandoned_stream_frees_its_blocks_within_a_step(how: str) -> None:
    runner = FakeRunner()
    async with serving(runner) as client:
        other = request(max_tokens=12, id="other")
        runner.hold()  # before the first request: else all of its tokens may be out before the second one is here
        others = asyncio.create_task(tokens_of(client.generate(other)))
        victim = client.generate(request(200, max_tokens=500, id="victim"))
        task = asyncio.ensure_future(anext(victim))
        while "victim" not in {name for chunks in runner.plans for name, _, _ in chunks}:
            await runner.next_step()
            runner.allow()
        # A step with the victim is under way or over: from now on at most the one under way may hold it.
        num_plans = len(runner.plans)
        match how:
            case "close":
                await victim.aclose()
            case "leave":
                async with victim:
                    pass
            case "cancel":
                task.cancel()
        with pytest.raises((asyncio.CancelledError, StopAsyncIteration)):
            await task
        runner.let_go()
        await until(client, lambda stats: stats.num_queued + stats.num_running <= 1)
        assert client.stats().num_used_blocks <= 1
        assert not [chunks for chunks in runner.plans[num_plans + 1 :] for name, _, _ in chunks if name == "victim"]
        assert await others == runner.expected_tokens(other, 12)


async def test_closing_an_ended_stream_aborts_nothing() -> None:
    runner = FakeRunner()
    async with serving(runner) as client:
        a = request(max_tokens=3)
        stream = client.generate(a)
        assert await tokens_of(stream) == runner.expected_tokens(a, 3)
        await stream.aclose()
        assert [event async for event in stream] == []
        again = client.generate(a)  # the id is free again
        assert await tokens_of(again) == runner.expected_tokens(a, 3)


async def test_the_queue_is_bounded() -> None:
    runner = FakeRunner()
    async with serving(runner, max_batch=2, max_queue=3) as client:
        runner.hold()
        requests = [request(id=f"queued {n}") for n in range(5)]
        streams = [client.generate(r) for r in requests]
        with pytest.raises(QueueFull, match="5 requests") as refusal:
            client.generate(request())
        assert refusal.value.retry_after_s > 0
        await runner.next_step()
        runner.let_go()
        for r, stream in zip(requests, streams, strict=True):
            assert await tokens_of(stream) == runner.expected_tokens(r, 8)
        assert await tokens_of(client.generate(request()))


async def test_closed_requests_count_until_the_engine_has_let_go_of_them() -> None:
    runner = FakeRunner()
    async with serving(runner, max_batch=1, max_queue=1) as client:
        runner.hold()
        for stream in [client.generate(request()) for _ in range(2)]:
            stream.close()
        with pytest.raises(QueueFull):
            client.generate(request())
        runner.let_go()
        await until(client, lambda stats: stats.num_queued == 0)
        assert await tokens_of(client.generate(request()))


async def test_what_can_never_fit_is_refused_at_once() -> None:
    async with serving(FakeRunner(), max_context=64) as client:
        assert client.max_context == 64
        with pytest.raises(ContextOverflow, match="64"):
            client.generate(request(64))


async def test_stats_tell_queued_from_running() -> None:
    runner = FakeRunner()
    async with serving(runner, max_batch=1) as client:
        runner.hold()
        streams = [client.generate(request(40, max_tokens=2)) for _ in range(3)]
        assert (client.stats().num_queued, client.stats().num_running) == (3, 0)
        await runner.next_step()
        runner.allow()
        await anext(streams[0])
        stats = client.stats()
        assert (stats.num_queued, stats.num_running, stats.num_used_blocks) == (2, 1, 2)


async def test_an_engine_serves_between_start_and_stop() -> None:
    client = EngineClient(scheduler(), FakeRunner())
    with pytest.raises(NotReady):
        client.generate(request())
    client.start()
    assert await tokens_of(client.generate(request()))
    assert await client.stop(drain_s=0)
    with pytest.raises(Draining):
        client.generate(request())
    assert not client.stats().is_alive


async def test_draining_lets_open_requests_end() -> None:
    runner = FakeRunner(step_s=0.001)
    async with serving(runner, max_batch=1) as client:
        requests = [request(id=f"draining {n}", max_tokens=20) for n in range(3)]
        readers = [asyncio.create_task(tokens_of(client.generate(r))) for r in requests]
        await runner.next_step()
        stopping = asyncio.create_task(client.stop(drain_s=60.0))
        await asyncio.sleep(0)
        with pytest.raises(Draining):
            client.generate(request())
        for r, reader in zip(requests, readers, strict=True):
            assert await reader == runner.expected_tokens(r, 20)
        assert await stopping


async def test_what_outlives_the_drain_limit_is_aborted_with_a_reason() -> None:
    runner = FakeRunner(step_s=0.001)
    async with serving(runner, max_batch=1) as client:
        streams = [client.generate(request(max_tokens=900)) for _ in range(2)]
        await runner.next_step()
        assert not await client.stop(drain_s=0.0)
        for stream in streams:
            events = [event async for event in stream]
            assert events[-1].finish_reason is FinishReason.ABORT
            assert isinstance(events[-1].error, Draining)
        assert client.stats().num_used_blocks == 0


async def test_prompts_that_wait_are_bounded_by_their_tokens() -> None:
    runner = FakeRunner()
    async with serving(runner, max_queue_tokens=100) as client:
        runner.hold()
        first, second, third = (request(60, id=name, max_tokens=2) for name in ("first", "second", "third"))
        stream = client.generate(first)
        with pytest.raises(QueueFull, match="120 tokens"):
            client.generate(second)
        assert client.stats().num_waiting_tokens == 60
        runner.let_go()
        assert len(await tokens_of(stream)) == 2
        assert len(await tokens_of(client.generate(third))) == 2
        assert client.stats().num_waiting_tokens == 0


async def test_a_deadline_ends_a_request_with_what_it_has() -> None:
    clock, runner = FakeClock(), FakeRunner()
    async with serving(runner, clock=clock, max_batch=1) as client:
        runner.hold()
        running = client.generate(
            replace(request(max_tokens=500, id="running", arrival_s=1), deadline_s=clock.now_s + 5.0)
        )
        waiting = client.generate(replace(request(id="waiting", arrival_s=2), deadline_s=clock.now_s + 5.0))
        for _ in range(3):
            await runner.next_step()
            runner.allow()
        await runner.next_step()
        clock.advance(4.9)
        runner.allow()
        await runner.next_step()
        clock.advance(0.1)
        runner.let_go()
        events = [event async for event in running]
        assert sum(len(event.tokens) for event in events) == 5
        assert (events[-1].finish_reason, events[-1].error) == (FinishReason.LENGTH, None)
        (last,) = [event async for event in waiting]
        assert last.finish_reason is FinishReason.ERROR
        assert isinstance(last.error, DeadlineExceeded)
        assert client.stats().num_used_blocks == 0


async def test_an_engine_that_hangs_is_not_well() -> None:
    clock, runner = FakeClock(), FakeRunner()
    async with serving(runner, clock=clock) as client:
        assert client.stats().is_well
        runner.hold()
        stream = client.generate(request(max_tokens=2))
        await runner.next_step()
        clock.advance(STALL_S)
        assert not client.stats().is_well
        runner.let_go()
        await tokens_of(stream)
        assert client.stats().is_well
    assert not client.stats().is_well
