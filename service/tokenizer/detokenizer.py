"""Turns one sequence's tokens into text as they come, never half a character. Knows no stop strings."""

import codecs

from service.tokenizer.tokenizer import Tokenizer


class Detokenizer:
    """The pieces of `push` and the last one of `flush`, put together, are what `Tokenizer.decode` makes of all ids."""

    def __init__(self, tokenizer: Tokenizer, skip_special: bool = True) -> None:
        self._vocabulary = tokenizer.vocabulary
        self._skip_special = skip_special
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_id: int) -> str:
        """The text that this token completes; empty while a character is still open."""
        if self._skip_special and self._vocabulary.is_special(token_id):
            return ""
        return self._decoder.decode(self._vocabulary.token_bytes(token_id))

    def flush(self) -> str:
        """U+FFFD for a character that was left open, and ready for another sequence."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest
