"""What a check found: the numbers, the bars and who met them, tables for people. Runs no model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from tools.parity.measure import Agreement, Likeness

OURS, PEER, PEER_DECODE, F32_MODEL = "gemmule", "llama.cpp", "llama.cpp, token by token", "f32"
PAIRS = ((OURS, PEER), (PEER_DECODE, PEER), (OURS, PEER_DECODE), (OURS, F32_MODEL), (PEER, F32_MODEL))

MIN_COSINE = 0.999
MIN_AGREEMENT = 0.98
MAX_MARGIN = 0.5
# Where llama.cpp itself misses a bar, its own distance is the bar, and a quarter more: both roundings are random.
SLACK = 1.25


@dataclass(frozen=True, slots=True)
class PromptResult:
    """Cosines to the f32 model of one prompt, ours and llama.cpp's."""

    start: str
    num_tokens: int
    likeness: Mapping[str, Likeness]


@dataclass(frozen=True, slots=True)
class TextResult:
    """Who has the same best token as whom in one kind of text. `text_id`: a hash of its token ids."""

    kind: str
    text_id: str
    agreements: Mapping[tuple[str, str], Agreement]

    def bars(self) -> Iterator[Bar]:
        both, itself = self.agreements[OURS, PEER], self.agreements[PEER_DECODE, PEER]
        text = (
            f"{self.kind}: same best token as llama.cpp >= {100 * MIN_AGREEMENT:.0f} %: {100 * both.share:.2f} % of "
            f"{both.num_positions} positions (llama.cpp's decode and prefill: {100 * itself.share:.2f} %)"
        )
        yield Bar(text, both.share >= MIN_AGREEMENT, both.share >= 1 - SLACK * (1 - itself.share))
        worst = both.worst_margin
        text = f"{self.kind}: llama.cpp's margin where they differ < {MAX_MARGIN}: {worst:.3f}"
        yield Bar(f"{text} ({itself.worst_margin:.3f})", worst < MAX_MARGIN, False)


@dataclass(frozen=True, slots=True)
class Bar:
    """`is_met`: as it stands. `is_floor_met`: or at least as nearly as llama.cpp comes to it in the same run."""

    text: str
    is_met: bool
    is_floor_met: bool

    @property
    def verdict(self) -> str:
        return "met" if self.is_met else "missed, but not by more than llama.cpp" if self.is_floor_met else "MISSED"


@dataclass(frozen=True, slots=True)
class Report:
    """All that a check found of one model."""

    model: str
    prompts: tuple[PromptResult, ...]
    texts: tuple[TextResult, ...]

    def mean_cosine(self, who: str) -> float:
        """Over all positions of all prompts."""
        num_tokens = sum(prompt.num_tokens for prompt in self.prompts)
        return sum(prompt.likeness[who].mean * prompt.num_tokens for prompt in self.prompts) / num_tokens

    def bars(self) -> Iterator[Bar]:
        for prompt in self.prompts:
            ours, peer = prompt.likeness[OURS].flat, prompt.likeness[PEER].flat
            yield _cosine_bar(f"cosine of {prompt.start!r}", ours, peer)
        yield _cosine_bar("mean cosine over positions", self.mean_cosine(OURS), self.mean_cosine(PEER))
        for text in self.texts:
            yield from text.bars()


def _cosine_bar(what: str, ours: float, peer: float) -> Bar:
    text = f"{what} >= {MIN_COSINE}: {ours:.5f} (llama.cpp: {peer:.5f})"
    return Bar(text, ours >= MIN_COSINE, 1 - ours <= SLACK * (1 - peer))


def show(report: Report, console: Console, written: Callable[[int], str]) -> None:
    """`written`: the text of a token."""
    table = Table("prompt", "tokens", title=f"{report.model}: cosine of logits to the f32 model, {OURS} | {PEER}")
    for column in ("whole prompt", "last position", "mean of positions", "worst position"):
        table.add_column(column, justify="right")
    for prompt in report.prompts:
        ours, peer = prompt.likeness[OURS], prompt.likeness[PEER]
        pairs = ((ours.flat, peer.flat), (ours.last, peer.last), (ours.mean, peer.mean), (ours.worst, peer.worst))
        table.add_row(prompt.start, str(prompt.num_tokens), *(f"{a:.5f} | {b:.5f}" for a, b in pairs))
    means = f"{report.mean_cosine(OURS):.5f} | {report.mean_cosine(PEER):.5f}"
    table.add_row("all", str(sum(prompt.num_tokens for prompt in report.prompts)), "", "", means, "")
    console.print(table)
    for text in report.texts:
        show_text(text, console, written)


def show_text(text: TextResult, console: Console, written: Callable[[int], str]) -> None:
    """The table of one kind of text, and where we differ most."""
    table = Table("best token of", "beside", title=f"teacher-forced: {text.kind}, {text.text_id}")
    for column in ("positions", "same", "differ", "largest margin", "median margin"):
        table.add_column(column, justify="right")
    for (who, beside), found in text.agreements.items():
        margins = sorted(each.margin for each in found.disagreements) or [0.0]
        counts = (str(found.num_positions), f"{100 * found.share:.2f} %", str(len(found.disagreements)))
        table.add_row(who, beside, *counts, f"{margins[-1]:.3f}", f"{margins[len(margins) // 2]:.3f}")
    console.print(table)
    for each in sorted(text.agreements[OURS, PEER].disagreements, key=lambda each: -each.margin)[:5]:
        tokens = f"{written(each.ours)!r} for {written(each.reference)!r}"
        console.print(f"position {each.position}: {tokens}, llama.cpp's margin {each.margin:.3f}", highlight=False)
