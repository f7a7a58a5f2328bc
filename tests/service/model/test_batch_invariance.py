"""Logits, tokens, logprobs, keys and values: the same bits whoever else is in the step, however the sequence is cut.

The yardstick is every position as a chunk of its own, one thread, alone in its step: the path of the GEMV.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from service.engine.plan import Chunk
from service.engine.request import SampledToken, SamplingParams
from service.engine.sequence import Sequence as TokenSequence
from service.gemmule_model import GemmuleModel
from tests.service.model.driver import F32, cached, cut, sequence, step

ModelOf = Callable[..., GemmuleModel]

NUM_TOKENS = 200  # two ranges of 128 tokens of the KV cache, seven blocks
CHUNKS = (1, 2, 7, 31, 32, 33, NUM_TOKENS)
SAMPLING = SamplingParams(temperature=0.9, top_p=0.95, min_p=0.01, top_k=50, logprobs=5)
TYPES = ("Q4_0", "Q4_1", "Q8_0", "F16", "BF16", "F32")
BLOCKS = (37, 5, 61, 0, 12, 62, 33)  # of the sequence that is watched; the others take the rest


@dataclass(frozen=True, slots=True)
class Outcome:
    """By position, where the cut has an end."""

    logits: dict[int, npt.NDArray[np.uint32]]
    tokens: dict[int, SampledToken]
    cache: npt.NDArray[np.uint8]

    def must_equal(self, whole: Outcome) -> None:
        for position, logits in self.logits.items():
            np.testing.assert_array_equal(logits, whole.logits[position], err_msg=f"logits at {position}")
            assert self.tokens[position] == whole.tokens[position], f"at {position}"
        np.testing.assert_array_equal(self.cache, whole.cache)


def watched(block_ids: tuple[int, ...] = BLOCKS) -> TokenSequence:
    ids = np.random.default_rng(11).integers(3, 379, NUM_TOKENS).tolist()
    return sequence(ids, block_ids, sampling=SAMPLING, seed=0xFEDC_BA98_7654_3210)


def clear(model: GemmuleModel) -> None:
    """Nothing of an earlier run may be what makes this one right: every key and value a NaN."""
    model.kv.data[:] = 0xFF


def run(model: GemmuleModel, mine: TokenSequence, steps: Iterator[list[Chunk]]) -> Outcome:
    clear(model)
    logits: dict[int, npt.NDArray[np.uint32]] = {}
    tokens: dict[int, SampledToken] = {}
    for chunks in steps:
        rows, sampled = step(model, *chunks)
        for chunk, row, token in zip(chunks, rows, sampled, strict=True):
            if chunk.sequence is mine:
                position = chunk.start + chunk.num_tokens - 1
                assert isinstance(token, SampledToken)
                logits[position], tokens[position] = row.view(np.uint32), token
    return Outcome(logits, tokens, cached(model, mine))


def alone(mine: TokenSequence, size: int) -> Iterator[list[Chunk]]:
    return ([chunk] for chunk in cut(mine, size))


def crowd(mine: TokenSequence, size: int, seed: int) -> Iterator[list[Chunk]]:
    """The sequence in chunks of `size`, its steps shared with 15 others of random lengths, cut at random, which come
    and go: before it, after it, in blocks beside its own.
    """
    random = np.random.default_rng(seed)
    free = [block for block in range(64) if block not in mine.block_table]
    others: list[list[Chunk]] = []
    for _ in range(15):
        count = int(random.integers(1, 90))
        blocks = [free.pop(int(random.integers(len(free)))) for _ in range(-(-count // 32))]
        other = sequence(
            random.integers(3, 379, count).tolist(), blocks, sampling=SAMPLING, seed=int(random.integers(99))
        )
        others.append(cut(other, int(random.integers(1, 12))))
    for chunk in cut(mine, size):
        chunks = [other.pop(0) for other in others if other and random.random() < 0.8]
        chunks.insert(int(random.integers(len(chunks) + 1)), chunk)
        yield chunks


@pytest.fixture(scope="module")
def yardstick(model_of: ModelOf) -> Callable[..., Outcome]:
    made: dict[str, Outcome] = {}

    def yardstick(**arguments: object) -> Outcome:
        key = repr(sorted(arguments.items()))
        if key not in made:
            mine = watched()
            made[key] = run(model_of(**arguments), mine, alone(mine, 1))
        return made[key]

    return yardstick


YardstickOf = Callable[..., Outcome]


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("size", CHUNKS)
def test_chunks_of_any_size(model_of: ModelOf, yardstick: YardstickOf, size: int, threads: int) -> None:
    mine = watched()
    run(model_of(threads), mine, alone(mine, size)).must_equal(yardstick())


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 7, 33])
def test_among_fifteen_others(model_of: ModelOf, yardstick: YardstickOf, size: int, threads: int) -> None:
    mine = watched()
    run(model_of(threads), mine, crowd(mine, size, seed=size)).must_equal(yardstick())


@pytest.mark.parametrize("weight_type", TYPES)
def test_every_weight_type(model_of: ModelOf, yardstick: YardstickOf, weight_type: str) -> None:
    arguments = {"weight_type": weight_type, "tied": False, "heads": 6}
    model, mine = model_of(2, **arguments), watched()
    for steps in (alone(mine, 64), crowd(mine, 32, seed=1), crowd(mine, 1, seed=2)):
        run(model, mine, steps).must_equal(yardstick(**arguments))


@pytest.mark.parametrize("kv_heads", [1, 4])
def test_every_grouping_of_heads(model_of: ModelOf, yardstick: YardstickOf, kv_heads: int) -> None:
    arguments = {"heads": 4, "kv_heads": kv_heads, "head_dim": 32}
    model, mine = model_of(2, **arguments), watched()
    for steps in (alone(mine, 64), crowd(mine, 31, seed=1), crowd(mine, 1, seed=2)):
        run(model, mine, steps).must_equal(yardstick(**arguments))


@pytest.mark.parametrize("kv_type", ["i16", "q8_0", "f32"])
def test_every_type_of_keys_and_values(model_of: ModelOf, yardstick: YardstickOf, kv_type: str) -> None:
    arguments = {"kv_type": kv_type}
    model, mine = model_of(2, **arguments), watched()
    for steps in (alone(mine, 64), crowd(mine, 31, seed=1), crowd(mine, 1, seed=2)):
        run(model, mine, steps).must_equal(yardstick(**arguments))
    assert yardstick(**arguments).cache.nbytes != yardstick().cache.nbytes


@pytest.mark.parametrize("kv_type", ["f16", "i16", "q8_0"])
def test_types_of_keys_and_values_are_near(model_of: ModelOf, kv_type: str) -> None:
    """To the logits of f32: by a tenth of their deviation at most. Logits that have nothing in common differ by 1.4."""
    mine = watched()
    exact, rounded = (step(model_of(kv_type=kind), *cut(mine, 1))[0] for kind in ("f32", kv_type))
    difference = np.sqrt(np.square(rounded - exact).mean()) / exact.std()
    assert 0 < difference < 0.1


@pytest.mark.parametrize("block_ids", [(0, 1, 2, 3, 4, 5, 6), (63, 62, 61, 60, 59, 58, 57)])
def test_any_blocks(model_of: ModelOf, yardstick: YardstickOf, block_ids: tuple[int, ...]) -> None:
    mine = watched(block_ids)
    run(model_of(2), mine, alone(mine, 50)).must_equal(yardstick())


def test_all_positions_in_one_step(model_of: ModelOf, yardstick: YardstickOf) -> None:
    """As many chunks of one sequence in a step as it has tokens: what the parity tool and the tests of logits do."""
    mine = watched()
    outcome = run(model_of(2), mine, iter([cut(mine, 1)]))
    outcome.must_equal(yardstick())
    assert len(outcome.logits) == NUM_TOKENS


def test_gemv_and_gemm_are_what_ran(model_of: ModelOf) -> None:
    """One row is the GEMV's everywhere, more are the GEMM's; a prefill that samples once mixes them."""

    def kernels_of(*chunks: Chunk) -> dict[str, set[str]]:
        def calls() -> dict[tuple[str, str, str], int]:
            return {(stats.op, stats.kernel, stats.phase): stats.calls for stats in model.kernel_stats()}

        before = calls()
        step(model, *chunks)
        ran = [key for key, count in calls().items() if count > before.get(key, 0) and "matmul" in key[1]]
        return {op: {kernel for other, kernel, _ in ran if other == op} for op, _, _ in ran}

    model = model_of()
    gemm = {str(packed.matrix.choice.gemm.name) for packed in model.weights.matrices()}
    gemv = {str(packed.matrix.choice.gemv.name) for packed in model.weights.matrices()}
    mine, layers = watched(), {"attn_qkv", "attn_output", "ffn_gate_up", "ffn_down"}
    one, many, mixed = kernels_of(*cut(mine, 1)[:1]), kernels_of(*cut(mine, 1)[:9]), kernels_of(*cut(mine, 9)[:1])
    assert {kernel for kernels in one.values() for kernel in kernels} <= gemv
    assert {kernel for kernels in many.values() for kernel in kernels} <= gemm
    assert all(mixed[op] <= gemm for op in layers)
    assert mixed["output"] <= gemv


def test_greedy_and_seeds(model_of: ModelOf) -> None:
    """Another seed is another draw somewhere; a temperature of 0 takes the best of every row."""
    model = model_of(2)
    ids = watched().token_ids
    drawn = [step(model, *cut(sequence(ids, sampling=SAMPLING, seed=seed), 1))[1] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    logits, greedy = step(model, *cut(sequence(ids), 1))
    assert [token.id for token in greedy if isinstance(token, SampledToken)] == logits.argmax(axis=1).tolist()


def test_logprobs_are_those_of_the_logits(model_of: ModelOf) -> None:
    logits, tokens = step(model_of(), *cut(watched(), 1))
    expected = log_softmax(logits)
    for row, token in zip(expected, tokens, strict=True):
        assert isinstance(token, SampledToken)
        assert token.logprob == pytest.approx(row[token.id], abs=1e-5)
        assert len(token.top) == SAMPLING.logprobs
        best = np.sort(row)[::-1][: len(token.top)]
        np.testing.assert_allclose([logprob for _, logprob in token.top], best, atol=1e-5)
        np.testing.assert_allclose([row[token_id] for token_id, _ in token.top], best, atol=1e-5)


def log_softmax(logits: F32) -> npt.NDArray[np.float64]:
    wide = logits.astype(np.float64)
    shifted = wide - wide.max(axis=1, keepdims=True)
    made: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return made
