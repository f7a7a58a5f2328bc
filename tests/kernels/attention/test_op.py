"""The attention op through the executor: right, and the same bits however the work is divided."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from kernels.attention.kv_blocks import Bytes
from kernels.attention.program import AttentionShape
from kernels.attention.reference import attention, attention_error
from kernels.jit.library import KernelLibrary
from kernels.runtime.abi import DECODE, MIXED, PHASES
from kernels.runtime.kv_types import F32_KV, I16_KV, Q8_0_KV
from tests.kernels.attention.native_attention import VARIANTS_HERE
from tests.kernels.attention.steps import AttentionStep, Chunk, Conversation, Floats, conversations

BEST, ORACLE = VARIANTS_HERE[0], VARIANTS_HERE[-1]
SMOLLM2 = AttentionShape(9, 3, 64, 64**-0.5)
SHAPES = [
    SMOLLM2,
    AttentionShape(4, 4, 16, 0.25),
    AttentionShape(8, 1, 32, 0.2),
    AttentionShape(14, 2, 96, 0.1),
    AttentionShape(2, 1, 256, 0.0625),
    AttentionShape(4, 2, 16, 0.25, window=40),
    AttentionShape(9, 3, 64, 64**-0.5, kv=Q8_0_KV),
    AttentionShape(4, 2, 80, 0.1, window=40, kv=Q8_0_KV),
    AttentionShape(4, 2, 32, 0.2, kv=F32_KV),
    AttentionShape(9, 3, 64, 64**-0.5, kv=I16_KV),
    AttentionShape(4, 1, 80, 0.1, window=150, soft_cap=2.0, kv=I16_KV),
    AttentionShape(4, 1, 256, 0.0625, window=150, soft_cap=2.0),
]
LIMITED = SHAPES[-1]
EVERY_SHAPE = pytest.mark.parametrize(
    "shape", SHAPES, ids=lambda s: f"{s.num_heads}q{s.num_kv_heads}kv{s.head_dim}w{s.window}-{s.kv.name}"
)


@pytest.fixture(scope="module")
def library() -> KernelLibrary:
    return KernelLibrary()


@contextmanager
def running(
    library: KernelLibrary, shape: AttentionShape, cache: Bytes, num_threads: int = 1, max_context: int = 8192
) -> Iterator[AttentionStep]:
    step = AttentionStep(shape, BEST, cache, library, num_threads, max_context=max_context)
    with step:
        yield step


def whole(step: AttentionStep, conversation: Conversation) -> Floats:
    return step.run([Chunk(conversation, 0, len(conversation))])[0]


def close_to_numpy(shape: AttentionShape, chunk: Chunk, out: Floats) -> bool:
    q, positions = chunk.of.q[chunk.start : chunk.stop], np.arange(chunk.start, chunk.stop, dtype=np.int32)
    arguments = (q, chunk.of.k, chunk.of.v, positions, shape.scale, shape.window, shape.soft_cap)
    return bool((np.abs(out - attention(*arguments)) <= attention_error(*arguments, shape.kv)).all())


@EVERY_SHAPE
def test_mixed_steps(library: KernelLibrary, shape: AttentionShape) -> None:
    """Decodes beside prefills from the start and from the middle, at and around block and range borders."""
    made, cache = conversations(shape, [1, 31, 32, 33, 127, 128, 129, 300, 200, 77])
    chunks = [Chunk(c, len(c) - 1, len(c)) for c in made[:6]]
    chunks += [Chunk(made[6], 0, 129), Chunk(made[7], 120, 300), Chunk(made[8], 130, 137), Chunk(made[9], 0, 77)]
    with running(library, shape, cache, 2) as step:
        for chunk, out in zip(chunks, step.run(chunks), strict=True):
            assert close_to_numpy(shape, chunk, out)


@pytest.mark.parametrize("num_threads", [2, 3, 12])
@pytest.mark.parametrize(("num_decodes", "prefill"), [(1, 600), (9, 2), (9, 600), (40, 40)])
def test_decodes_and_prefills_side_by_side(
    library: KernelLibrary, num_decodes: int, prefill: int, num_threads: int
) -> None:
    """More parts of the one or of the other, whoever takes them: the bits that one thread makes."""
    made, cache = conversations(SMOLLM2, [*(60 + 9 * i for i in range(num_decodes)), 700, 300])
    chunks = [Chunk(c, len(c) - 1, len(c)) for c in made[:num_decodes]]
    chunks += [Chunk(made[-2], 700 - prefill, 700), Chunk(made[-1], 298, 300)]
    with running(library, SMOLLM2, cache) as alone, running(library, SMOLLM2, cache, num_threads) as step:
        expected = alone.run(chunks)
        for _ in range(5):
            for out, same in zip(step.run(chunks), expected, strict=True):
                np.testing.assert_array_equal(out, same)


def test_rungs_change_no_bit(library: KernelLibrary) -> None:
    made, cache = conversations(SMOLLM2, [130, 70])
    chunks = [Chunk(made[0], 0, 130), Chunk(made[1], 69, 70)]
    with running(library, SMOLLM2, cache) as best, AttentionStep(SMOLLM2, ORACLE, cache, library, 1) as oracle:
        for out, expected in zip(best.run(chunks), oracle.run(chunks), strict=True):
            np.testing.assert_array_equal(out, expected)


@EVERY_SHAPE
def test_chunks_change_no_bit(library: KernelLibrary, shape: AttentionShape) -> None:
    """The same rows: in one prefill, in chunks of any size, token by token."""
    (made,), cache = conversations(shape, [300])
    with running(library, shape, cache) as step:
        expected = whole(step, made)
        for sizes in ([1] * 300, [7] * 42 + [6], [128, 128, 44], [299, 1], [1, 127, 1, 171], [33, 160, 107]):
            stops = np.cumsum(sizes)
            chunks = [Chunk(made, int(stop - size), int(stop)) for stop, size in zip(stops, sizes, strict=True)]
            out = np.concatenate([step.run([chunk])[0] for chunk in chunks])
            np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("shape", [SMOLLM2, LIMITED], ids=["full", "window"])
@pytest.mark.parametrize("num_threads", [2, 3])
def test_threads_change_no_bit(library: KernelLibrary, num_threads: int, shape: AttentionShape) -> None:
    made, cache = conversations(shape, [700, 129, 1, 450])
    plans = [
        [Chunk(made[0], 0, 700)],
        [Chunk(made[0], 699, 700)],  # cut into parts: 3 units only
        [Chunk(made[0], 690, 700)],
        [Chunk(c, len(c) - 1, len(c)) for c in made],
        [Chunk(made[3], 449, 450), Chunk(made[1], 0, 129), Chunk(made[2], 0, 1), Chunk(made[0], 640, 700)],
    ]
    with running(library, shape, cache) as alone, running(library, shape, cache, num_threads) as team:
        for plan in plans:
            for expected, out in zip(alone.run(plan), team.run(plan), strict=True):
                np.testing.assert_array_equal(out, expected)


def test_company_changes_no_bit(library: KernelLibrary) -> None:
    """A decode alone, and among 15 others of any length."""
    lengths = [260, 1, 128, 129, 255, 256, 257, 31, 32, 33, 700, 90, 2, 64, 300, 511]
    made, cache = conversations(SMOLLM2, lengths)
    with running(library, SMOLLM2, cache, 2) as step:
        together = step.run([Chunk(c, len(c) - 1, len(c)) for c in made])
        for c, out in zip(made, together, strict=True):
            np.testing.assert_array_equal(step.run([Chunk(c, len(c) - 1, len(c))])[0], out)


def test_a_step_without_sequences(library: KernelLibrary) -> None:
    _, cache = conversations(SMOLLM2, [1])
    with running(library, SMOLLM2, cache, 2) as step:
        assert step.run([]) == []


def test_cut_units(library: KernelLibrary) -> None:
    """A long decode on a team is cut into parts whose partials are stored, unless there is no room for them."""
    made, cache = conversations(SMOLLM2, [2100])
    decode = [Chunk(made[0], 2099, 2100)]
    outs = []
    for max_context, is_cut in ((2100, True), (128, False)):
        with running(library, SMOLLM2, cache, 2, max_context) as step:
            for _ in range(3):  # the count of arrivals is back at 0 after each step
                outs.append(step.run(decode)[0])
            stored = step.program.view(step.program.buffers["attention_partials"])
            assert stored.any() == is_cut
            assert not step.program.view(step.program.buffers["attention_arrivals"]).any()
    for out in outs:
        np.testing.assert_array_equal(out, outs[0])
    assert close_to_numpy(SMOLLM2, decode[0], outs[0])


def test_a_long_decode_among_short_ones_is_cut(library: KernelLibrary) -> None:
    """Or a thread would have it to itself when the others are done; what is as long as the rest is not cut."""
    made, cache = conversations(SMOLLM2, [1500, *[60] * 17])
    with running(library, SMOLLM2, cache) as alone, running(library, SMOLLM2, cache, 2) as team:
        for chosen, is_cut in ((made[1:], False), (made, True)):
            decodes = [Chunk(c, len(c) - 1, len(c)) for c in chosen]
            for expected, out in zip(alone.run(decodes), team.run(decodes), strict=True):
                np.testing.assert_array_equal(out, expected)
            assert team.program.view(team.program.buffers["attention_partials"]).any() == is_cut


def test_what_is_charged(library: KernelLibrary) -> None:
    """Units: the tokens that each query token sees. A step of decodes is charged to the decode tile, one with a unit of
    many rows to the wide tile."""
    made, cache = conversations(SMOLLM2, [400, 40])
    with running(library, SMOLLM2, cache, 2) as step:
        step.run([Chunk(c, len(c) - 1, len(c)) for c in made])
        step.run([Chunk(made[0], 98, 100), Chunk(made[1], 39, 40)])
        step.run([Chunk(made[0], 0, 400)])
        counted = {(stats.kernel, stats.phase): stats.units for stats in step.executor.kernel_stats()}
    few, many, decode = BEST.tile(64).name, BEST.wide_tile(64).name, BEST.decode_tile(64, 3).name
    mixed = PHASES[MIXED]
    assert counted == {
        (decode, PHASES[DECODE]): 440,
        (few, mixed): 99 + 100 + 40,
        (many, mixed): 400 * 401 // 2,
    }


def test_what_a_window_is_charged(library: KernelLibrary) -> None:
    """No token sees more than the window."""
    made, cache = conversations(LIMITED, [400])
    with running(library, LIMITED, cache, 2) as step:
        step.run([Chunk(made[0], 100, 400)])
        (units,) = (stats.units for stats in step.executor.kernel_stats() if stats.units)
    assert units == sum(min(position + 1, 150) for position in range(100, 400))
