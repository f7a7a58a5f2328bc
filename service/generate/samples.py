"""Several outputs of each prompt, and the best of them. Knows no shape of a response."""

from collections.abc import Sequence
from dataclasses import replace

from service.engine.request import SamplingParams
from service.generate.text import TextEvent


def seeded(sampling: SamplingParams, sample: int) -> SamplingParams:
    """The n-th sample of a prompt: a seed says which one the first is, and the others follow from it."""
    if sampling.seed is None or sample == 0:
        return sampling
    return replace(sampling, seed=(sampling.seed + sample + (1 << 63)) % (1 << 64) - (1 << 63))


def best(outputs: Sequence[TextEvent], num_samples: int, num_wanted: int) -> list[TextEvent]:
    """Of each prompt's `num_samples` outputs the likeliest per token, as OpenAI's best_of has it."""
    kept: list[TextEvent] = []
    for start in range(0, len(outputs), num_samples):
        samples = sorted(outputs[start : start + num_samples], key=_mean_logprob, reverse=True)
        kept += samples[:num_wanted]
    return kept


def _mean_logprob(output: TextEvent) -> float:
    return output.cumulative_logprob / max(1, output.usage.completion_tokens)
