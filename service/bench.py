"""Prefill and decode tokens/s of a model as llama-bench measures them: one sequence, one test at a time, repeated.

A prompt test computes `n` tokens from an empty cache in steps of up to 512 and logits for the last; a generation test
decodes `n` tokens one by one from an empty cache. The tokens are random; a first, uncounted run warms each test.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from kernels.cpu import usable_cores
from service.bench_report import BenchRow
from service.engine.blocks import blocks_for
from service.engine.plan import Chunk, StepPlan
from service.engine.request import Request, SamplingParams
from service.engine.sequence import Sequence as TokenSequence
from service.errors import SettingsError
from service.gemmule_model import GemmuleModel
from service.loader import load_model
from service.settings import KVTypeName, Settings


def run_bench(
    path: Path,
    *,
    prompts: Sequence[int],
    gens: Sequence[int],
    threads: Sequence[int] | None,
    repetitions: int,
    isa: str | None = None,
    kv_type: KVTypeName = "auto",
) -> Iterator[BenchRow]:
    """Rows as they are measured. Raises SettingsError for a test longer than the model's context."""
    for num_threads in threads or (usable_cores(),):
        longest = max((*prompts, *gens, 1))
        settings = Settings(model=str(path), threads=num_threads, max_batch=1, isa=isa, kv_type=kv_type)
        model = load_model(path, settings)
        try:
            if longest > model.max_context:
                raise SettingsError(f"a test of {longest} tokens; the model's context holds {model.max_context}")
            for length, is_prompt in [*((n, True) for n in prompts), *((n, False) for n in gens)]:
                yield _row(model, path, num_threads, length, is_prompt, repetitions, settings.max_step_tokens)
        finally:
            model.close()


def _row(
    model: GemmuleModel, path: Path, num_threads: int, length: int, is_prompt: bool, repetitions: int, budget: int
) -> BenchRow:
    samples = []
    for _ in range(repetitions + 1):
        samples.append(sample_ns(model, length, is_prompt, budget))
    return BenchRow(
        model_filename=path.name,
        model_type=model.name,
        model_size=model.weight_bytes,
        model_n_params=model.num_parameters,
        n_threads=num_threads,
        n_prompt=length if is_prompt else 0,
        n_gen=0 if is_prompt else length,
        samples_ns=tuple(samples[1:]),
    )


def sample_ns(model: GemmuleModel, length: int, is_prompt: bool, budget: int) -> int:
    """One prompt of `length` tokens in steps of up to `budget`, or `length` tokens decoded: nanoseconds."""
    plans = list(_plans(model, length, budget if is_prompt else 1, samples_last_only=is_prompt))
    begun = time.perf_counter_ns()
    for plan in plans:
        model.runner.run(plan)
    return time.perf_counter_ns() - begun


def _plans(model: GemmuleModel, length: int, chunk_tokens: int, samples_last_only: bool) -> Iterator[StepPlan]:
    draw = random.Random(length)
    prompt = tuple(draw.randrange(model.vocab_size) for _ in range(length))
    request = Request(id="bench", prompt_ids=prompt, sampling=SamplingParams(temperature=0.0), arrival_s=0.0)
    sequence = TokenSequence(request, rank=(0.0, 0), max_tokens=1, seed=0)
    sequence.block_table = list(range(blocks_for(length)))
    for start in range(0, length, chunk_tokens):
        count = min(chunk_tokens, length - start)
        is_last = start + count == length
        yield StepPlan((Chunk(sequence, start, count, samples=is_last or not samples_last_only),))
