"""What an evaluation found, as lines for people and as JSON. Measures nothing."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from service.quality.measures import Mean


@dataclass(frozen=True, slots=True)
class Quality:
    """What was found; the fields of a reference are None without one. KL: of the reference from the model, in nats."""

    model: str
    num_windows: int
    num_scored: int
    perplexity: Mean
    reference_perplexity: Mean | None
    mean_kl: Mean | None
    median_kl: float | None
    kl_99: float | None
    worst_kl: float | None
    same_best: Mean | None


def as_lines(found: Quality) -> list[str]:
    lines = [
        f"model       {found.model}: {found.num_windows} windows, {found.num_scored} tokens scored",
        f"perplexity  {found.perplexity.value:.4f} +- {found.perplexity.error:.4f}",
    ]
    if found.reference_perplexity is not None and found.mean_kl is not None and found.same_best is not None:
        reference = found.reference_perplexity
        ratio = found.perplexity.value / reference.value
        lines += [
            f"reference   {reference.value:.4f} +- {reference.error:.4f} (ours is {100 * (ratio - 1):+.3f} %)",
            f"KL          mean {found.mean_kl.value:.6f} +- {found.mean_kl.error:.6f}, median {found.median_kl:.6f}, "
            f"99 % {found.kl_99:.6f}, worst {found.worst_kl:.6f}",
            f"same best   {100 * found.same_best.value:.2f} % +- {100 * found.same_best.error:.2f} %",
        ]
    return lines


def as_json(found: Quality) -> str:
    return json.dumps(asdict(found), indent=1)
