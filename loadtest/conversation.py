"""What is said to a server: a conversation of one or more turns. Knows no source and no protocol."""

from dataclasses import dataclass

Prompt = str | tuple[int, ...]
"""Text, or token ids where a length must be exact and no tokenizer is at hand."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What the user says, and how many tokens may be answered."""

    prompt: Prompt
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns that follow each other: each sees what was said and answered before."""

    turns: tuple[Turn, ...]
    system: str | None = None

    def __post_init__(self) -> None:
        assert self.turns, "a conversation has a turn"


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: a turn with its history, as (role, text)."""

    turn: Turn
    history: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, on the client's clock; counts are the server's own where it says them."""

    chunk_s: tuple[float, ...]
    end_s: float
    text: str
    output_tokens: int
    prompt_tokens: int = 0
    cached_tokens: int = 0
