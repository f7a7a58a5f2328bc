"""What one request did and when. Knows no protocol and no statistics.

Times are seconds on the run's clock. The definitions are those of `vllm bench serve` and inference-perf:
TTFT from sending to the first chunk with text; ITL the gaps between such chunks; E2E from sending to the last chunk;
TPOT (E2E - TTFT) / (output tokens - 1), so without the first token; NTPOT E2E / output tokens.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Record:
    """One request. `error` is None when it was answered to the end."""

    index: int
    conversation: int
    turn: int
    due_s: float
    """When the schedule wanted it sent; `start_s` minus this is how late the client was."""
    start_s: float
    end_s: float
    chunk_s: tuple[float, ...] = ()
    """Arrivals of the chunks that carry text."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    text: str = ""
    error: str | None = None

    @property
    def is_complete(self) -> bool:
        return self.error is None

    @property
    def ttft_s(self) -> float:
        return (self.chunk_s[0] if self.chunk_s else self.end_s) - self.start_s

    @property
    def e2e_s(self) -> float:
        return self.end_s - self.start_s

    @property
    def tpot_s(self) -> float | None:
        """None for an answer of one token: it has no second one to wait for."""
        if self.output_tokens < 2:
            return None
        return (self.e2e_s - self.ttft_s) / (self.output_tokens - 1)

    @property
    def ntpot_s(self) -> float | None:
        return self.e2e_s / self.output_tokens if self.output_tokens else None

    @property
    def itl_s(self) -> tuple[float, ...]:
        return tuple(later - earlier for earlier, later in zip(self.chunk_s, self.chunk_s[1:], strict=False))

    @property
    def late_s(self) -> float:
        return self.start_s - self.due_s
