"""Where conversations come from: synthetic lengths, shared prefixes, files of prompts, ShareGPT. Knows no server."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from loadtest.conversation import Conversation, Prompt, Turn
from loadtest.errors import BadPrompts
from loadtest.words import WORDS


class Source(Protocol):
    """The same seed gives the same conversations; there is always another one."""

    def conversations(self, rng: np.random.Generator) -> Iterator[Conversation]: ...


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of a prompt and of an answer, each drawn evenly from (1 - range_ratio) to (1 + range_ratio) times."""

    input_len: int
    output_len: int
    range_ratio: float = 0.0

    def __post_init__(self) -> None:
        if self.input_len < 1 or self.output_len < 1:
            raise BadPrompts(f"lengths are at least 1, not {self.input_len} and {self.output_len}")
        if not 0 <= self.range_ratio < 1:
            raise BadPrompts(f"a range ratio is from 0 to below 1, not {self.range_ratio}")

    def draw(self, rng: np.random.Generator) -> tuple[int, int]:
        """(input, output)"""
        return self._one(self.input_len, rng), self._one(self.output_len, rng)

    def _one(self, length: int, rng: np.random.Generator) -> int:
        low, high = int(length * (1 - self.range_ratio)), int(length * (1 + self.range_ratio))
        return max(1, int(rng.integers(low, high + 1)))


@dataclass(frozen=True, slots=True)
class Synthetic:
    """Random prompts: token ids from `token_ids` (first, behind the last), exact in length; or words, about a token
    each. `prefix_len` tokens at the front are one of `num_prefixes` texts that all conversations share."""

    lengths: Lengths
    token_ids: tuple[int, int] | None = None
    prefix_len: int = 0
    num_prefixes: int = 1
    num_turns: int = 1

    def __post_init__(self) -> None:
        if self.token_ids is not None and not 0 <= self.token_ids[0] < self.token_ids[1]:
            raise BadPrompts(f"token ids are from a first to behind a last, not {self.token_ids}")
        if self.token_ids is not None and self.num_turns > 1:
            raise BadPrompts("a conversation of several turns is text, not token ids")
        if self.prefix_len < 0 or self.num_prefixes < 1 or self.num_turns < 1:
            raise BadPrompts("a prefix has no negative length; there is at least one prefix and one turn")

    def conversations(self, rng: np.random.Generator) -> Iterator[Conversation]:
        prefixes = [self._piece(self.prefix_len, rng) for _ in range(self.num_prefixes)]
        while True:
            prefix = prefixes[int(rng.integers(self.num_prefixes))]
            turns: list[Turn] = []
            for _ in range(self.num_turns):
                input_len, output_len = self.lengths.draw(rng)
                turns.append(Turn(self._join((prefix if not turns else []) + self._piece(input_len, rng)), output_len))
            yield Conversation(tuple(turns))

    def _piece(self, length: int, rng: np.random.Generator) -> list[Any]:
        if self.token_ids is not None:
            return list(rng.integers(*self.token_ids, length).tolist())
        return [WORDS[index] for index in rng.integers(0, len(WORDS), length)]

    def _join(self, piece: list[Any]) -> Prompt:
        return tuple(piece) if self.token_ids is not None else " ".join(piece)


@dataclass(frozen=True, slots=True)
class Listed:
    """The conversations of a file, in order or shuffled, again and again."""

    all: tuple[Conversation, ...]
    shuffled: bool = False

    def conversations(self, rng: np.random.Generator) -> Iterator[Conversation]:
        order = rng.permutation(len(self.all)) if self.shuffled else range(len(self.all))
        return cycle([self.all[index] for index in order])


def prompt_file(path: Path, output_len: int) -> Listed:
    """A prompt a line; or, in a .jsonl file, {"prompt": TEXT or IDS} or {"messages": [...]}, with an optional
    "max_tokens"."""
    lines = [line for line in _text(path).splitlines() if line.strip()]
    if path.suffix == ".jsonl":
        found = [_of_json(path, number, line, output_len) for number, line in enumerate(lines, 1)]
    else:
        found = [Conversation((Turn(line, output_len),)) for line in lines]
    if not found:
        raise BadPrompts(f"{path} holds no prompt")
    return Listed(tuple(found))


def _of_json(path: Path, number: int, line: str, output_len: int) -> Conversation:
    try:
        entry = json.loads(line)
        max_tokens = int(entry.get("max_tokens", output_len))
        if "messages" in entry:
            said = [(str(message["role"]), str(message["content"])) for message in entry["messages"]]
            return _conversation(said, max_tokens)
        prompt = entry["prompt"]
        return Conversation((Turn(prompt if isinstance(prompt, str) else tuple(map(int, prompt)), max_tokens),))
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        raise BadPrompts(f"{path}:{number}: neither a prompt nor messages ({error})") from None


def sharegpt_file(path: Path, output_len: int | None, max_turns: int = 1) -> Listed:
    """ShareGPT's JSON: [{"conversations": [{"from": "human", "value": ...}, ...]}]. Without `output_len` an answer may
    be as long as the recorded one, at four characters a token."""
    try:
        entries = json.loads(_text(path))
    except ValueError as error:
        raise BadPrompts(f"{path} is no JSON: {error}") from None
    found = []
    for entry in entries if isinstance(entries, list) else []:
        said = entry.get("conversations") or entry.get("conversation") or [] if isinstance(entry, dict) else []
        turns = list(_sharegpt_turns(said, output_len))[:max_turns]
        if turns:
            found.append(Conversation(tuple(turns)))
    if not found:
        raise BadPrompts(f"{path} holds no conversation of ShareGPT's form")
    return Listed(tuple(found), shuffled=True)


def _sharegpt_turns(said: list[dict[str, Any]], output_len: int | None) -> Iterator[Turn]:
    for one, next_one in pairwise(said):
        if one.get("from") in ("human", "user") and next_one.get("from") in ("gpt", "chatgpt", "assistant"):
            prompt, answer = str(one.get("value", "")), str(next_one.get("value", ""))
            if prompt.strip() and answer.strip():
                yield Turn(prompt, output_len or max(1, len(answer) // 4))


def _conversation(said: list[tuple[str, str]], max_tokens: int) -> Conversation:
    """The user's messages are turns; recorded answers are left out, for the server gives its own."""
    system = next((text for role, text in said if role == "system"), None)
    return Conversation(tuple(Turn(text, max_tokens) for role, text in said if role == "user"), system)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadPrompts(f"{path}: {getattr(error, 'strerror', None) or error}") from None
