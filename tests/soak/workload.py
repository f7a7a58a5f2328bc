"""What the soak sends: questions with the answers they have alone, and what nobody should send. Knows no server."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from tests.end_to_end.requests import CHAT, COMPLETIONS, STORY

NUM_QUESTIONS = 48
MALFORMED: tuple[tuple[str, Any], ...] = (
    (COMPLETIONS, b"{"),
    (COMPLETIONS, {"prompt": 5}),
    (COMPLETIONS, {"prompt": "a", "temperature": -1}),
    (COMPLETIONS, {"prompt": "a", "max_tokens": "many"}),
    (COMPLETIONS, {"prompt": "a", "no_such_field": 1}),
    (COMPLETIONS, {"prompt": [1 << 40]}),
    (CHAT, {"messages": "hello"}),
    (CHAT, {"messages": [{"role": "user"}], "top_p": 7}),
)


@dataclass(frozen=True, slots=True)
class Question:
    path: str
    body: dict[str, Any]


def questions(seed: int = 0) -> list[Question]:
    """Short and long prompts, most with a beginning that others have too; greedy and seeded; completions and chats."""
    random = Random(seed)
    made = []
    for number in range(NUM_QUESTIONS):
        shared = (STORY * 4)[: random.choice((0, 0, 90, 170, 400))]
        text = f"{shared} Number {number}. " + STORY[: random.randrange(1, len(STORY))] * random.choice((1, 1, 2, 4))
        drawing: dict[str, Any] = {"temperature": 0}
        if number % 3 == 1:
            drawing = {"temperature": 1.0, "top_p": 0.9, "seed": number, "presence_penalty": 0.5}
        elif number % 3 == 2:
            drawing = {"temperature": 0, "priority": random.randrange(-2, 3), "cache_salt": "salt"}
        body = {**drawing, "max_tokens": random.choice((1, 5, 20, 60, 150)), "ignore_eos": True}
        if number % 4 == 3:
            made.append(Question(CHAT, {**body, "messages": [{"role": "user", "content": text}]}))
        else:
            made.append(Question(COMPLETIONS, {**body, "prompt": text}))
    return made


def text_of(choice: dict[str, Any]) -> str:
    """Of a choice of either route, whole or a chunk."""
    if "text" in choice:
        return str(choice["text"])
    return str((choice.get("message") or choice.get("delta") or {}).get("content") or "")
