"""Answers that quote their prompts, with guesses from the text and without: the same, sooner. Knows no draft."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median

import uvloop

from loadtest.conversation import Reply
from tests.end_to_end.requests import STORY
from tests.end_to_end.server import Server, served
from tests.under_load.callers import ask, calling
from tests.under_load.verdict import Verdict

FLAGS = ("--threads", "2", "--ctx", "2048", "--no-prefix-cache")
NUM_TOKENS = 160
NOTES = (
    "The meeting moved from Monday to Thursday because the auditors asked for two more days. Anna keeps the minutes, "
    "Boris books the room on the third floor, and the budget of 48,000 euros stays as it was agreed in March.",
    "Sponges have no nerves, no muscles and no stomach. They pump water through their pores and filter bacteria out of "
    "it; a sponge of the size of a fist filters some thousand litres a day. From small buds, the gemmules, new sponges "
    "grow when the water is warm again.",
    STORY,
)
TASKS = ("Summary with quotes:\n", "The text once more, word for word:\n")


def check(model: str, folder: Path, rounds: int) -> Iterator[Verdict]:
    with (
        served(model, folder / "with", *FLAGS, "--draft-tokens", "8") as guessing,
        served(model, folder / "without", *FLAGS) as plain,
    ):
        ratios, num_different = uvloop.run(_all(guessing, plain, rounds))
        metrics = guessing.metrics()
    drafts = metrics.sum("gemmule_draft_tokens_total")
    print(f"of {drafts:.0f} guesses {metrics.sum('gemmule_draft_tokens_accepted_total'):.0f} were right")
    yield Verdict("decode tokens/s with guesses, times those without", median(ratios), 1.5, is_most=False)
    yield Verdict("answers that differ", num_different, 0)


async def _all(guessing: Server, plain: Server, rounds: int) -> tuple[list[float], int]:
    """For each round, how many times faster in all; how many answers differ."""
    prompts = [f"{notes}\n\n{task}{notes[:40]}" for notes in NOTES for task in TASKS]
    ratios, num_different = [], 0
    async with calling(guessing) as with_guesses, calling(plain) as without:
        await ask(with_guesses, prompts[0], 8)
        await ask(without, prompts[0], 8)
        for _ in range(rounds):
            seconds, slower_seconds = 0.0, 0.0
            for prompt in prompts:
                _, fast = await ask(with_guesses, prompt, NUM_TOKENS)
                _, slow = await ask(without, prompt, NUM_TOKENS)
                num_different += fast.text != slow.text
                seconds += _decode_s(fast)
                slower_seconds += _decode_s(slow)
            ratios.append(slower_seconds / seconds)
    return ratios, num_different


def _decode_s(reply: Reply) -> float:
    return reply.end_s - reply.chunk_s[0]
