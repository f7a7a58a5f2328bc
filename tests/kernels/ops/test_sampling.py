"""Sampling against its twin, token by token and as a distribution; batch invariance; rows that nobody should send."""

from dataclasses import replace

import numpy as np
import pytest

from kernels.ops.sampling.reference import RowSampling, kept_weights, sample, uniform
from tests.kernels.ops.sampler import GREEDY, assert_same, normal_logits, run_sampler

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
    "xtc": RowSampling(xtc_probability=1.0, xtc_threshold=0.02),
    "xtc_at_times": RowSampling(temperature=1.4, xtc_probability=0.5, xtc_threshold=0.01),
    "xtc_all": RowSampling(top_k=50, top_p=0.95, min_p=0.001, xtc_probability=0.7, xtc_threshold=0.05),
    "mirostat": RowSampling(mirostat_mu=5.0),
    "mirostat_warm": RowSampling(temperature=1.6, mirostat_mu=9.0, top_k=3, min_p=0.5),
    "mirostat_least": RowSampling(mirostat_mu=-1.0),
}


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


@pytest.mark.parametrize("vocab", [5001, 30_000])
@pytest.mark.parametrize("top_p", [0.3, 0.9, 0.999])
def test_ties_among_which_the_mass_ends(vocab: int, top_p: float) -> None:
    """A dozen different logits, each many times: some of those at the cut are kept, the first ones."""
    logits = np.round(normal_logits(1, vocab, 1.0)) - 5
    rows = [replace(RowSampling(top_p=top_p), seed=seed) for seed in range(60)]
    found, _ = run_sampler(logits.repeat(len(rows), 0), rows)
    for own, row in zip(found, rows, strict=True):
        assert own.token == sample(logits[0], row).token


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
