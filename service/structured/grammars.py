"""Compiles output formats for a model's tokens, and keeps what it has compiled. Knows no request."""

import functools
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from service.errors import BadGrammar, Unsupported
from service.structured.constraint import GrammarConstraint
from service.structured.output_format import OutputFormat
from service.tokenizer import Tokenizer

if TYPE_CHECKING:
    import llguidance

MAX_KEPT = 64
MAX_TEXTS = 1024
"""Whose tokens are remembered."""
MAX_ROW_ITEMS = 2000
"""Ways to go on that a parser follows at the same time. The work of a token grows with their square."""
MAX_SHOWN = 300
SPECIAL_MARK = b"\xff"
"""Before a special token's name: it can then be no part of a text."""


class Grammars:
    """Any thread may ask. llguidance is imported at the first request that needs it: not every server meets one."""

    def __init__(self, tokenizer: Tokenizer, *, max_row_items: int = MAX_ROW_ITEMS) -> None:
        self._tokenizer = tokenizer
        self._max_row_items = max_row_items
        self._lock = threading.Lock()
        self._trie: llguidance.LLTokenizer | None = None
        self._kept: OrderedDict[OutputFormat, llguidance.LLMatcher] = OrderedDict()

    def constraint(self, output_format: OutputFormat) -> GrammarConstraint:
        """At its beginning. Takes milliseconds, up to a second for a large grammar. BadGrammar with the reason."""
        with self._lock:
            matcher = self._kept.get(output_format)
            if matcher is not None:
                self._kept.move_to_end(output_format)
            trie = self._trie = self._trie or self._make_trie()
        if matcher is None:
            try:
                matcher = _compile(output_format, trie, self._max_row_items)
            except BadGrammar as refusal:
                refusal.param = output_format.param
                raise
            with self._lock:
                self._kept[output_format] = matcher
                if len(self._kept) > MAX_KEPT:
                    self._kept.popitem(last=False)
        return GrammarConstraint(matcher.deep_copy(), output_format.param)

    def _make_trie(self) -> "llguidance.LLTokenizer":
        import llguidance

        if not self._tokenizer.eos_ids:
            raise Unsupported("this model has no token that ends a text: its output cannot follow a grammar")
        eos_ids = sorted(self._tokenizer.eos_ids)
        tokens = llguidance.TokenizerWrapper(_Tokens(self._tokenizer, eos_ids[0]))
        return llguidance.LLTokenizer(tokens, n_vocab=self._tokenizer.vocab_size, eos_token=eos_ids)


class _Tokens:
    """What llguidance wants to know of a tokenizer."""

    def __init__(self, tokenizer: Tokenizer, eos_id: int) -> None:
        is_special, bytes_of = tokenizer.vocabulary.is_special, tokenizer.token_bytes
        self.eos_token_id = eos_id
        self.bos_token_id = tokenizer.bos_id
        self.special_token_ids = [token_id for token_id in range(tokenizer.vocab_size) if is_special(token_id)]
        self.tokens = [
            SPECIAL_MARK + bytes_of(token_id) if is_special(token_id) else bytes_of(token_id)
            for token_id in range(tokenizer.vocab_size)
        ]

        # Asked at each mask for the text that the grammar forces there, which is mostly one of a few dozen.
        self._encode = functools.lru_cache(MAX_TEXTS)(functools.partial(tokenizer.encode, add_special=False))

    def __call__(self, text: bytes | str) -> list[int]:
        return self._encode(text if isinstance(text, str) else text.decode())


def _compile(output_format: OutputFormat, trie: "llguidance.LLTokenizer", max_row_items: int) -> "llguidance.LLMatcher":
    import llguidance

    limits = llguidance.LLParserLimits(verbose_errors=False, max_items_in_row=max_row_items)
    matcher = llguidance.LLMatcher(trie, output_format.compiled(), log_level=0, limits=limits)
    if matcher.is_error():
        raise BadGrammar(f"it cannot be compiled: {_reason(matcher)}")
    # What is too large for the limits already where it begins is known before anything is computed for it.
    first = matcher.deep_copy()
    first.consume_tokens(first.compute_ff_tokens())
    first.compute_bitmask()
    if first.is_error():
        raise BadGrammar(f"it is beyond the limits where it begins: {_reason(first)}")
    return matcher


def _reason(matcher: "llguidance.LLMatcher") -> str:
    return " ".join(matcher.get_error().split())[:MAX_SHOWN]
