"""A step's arrays say what its plan says, whatever steps came before."""

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.runtime.abi import BLOCK_TOKENS, SAMPLING, STEP
from service.engine.plan import Chunk, StepPlan, decode_chunk
from service.engine.request import MirostatParams
from service.engine.sequence import Sequence
from service.engine.step_arrays import StepArrays
from tests.service.engine.builders import request

VOCAB = 256
MAX_TOKENS, MAX_BATCH, MAX_CONTEXT = 128, 8, 256
# What counts whatever else a record says; the rest is read where one of these is not 0.
ALWAYS_READ = (
    *("temperature", "top_p", "min_p", "top_k", "num_top", "num_bias", "num_seen", "num_history", "seed", "position"),
    *("typical_p", "xtc_probability", "xtc_threshold", "is_mirostat"),
)


def step_arrays() -> StepArrays:
    return StepArrays(MAX_TOKENS, MAX_BATCH, MAX_CONTEXT, VOCAB)


def read(address: int, dtype: npt.DTypeLike, *shape: int) -> npt.NDArray[Any]:
    kind = np.dtype(dtype)
    raw = (ctypes.c_ubyte * (int(np.prod(shape)) * kind.itemsize)).from_address(address)
    return np.frombuffer(raw, kind).reshape(shape).copy()


def native_view(arrays: StepArrays) -> dict[str, Any]:
    """What a kernel sees of the step."""
    step = read(arrays.address, STEP, 1)[0]
    tokens, sequences, rows = (int(step[name]) for name in ("num_tokens", "num_sequences", "num_logit_rows"))
    seen: dict[str, Any] = {"counts": (tokens, sequences, rows, int(step["phase"]))}
    for name in ("token_ids", "positions", "kv_slots", "token_sequence"):
        seen[name] = read(int(step[name]), np.int32, tokens).tolist()
    seen["query_starts"] = read(int(step["query_starts"]), np.int32, sequences + 1).tolist()
    seen["context_lengths"] = read(int(step["context_lengths"]), np.int32, sequences).tolist()
    tables = read(int(step["block_tables"]), np.int32, sequences, int(step["max_blocks"]))
    seen["block_tables"] = [
        table[: -(-length // BLOCK_TOKENS)].tolist()
        for table, length in zip(tables, seen["context_lengths"], strict=True)
    ]
    seen["logit_rows"] = read(int(step["logit_rows"]), np.int32, rows).tolist()
    sampling = read(int(step["sampling"]), SAMPLING, rows)
    seen["sampling"] = {name: sampling[name].tolist() for name in ALWAYS_READ}
    seen["masked"] = (sampling["mask"] != 0).tolist()
    return seen


class Engine:
    """Sequences that come, go through the model in any portions, are preempted and leave."""

    def __init__(self) -> None:
        self.running: list[Sequence] = []
        self.num_admitted = 0
        self.next_block = 0

    def admit(self, num_prompt: int, **sampling: object) -> None:
        self.num_admitted += 1
        asked = request(num_prompt, **sampling)
        self.running.append(Sequence(asked, rank=(0.0, self.num_admitted), max_tokens=64, seed=self.num_admitted))

    def preempt(self, index: int) -> None:
        sequence = self.running[index]
        sequence.block_table, sequence.num_computed = [], 0

    def plan(self, portions: list[int], num_drafts: int) -> StepPlan:
        chunks = []
        for sequence, portion in zip(self.running, portions, strict=False):
            missing = -(-(len(sequence.token_ids) + num_drafts) // BLOCK_TOKENS) - len(sequence.block_table)
            sequence.block_table += range(self.next_block, self.next_block + max(0, missing))
            self.next_block += max(0, missing)
            if sequence.is_decoding:
                chunks.append(decode_chunk(sequence, tuple(range(num_drafts))))
                continue
            num_tokens = min(portion, sequence.num_uncomputed)
            samples = num_tokens == sequence.num_uncomputed
            num_scored = min(2, num_tokens - samples) if sequence.sampling.prompt_logprobs is not None else 0
            chunks.append(Chunk(sequence, sequence.num_computed, num_tokens, samples, num_scored=num_scored))
        return StepPlan(tuple(chunks))

    def commit(self, plan: StepPlan) -> None:
        for chunk in plan.chunks:
            chunk.sequence.num_computed += chunk.num_tokens - len(chunk.drafts)
            if chunk.samples:
                chunk.sequence.token_ids.append(len(chunk.sequence.token_ids) % VOCAB)


SAMPLINGS: tuple[dict[str, object], ...] = (
    {},
    {"temperature": 0.7, "top_k": 40, "top_p": 0.9, "min_p": 0.05, "logprobs": 3},
    {"repetition_penalty": 1.1},
    {"allowed_token_ids": (1, 2, 3)},
    {"prompt_logprobs": 2},
    {"mirostat": MirostatParams()},
)
ACTIONS = st.one_of(
    st.tuples(st.just("admit"), st.integers(1, 40), st.sampled_from(SAMPLINGS)),
    st.tuples(st.just("leave"), st.integers(0, 7)),
    st.tuples(st.just("preempt"), st.integers(0, 7)),
    st.tuples(st.just("step"), st.lists(st.integers(1, 16), min_size=4, max_size=4), st.integers(0, 2)),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(ACTIONS, min_size=4, max_size=30))
def test_a_step_after_others_has_the_arrays_of_a_first_one(actions: list[tuple[Any, ...]]) -> None:
    engine, kept = Engine(), step_arrays()
    for action in actions:
        match action:
            case ("admit", num_prompt, sampling):
                if len(engine.running) < 2:
                    engine.admit(num_prompt, **sampling)
            case ("leave", index) if engine.running:
                del engine.running[index % len(engine.running)]
            case ("preempt", index) if engine.running:
                engine.preempt(index % len(engine.running))
            case ("step", portions, num_drafts) if engine.running:
                plan = engine.plan(portions, num_drafts)
                kept.fill(plan)
                fresh = step_arrays()
                fresh.fill(plan)
                assert native_view(kept) == native_view(fresh)
                engine.commit(plan)


def test_the_arrays_of_a_mixed_step() -> None:
    """Sequence 0 decodes token 33 with a guess, sequence 1 has tokens 30 to 34 of a longer prompt."""
    first = Sequence(request(33), rank=(0.0, 0), max_tokens=8, seed=5)
    first.token_ids.append(7)
    first.num_computed, first.block_table = 33, [4, 9]
    second = Sequence(request(50), rank=(0.0, 1), max_tokens=8, seed=6)
    second.num_computed, second.block_table = 30, [2, 3]
    arrays = step_arrays()
    arrays.fill(StepPlan((decode_chunk(first, (8,)), Chunk(second, 30, 5, samples=False))))
    seen = native_view(arrays)
    assert seen["token_ids"] == [7, 8, *second.token_ids[30:35]]
    assert seen["positions"] == [33, 34, 30, 31, 32, 33, 34]
    assert seen["kv_slots"] == [9 * 32 + 1, 9 * 32 + 2, 2 * 32 + 30, 2 * 32 + 31, 3 * 32, 3 * 32 + 1, 3 * 32 + 2]
    assert seen["token_sequence"] == [0, 0, 1, 1, 1, 1, 1]
    assert seen["query_starts"] == [0, 2, 7]
    assert seen["context_lengths"] == [35, 35]
    assert seen["block_tables"] == [[4, 9], [2, 3]]
    assert seen["logit_rows"] == [0, 1]
    assert seen["sampling"]["position"] == [34, 35]
    assert seen["sampling"]["seed"] == [5, 5]
    assert seen["counts"] == (7, 2, 2, 2)
