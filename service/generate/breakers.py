"""Which tokens hold one of some texts: those across which DRY sees no repetition. Knows no request."""

from functools import lru_cache

from service.tokenizer import Tokenizer

NUM_KEPT = 16
"""Sets of texts whose tokens are remembered: a vocabulary takes some hundredths of a second to look through."""


class Breakers:
    """Of one tokenizer; any thread may use it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.ids = lru_cache(NUM_KEPT)(self._find)

    def _find(self, texts: tuple[str, ...]) -> frozenset[int]:
        parts = [text.encode(errors="replace") for text in texts]
        return frozenset(
            token_id
            for token_id in range(self._tokenizer.vocab_size)
            if any(part in self._tokenizer.token_bytes(token_id) for part in parts)
        )
