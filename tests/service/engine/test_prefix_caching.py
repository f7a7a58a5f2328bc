"""Sequences that begin alike: who shares what, who waits for whom, and that no token changes."""

from dataclasses import replace
from itertools import pairwise

import pytest

from kernels.runtime.abi import BLOCK_TOKENS
from service.engine.block_keys import chain_root, extend_chain
from service.engine.request import FailedRow, Request
from service.engine.scheduler import Scheduler
from tests.service.engine.builders import request, scheduler
from tests.service.engine.test_scheduler import run_all, shape, step
from tests.service.fakes import FakeRunner

SYSTEM = tuple(position % 251 for position in range(3 * BLOCK_TOKENS))


def asking(name: str, *suffix: int, arrival_s: float = 0.0, salt: str = "", **sampling: object) -> Request:
    """The common beginning, then something of its own."""
    made = request(id=name, arrival_s=arrival_s, **sampling)
    return replace(made, prompt_ids=(*SYSTEM, *suffix), cache_salt=salt)


def run_to_end(engine: Scheduler, runner: FakeRunner, *requests: Request) -> None:
    for own in requests:
        engine.add(own, seed=0)
    tokens = run_all(engine, runner)
    for own in requests:
        assert tokens[own.id] == runner.expected_tokens(own, len(tokens[own.id]))


def num_computed(runner: FakeRunner, name: str) -> int:
    return sum(num for plan in runner.plans for id, _, num in plan if id == name)


def test_the_second_computes_what_is_its_own() -> None:
    engine, runner = scheduler(token_budget=256), FakeRunner()
    run_to_end(engine, runner, asking("first", 1, 2, 3, max_tokens=1))
    assert engine.num_cached_blocks == 3
    second = engine.add(asking("second", 7, 8, max_tokens=1), seed=0)
    plan, _ = step(engine, runner)
    assert shape(plan) == [("second", 3 * BLOCK_TOKENS, 2)]
    assert second.num_cached_tokens == 3 * BLOCK_TOKENS
    stats = engine.prefix_stats
    assert (stats.num_queried_tokens, stats.num_hit_tokens) == (2 * 96 + 5, 96)


def test_at_least_one_token_is_computed() -> None:
    engine, runner = scheduler(token_budget=256), FakeRunner()
    run_to_end(engine, runner, asking("first"))
    run_to_end(engine, runner, asking("second"))
    # The last block is full, but its last token has to be computed.
    assert num_computed(runner, "second") == BLOCK_TOKENS + 7


def test_a_conversation_goes_on_from_its_own_answer() -> None:
    engine, runner = scheduler(token_budget=256), FakeRunner()
    first = asking("first", max_tokens=40)
    run_to_end(engine, runner, first)
    answer = runner.expected_tokens(first, 40)
    second = asking("second", *answer, 5, 6)
    run_to_end(engine, runner, second)
    assert num_computed(runner, "second") == len(second.prompt_ids) - 4 * BLOCK_TOKENS + 7


def test_those_who_come_together_compute_what_they_share_once() -> None:
    engine, runner = scheduler(max_batch=8, token_budget=64), FakeRunner()
    run_to_end(engine, runner, *(asking(f"r{n}", n, n + 1, arrival_s=n) for n in range(8)))
    assert num_computed(runner, "r0") == 98 + 7
    assert all(num_computed(runner, f"r{n}") == 2 + 7 for n in range(1, 8))
    # r0 takes two steps for what is shared; the step after that has all the others.
    assert len(runner.plans[2]) == 8


def test_the_same_prompt_many_times_is_computed_once() -> None:
    engine, runner = scheduler(max_batch=8, token_budget=256), FakeRunner()
    run_to_end(engine, runner, *(asking(f"r{n}", 9, 9, arrival_s=n) for n in range(8)))
    assert sum(num_computed(runner, f"r{n}") for n in range(8)) == 96 + 8 * (2 + 7)


def test_who_waits_for_a_prefix_keeps_nobody_else() -> None:
    engine, runner = scheduler(token_budget=32), FakeRunner()
    engine.add(asking("first", 1, arrival_s=1), seed=0)
    engine.add(asking("waits", 2, arrival_s=2), seed=0)
    engine.add(request(8, id="other", arrival_s=3), seed=0)
    step(engine, runner)
    assert [id for id, _, _ in runner.plans[-1]] == ["first"]
    for _ in range(3):
        step(engine, runner)
    assert [id for id, _, _ in runner.plans[3]] == ["first", "waits", "other"]
    run_all(engine, runner)


def test_when_the_one_who_computes_goes_away_the_next_takes_over() -> None:
    engine, runner = scheduler(token_budget=40), FakeRunner()
    engine.add(asking("first", 1, arrival_s=1), seed=0)
    second = asking("second", 2, arrival_s=2)
    engine.add(second, seed=0)
    step(engine, runner)
    assert engine.abort("first") is not None
    engine.check()
    assert run_all(engine, runner) == {"second": runner.expected_tokens(second, 8)}
    # One block was done.
    assert num_computed(runner, "second") == 97 + 7 - BLOCK_TOKENS


def test_salts_keep_callers_apart() -> None:
    engine, runner = scheduler(token_budget=256), FakeRunner()
    for name, salt in (("first", ""), ("second", "a"), ("third", "b"), ("fourth", "a")):
        run_to_end(engine, runner, asking(name, 1, salt=salt))
    computed = [num_computed(runner, name) for name in ("first", "second", "third", "fourth")]
    assert computed == [97 + 7, 97 + 7, 97 + 7, 1 + 7]


def test_nothing_is_shared_where_that_is_off() -> None:
    engine = scheduler(token_budget=256, shares_prefixes=False)
    runner = FakeRunner()
    for name in ("first", "second"):
        run_to_end(engine, runner, asking(name, 1))
        assert num_computed(runner, name) == 97 + 7
    assert engine.num_cached_blocks == 0


def test_a_row_that_fails_leaves_nothing_to_share() -> None:
    engine, runner = scheduler(token_budget=256), FakeRunner()
    engine.add(asking("spoilt", 1), seed=0)
    plan = engine.plan()
    runner.run(plan)
    engine.commit(plan, [FailedRow("bad luck")])
    engine.check()
    assert engine.num_cached_blocks == 0
    run_to_end(engine, runner, asking("next", 1))


def test_cached_blocks_make_room() -> None:
    engine, runner = scheduler(num_blocks=4, max_context=128, token_budget=256), FakeRunner()
    run_to_end(engine, runner, asking("first", 1))
    assert engine.num_cached_blocks == 3
    run_to_end(engine, runner, request(100, id="other"))
    run_to_end(engine, runner, asking("second", 1))
    assert num_computed(runner, "second") == 97 + 7


def test_a_prefix_is_found_although_it_takes_the_whole_pool() -> None:
    engine, runner = scheduler(num_blocks=4, max_context=128, token_budget=256), FakeRunner()
    run_to_end(engine, runner, asking("first", *range(20)))
    run_to_end(engine, runner, asking("second", *range(20)))
    assert num_computed(runner, "second") == 20 + 7


def test_preempted_sequences_find_their_own_blocks() -> None:
    engine, runner = scheduler(num_blocks=8, max_context=256), FakeRunner()
    both = [request(2 * BLOCK_TOKENS - 2, id=name, arrival_s=1, max_tokens=100) for name in ("first", "second")]
    both[1] = replace(both[1], prompt_ids=both[1].prompt_ids[::-1])
    run_to_end(engine, runner, *both)
    starts = [start for plan in runner.plans for id, start, _ in plan if id == "second"]
    again = [start for before, start in pairwise(starts) if start <= before]
    assert again, "it was to be preempted"
    assert all(start >= BLOCK_TOKENS for start in again)


@pytest.mark.parametrize("length", [0, 31, 32, 33, 64, 100])
def test_keys_are_those_of_full_blocks_and_of_all_before(length: int) -> None:
    whole: list[bytes] = []
    extend_chain(whole, chain_root(""), SYSTEM)
    keys: list[bytes] = []
    for end in range(length + 1):
        extend_chain(keys, chain_root(""), SYSTEM[:end])
    assert keys == whole[: min(length, 96) // BLOCK_TOKENS]
    other: list[bytes] = []
    extend_chain(other, chain_root("salt"), SYSTEM)
    assert not set(other) & set(whole)
    typed: list[bytes] = []
    extend_chain(typed, chain_root("", "q8_0"), SYSTEM)
    assert not set(typed) & set(whole)
    changed: list[bytes] = []
    extend_chain(changed, chain_root(""), (*SYSTEM[:40], 1 << 30, *SYSTEM[41:]))
    assert [own == key for own, key in zip(changed, whole, strict=True)] == [True, False, False]
