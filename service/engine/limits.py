"""What bounds the engine: facts, set at start."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerLimits:
    max_context: int
    """Tokens of a sequence, prompt and output."""
    max_batch: int = 32
    """Sequences that run at the same time."""
    token_budget: int = 512
    """Tokens in one step."""
    inter_token_s: float | None = None
    """How long a step that streams wait for may take because of prompts. None: see service.engine.prefill_pace."""
    num_drafts: int = 0
    """Tokens that a sequence may guess in one step, to have them verified; 0: none are."""
    shares_prefixes: bool = True
    """Sequences that begin alike share the blocks of that."""
    kv_type: str = "f16"
    """What blocks are kept in."""

    def __post_init__(self) -> None:
        assert self.max_context >= 2, self.max_context
        assert 1 <= self.max_batch <= self.token_budget, "every running sequence must be able to decode in each step"
