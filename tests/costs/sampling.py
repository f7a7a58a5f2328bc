"""What drawing costs a decode step of a 1B model with 151,936 tokens and 32 sequences: the sampler's share of the step.

The weights are random, so the distributions are flat: more tokens pass the filters than a trained model lets through.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kernels.folder import cache_folder
from service.engine.blocks import blocks_for
from service.engine.plan import Chunk, StepPlan
from service.engine.request import Dry, Request, SamplingParams
from service.engine.sequence import Sequence
from service.gemmule_model import GemmuleModel
from service.metrics.step_parts import SAMPLE_OP
from tools.peer.random_model import SHAPES, write

SHAPE = "1b-152k"
NUM_SEQUENCES = 32
CONTEXT = 128
NUM_STEPS = 20
MOST_SHARE = 0.05
KINDS = {
    "greedy": SamplingParams(temperature=0.0),
    "temperature, top-k 40, top-p, min-p": SamplingParams(temperature=0.8, top_k=40, top_p=0.95, min_p=0.05),
    "temperature and top-p alone": SamplingParams(temperature=1.0, top_p=0.95),
    "with penalties, DRY and 5 logprobs": SamplingParams(
        temperature=0.8, top_k=40, top_p=0.95, repetition_penalty=1.1, dry=Dry(multiplier=0.8), logprobs=5
    ),
}


@dataclass(frozen=True, slots=True)
class SamplingCost:
    kind: str
    sample_s: float
    """Of a step, from the first thread's begin in the sampler to the last one's end."""
    step_s: float
    vocab_size: int

    def line(self) -> str:
        return (
            f"sampling {NUM_SEQUENCES} rows of {self.vocab_size} tokens, {self.kind}: {1e3 * self.sample_s:.2f} ms, "
            f"{self.share:.2%} of a step of {1e3 * self.step_s:.1f} ms; bar {MOST_SHARE:.0%}: "
            f"{'met' if self.is_met else 'NOT MET'}"
        )

    @property
    def share(self) -> float:
        return self.sample_s / self.step_s

    @property
    def is_met(self) -> bool:
        return self.share <= MOST_SHARE


def wide_model() -> Path:
    """Random weights in Q4_0; written once, a minute or two."""
    path = cache_folder() / "models" / f"random-{SHAPE}-q4_0.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        print(f"writing {path}", file=sys.stderr)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            whole = Path(folder) / "f16.gguf"
            write(whole, SHAPES[SHAPE])
            command = [sys.executable, "-m", "service.cli", "quantize", str(whole), str(path), "--type", "q4_0"]
            subprocess.run(command, check=True)
    return path


def sampling(model: GemmuleModel) -> Iterator[SamplingCost]:
    """model: with room for all sequences."""
    for kind, params in KINDS.items():
        sequences = [_sequence(index, params) for index in range(NUM_SEQUENCES)]
        for sequence in sequences:
            model.runner.run(StepPlan((Chunk(sequence, 0, CONTEXT - 1, samples=False),)))
        before = _seconds(model)
        for _ in range(NUM_STEPS):
            model.runner.run(StepPlan(tuple(Chunk(s, CONTEXT - 1, 1, samples=True) for s in sequences)))
        sample_s, step_s = (now - then for now, then in zip(_seconds(model), before, strict=True))
        yield SamplingCost(kind, sample_s / NUM_STEPS, step_s / NUM_STEPS, model.vocab_size)


def _seconds(model: GemmuleModel) -> tuple[float, float]:
    """In the sampler, and in steps, since the load."""
    sample_s = sum(row.wall_seconds for row in model.kernel_stats() if row.op == SAMPLE_OP and row.phase == "decode")
    return sample_s, model.executor_times().wall_s


def _sequence(index: int, params: SamplingParams) -> Sequence:
    """The first token is of the prompt, the others count as output."""
    token_ids = tuple(300 + (index * 7919 + position * 104729) % 100_000 for position in range(CONTEXT))
    request = Request(id=str(index), prompt_ids=token_ids[:1], sampling=params, arrival_s=0.0)
    made = Sequence(request, rank=(0.0, index), max_tokens=2 * CONTEXT, seed=index)
    made.token_ids = list(token_ids)
    num_blocks = blocks_for(CONTEXT + 1)
    made.block_table = list(range(index * num_blocks, (index + 1) * num_blocks))
    return made
