"""Who may still come in: bounds on open requests and on prompt tokens that wait. Knows no scheduler and no thread."""

from service.errors import QueueFull

WEIGHT = 0.1
"""Of the latest gap between two ends."""
LEAST_RETRY_S, MOST_RETRY_S = 1.0, 60.0


class Admission:
    """Keeps count on the event loop. An open request waits until its first token, or its end, is heard of."""

    def __init__(self, max_open: int, max_waiting_tokens: int) -> None:
        self._max_open = max_open
        self._max_waiting_tokens = max_waiting_tokens
        self._num_open = 0
        self._waiting: dict[str, int] = {}
        self._num_waiting_tokens = 0
        self._last_end_s: float | None = None
        self._gap_s = 0.0

    @property
    def max_open(self) -> int:
        return self._max_open

    @property
    def num_waiting_tokens(self) -> int:
        return self._num_waiting_tokens

    @property
    def retry_after_s(self) -> float:
        """When about those that wait now will have been taken in, by how often requests have ended of late."""
        return min(max(LEAST_RETRY_S, len(self._waiting) * self._gap_s), MOST_RETRY_S)

    def check(self, num_prompt_tokens: int) -> None:
        """Raise QueueFull if one more with such a prompt is too much. A prompt that is alone never is."""
        if self._num_open >= self._max_open:
            raise QueueFull(
                f"{self._num_open} requests are running or waiting, and no more than {self._max_open} may; "
                f"try again later",
                retry_after_s=self.retry_after_s,
            )
        tokens = self._num_waiting_tokens + num_prompt_tokens
        if self._waiting and tokens > self._max_waiting_tokens:
            raise QueueFull(
                f"the prompts that wait and this one have {tokens} tokens, and no more than "
                f"{self._max_waiting_tokens} may wait; try again later",
                retry_after_s=self.retry_after_s,
            )

    def enter(self, request_id: str, num_prompt_tokens: int) -> None:
        self._num_open += 1
        self._waiting[request_id] = num_prompt_tokens
        self._num_waiting_tokens += num_prompt_tokens

    def begin(self, request_id: str) -> None:
        """Its first token is there. No effect later."""
        self._num_waiting_tokens -= self._waiting.pop(request_id, 0)

    def end(self, request_id: str, now_s: float) -> None:
        self.begin(request_id)
        self._num_open -= 1
        if self._last_end_s is not None and self._waiting:
            self._gap_s += WEIGHT * (now_s - self._last_end_s - self._gap_s)
        self._last_end_s = now_s if self._waiting else None
