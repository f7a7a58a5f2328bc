"""Sampling against its twin, token by token and as a distribution; batch invariance; rows that nobody should send."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kernels.ops.sampling import SampleOp
from kernels.ops.sampling.reference import RowSampled, RowSampling, kept_weights, sample, uniform
from kernels.runtime.abi import SAMPLING
from kernels.runtime.program import ProgramBuilder
from tests.kernels.ops.steps import HandStep

GREEDY = RowSampling(temperature=0.0)
FILTERS = {
    "none": RowSampling(),
    "warm": RowSampling(temperature=1.7),
    "cool": RowSampling(temperature=0.3),
    "top_k": RowSampling(top_k=40),
    "top_k_1": RowSampling(top_k=1),
    "top_k_all_but_one": RowSampling(top_k=999),
    "top_k_many": RowSampling(top_k=500, temperature=2.0),
    "top_p": RowSampling(top_p=0.9),
    "top_p_warm": RowSampling(top_p=0.99, temperature=1.5),
    "top_p_little": RowSampling(top_p=0.01),
    "min_p": RowSampling(min_p=0.05),
    "min_p_1": RowSampling(min_p=1.0),
    "all": RowSampling(temperature=0.8, top_k=50, top_p=0.9, min_p=0.02),
    "top_k_top_p": RowSampling(temperature=1.3, top_k=200, top_p=0.8),
    "min_p_top_p": RowSampling(min_p=0.001, top_p=0.7),
    "typical": RowSampling(typical_p=0.5),
    "typical_little": RowSampling(typical_p=0.01, temperature=1.2),
    "typical_all": RowSampling(temperature=0.8, top_k=50, typical_p=0.9, top_p=0.95, min_p=0.001),
}


def records_of(rows: list[RowSampling]) -> tuple[np.ndarray, list[np.ndarray]]:
    """SAMPLING[R] and what its addresses need kept."""
    records, kept = np.zeros(len(rows), SAMPLING), []
    for record, row in zip(records, rows, strict=True):
        for name in (
            "temperature", "top_k", "top_p", "min_p", "num_top", "position",
            "typical_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
        ):  # fmt: skip
            record[name] = getattr(row, name)
        if row.seen:
            seen, counts = (np.array(column, np.int32) for column in zip(*row.seen, strict=True))
            record["num_seen"], record["seen_ids"], record["seen_counts"] = (
                len(seen),
                seen.ctypes.data,
                counts.ctypes.data,
            )
            kept += [seen, counts]
        record["seed"] = np.uint64(row.seed).astype(np.int64)
        if row.bias:
            ids = np.array([token for token, _ in row.bias], np.int32)
            values = np.array([bias for _, bias in row.bias], np.float32)
            record["num_bias"], record["bias_ids"], record["bias_values"] = (
                len(ids),
                ids.ctypes.data,
                values.ctypes.data,
            )
            kept += [ids, values]
        if row.allowed is not None:
            mask = np.zeros(5000, np.uint32)
            for token in row.allowed:
                mask[token // 32] |= np.uint32(1 << token % 32)
            record["mask"] = mask.ctypes.data
            kept.append(mask)
    return records, kept


def run_sampler(logits: np.ndarray, rows: list[RowSampling], num_threads: int = 1) -> tuple[list[RowSampled], Any]:
    """Also returns the SAMPLED records; asserts that the logits are left alone."""
    builder = ProgramBuilder()
    buffer = builder.buffer("logits", np.float32, logits.shape)
    SampleOp("sample", buffer).add(builder)
    program = builder.build()
    program.view(buffer)[:] = logits
    records, kept = records_of(rows)
    step = HandStep(len(rows), sampling=records)
    step.run(program, num_threads)
    del kept
    np.testing.assert_array_equal(program.view(buffer), logits)
    found = [
        RowSampled(
            int(row["token"]),
            float(row["logprob"]),
            tuple(zip(row["top_ids"].tolist(), row["top_logprobs"].tolist(), strict=True))[: row["num_top"]],
        )
        for row in step.sampled
    ]
    return found, step.sampled


def assert_same(found: RowSampled, expected: RowSampled) -> None:
    assert found.token == expected.token
    assert found.logprob == pytest.approx(expected.logprob, abs=2e-5)
    assert [token for token, _ in found.top] == [token for token, _ in expected.top]
    np.testing.assert_allclose([p for _, p in found.top], [p for _, p in expected.top], atol=2e-5)


def normal_logits(num_rows: int, vocab: int, spread: float = 3.0, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((num_rows, vocab)) * spread + 5).astype(np.float32)


@pytest.mark.parametrize("vocab", [1, 2, 15, 16, 17, 63, 64, 65, 1000, 4095, 4096, 4097, 12_345, 49_152])
def test_greedy_and_logprobs(vocab: int) -> None:
    logits = normal_logits(3, vocab)
    row = replace(GREEDY, num_top=20)
    found, records = run_sampler(logits, [row] * 3)
    for own, own_logits in zip(found, logits, strict=True):
        assert_same(own, sample(own_logits, row))
    assert (records["finite"] == 1).all()
    assert (records["num_top"] == min(20, vocab)).all()


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("vocab", [7, 5001])
@pytest.mark.parametrize("spread", [0.1, 3.0, 12.0])
def test_draws_are_the_twins(name: str, vocab: int, spread: float) -> None:
    logits = normal_logits(1, vocab, spread, seed=vocab)
    rows = [replace(FILTERS[name], seed=7 * draw, position=draw, num_top=draw % 4) for draw in range(30)]
    found, _ = run_sampler(logits.repeat(len(rows), 0), rows, num_threads=2)
    for own, row in zip(found, rows, strict=True):
        assert_same(own, sample(logits[0], row))


@pytest.mark.parametrize("name", ["none", "warm", "top_k", "top_p", "all"])
def test_tokens_come_as_often_as_they_should(name: str) -> None:
    vocab, num_draws = 30, 10_000
    logits = normal_logits(1, vocab, 1.5)
    rows = [replace(FILTERS[name], seed=draw, position=3) for draw in range(num_draws)]
    found, _ = run_sampler(logits.repeat(num_draws, 0), rows)
    weights = kept_weights(logits[0].astype(np.float64), FILTERS[name])
    expected = weights / weights.sum() * num_draws
    counts = np.bincount([own.token for own in found], minlength=vocab)
    assert not counts[expected == 0].any()
    deviation = (counts - expected)[expected > 5] / np.sqrt(expected[expected > 5])
    assert np.abs(deviation).max() < 5


def test_ties_are_cut_by_lowest_id() -> None:
    logits = np.zeros((40, 300), np.float32)
    logits[:, 100:200] = 1.0
    rows = [replace(RowSampling(top_k=5), seed=seed) for seed in range(20)]
    rows += [replace(RowSampling(top_p=1e-6), seed=seed) for seed in range(20)]
    found, _ = run_sampler(logits, [replace(row, num_top=3) for row in rows])
    assert {own.token for own in found[:20]} == {100, 101, 102, 103, 104}
    assert {own.token for own in found[20:]} == {100}
    assert all([token for token, _ in own.top] == [100, 101, 102] for own in found)


def test_flat_rows() -> None:
    logits = np.full((3, 10_000), 2.5, np.float32)
    rows = [
        replace(RowSampling(), seed=5),
        replace(RowSampling(top_p=0.5), seed=5),
        replace(RowSampling(top_k=17), seed=5),
    ]
    found, _ = run_sampler(logits, rows)
    number = uniform(5, 0)
    assert found[0].token == int(number * 10_000)
    assert found[1].token == int(number * 5_000)
    assert found[2].token == int(number * 17)


@pytest.mark.parametrize("values", [[np.nan], [np.inf], [-np.inf], [np.nan, np.inf, -np.inf]])
@pytest.mark.parametrize("everywhere", [False, True])
def test_rows_that_are_not_finite(values: list[float], everywhere: bool) -> None:
    logits = normal_logits(1, 5000).repeat(len(FILTERS) + 1, 0)
    if everywhere:
        logits[:] = np.resize(values, 5000)
    else:
        logits[:, [3, 4097, 4999][: len(values)]] = values
    rows = [replace(row, seed=9, num_top=5) for row in (GREEDY, *FILTERS.values())]
    found, records = run_sampler(logits, rows)
    again, _ = run_sampler(logits, rows, num_threads=2)
    assert found == again
    assert (records["finite"] == 0).all()
    for own, row in zip(found, rows, strict=True):
        assert 0 <= own.token < 5000
        assert np.isfinite(own.logprob)
        if not everywhere:
            assert own.token == sample(logits[0], row).token
    if everywhere and np.isnan(values[0]) and len(values) == 1:
        assert found[0].token == 0


def test_bias_moves_tokens_and_minus_infinity_bans_them() -> None:
    logits = normal_logits(1, 5000)
    best = int(logits[0].argmax())
    second = int(np.argsort(-logits[0])[1])
    rows = [
        replace(GREEDY, bias=((best, -np.inf),), num_top=2),
        replace(GREEDY, bias=((77, 100.0),)),
        replace(GREEDY, bias=((best, -1000.0), (best, 1000.5), (second, -np.inf))),
        replace(RowSampling(top_k=1), bias=((best, -np.inf),)),
        replace(RowSampling(top_p=1e-4), bias=((best, -np.inf), (2**31 - 1, 5.0), (-1, 5.0))),
    ]
    found, _ = run_sampler(logits.repeat(len(rows), 0), rows)
    assert [own.token for own in found] == [second, 77, best, second, second]
    # The logprobs are those of the row as it came.
    assert [token for token, _ in found[0].top] == [best, second]
    assert found[1].logprob == pytest.approx(sample(logits[0], rows[1]).logprob, abs=2e-5)


PENALTIES = {
    "repetition": {"repetition_penalty": 1.3},
    "reward": {"repetition_penalty": 0.7},
    "presence": {"presence_penalty": 1.5},
    "frequency": {"frequency_penalty": 0.4},
    "negative": {"presence_penalty": -2.0, "frequency_penalty": -0.1},
    "all": {"repetition_penalty": 1.1, "presence_penalty": 0.5, "frequency_penalty": 0.25},
}


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("base", ["greedy", "none", "all", "typical"])
def test_penalties_are_the_twins(name: str, base: str) -> None:
    logits = normal_logits(1, 5001) - 8
    best = np.argsort(-logits[0])[:60].tolist()
    seen = tuple((int(token), place % 4) for place, token in enumerate([*best, 17, 4999, 5000]))
    row = replace(FILTERS.get(base, GREEDY), seen=seen, bias=((best[1], 0.5), (best[2], -np.inf)), num_top=3)
    rows = [replace(row, seed=seed, **PENALTIES[name]) for seed in range(20)]
    found, _ = run_sampler(logits.repeat(len(rows), 0), rows, num_threads=2)
    for own, expected in zip(found, rows, strict=True):
        assert_same(own, sample(logits[0], expected))
    plain, _ = run_sampler(logits, [replace(rows[0], repetition_penalty=1.0, presence_penalty=0, frequency_penalty=0)])
    assert plain[0].top == found[0].top, "logprobs are of the row as it came"


def test_tokens_outside_the_vocabulary_are_not_punished() -> None:
    logits = normal_logits(1, 100)
    row = replace(GREEDY, seen=((-1, 1), (100, 1), (2**31 - 1, 3)), presence_penalty=2.0, repetition_penalty=2.0)
    found, _ = run_sampler(logits, [row])
    assert found[0].token == int(logits[0].argmax())


def test_what_is_most_typical_is_not_what_is_likeliest() -> None:
    # One token of 40 %, sixty of 1 %: the entropy is that of a token of some 4 %; nearest to it are the many.
    logits = np.log(np.array([[0.4] + [0.01] * 60], np.float32))
    rows = [RowSampling(typical_p=0.295, seed=seed) for seed in range(200)]
    found, _ = run_sampler(logits.repeat(200, 0), rows)
    assert {own.token for own in found} <= set(range(1, 31))
    assert len({own.token for own in found}) > 20


@pytest.mark.parametrize("name", [*FILTERS, "greedy"])
def test_masked_tokens_are_never_drawn(name: str) -> None:
    logits = normal_logits(1, 9001, spread=2.0)
    rng = np.random.default_rng(4)
    allowed = frozenset(rng.choice(9001, 30, replace=False).tolist())
    base = FILTERS.get(name, GREEDY)
    rows = [replace(base, seed=seed, allowed=allowed) for seed in range(50)]
    found, _ = run_sampler(logits.repeat(50, 0), rows)
    for own, row in zip(found, rows, strict=True):
        assert own.token in allowed
        assert_same(own, sample(logits[0], row))


def test_a_row_does_not_depend_on_the_batch_or_the_threads() -> None:
    logits = normal_logits(len(FILTERS) + 1, 20_001)
    rows = [replace(row, seed=11, position=5, num_top=7) for row in [*FILTERS.values(), GREEDY]]
    together, records = run_sampler(logits, rows)
    for num_threads in (2, 3, 7):
        assert run_sampler(logits, rows, num_threads)[1].tobytes() == records.tobytes()
    for index in range(0, 16, 5):
        alone, _ = run_sampler(logits[index : index + 1], rows[index : index + 1])
        assert alone[0] == together[index]


def test_a_draw_depends_on_seed_and_position_alone() -> None:
    logits = normal_logits(1, 1000, 0.5)
    rows = [RowSampling(seed=seed, position=position) for seed in range(10) for position in range(10)]
    first, _ = run_sampler(logits.repeat(100, 0), rows)
    assert first == run_sampler(logits.repeat(100, 0), rows)[0]
    assert len({own.token for own in first}) > 50


def test_steps_that_sample_nothing() -> None:
    found, _ = run_sampler(normal_logits(4, 100), [])
    assert found == []


def test_the_generator() -> None:
    numbers = np.array([uniform(seed, position) for seed in range(100) for position in range(100)])
    assert ((numbers >= 0) & (numbers < 1)).all()
    assert len(np.unique(numbers)) == len(numbers)
    counts, _ = np.histogram(numbers, 20, (0, 1))
    assert np.abs(counts - 500).max() < 5 * np.sqrt(500)
    grid = numbers.reshape(100, 100)
    assert abs(np.corrcoef(grid[:-1].ravel(), grid[1:].ravel())[0, 1]) < 0.05
    assert abs(np.corrcoef(grid[:, :-1].ravel(), grid[:, 1:].ravel())[0, 1]) < 0.05
