"""The tokens of a model as its metadata lists them, checked. Knows no algorithm that finds them in a text."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Any

import numpy as np

from service.errors import ModelFileError
from service.gguf import fields
from service.gguf.cursor import quoted
from service.tokenizer.byte_letters import bytes_of_letters

MAX_TOKENS = 1 << 24


class TokenType(IntEnum):
    """GGUF's `tokenizer.ggml.token_type`."""

    UNDEFINED = 0
    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class Spelling(Enum):
    """How ordinary tokens stand in the vocabulary."""

    BYTE_LETTERS = "a printable character for each byte"
    SPACE_MARKS = "as they are, with U+2581 for the space"


SPACE_MARK = "\u2581"

SPECIAL = frozenset({TokenType.CONTROL, TokenType.UNKNOWN})
"""Found in a text only where the caller asks for it, and not shown in output."""

LITERAL = frozenset({TokenType.CONTROL, TokenType.UNKNOWN, TokenType.USER_DEFINED})
"""Stand in the vocabulary as they are written, however the others are spelled."""

END_TOKENS = frozenset(
    {
        "<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|end_of_text|>",
        "<|return|>", "<|call|>", "<end_of_turn>", "<turn|>", "<end_of_utterance>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]",
        "<｜end▁of▁sentence｜>",
    }
)  # fmt: skip
"""Tokens that end a turn by their name: files often list only one of them as the end of the sequence."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """`tokens[id]` is the token's text, `types[id]` a TokenType; `bos_id` and `eos_id` are None where there is none."""

    tokens: list[str]
    types: bytes
    bos_id: int | None
    eos_id: int | None
    eos_ids: frozenset[int]
    spelling: Spelling = Spelling.BYTE_LETTERS
    _bytes: dict[int, bytes] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Of the tokens that were asked for."""

    def __len__(self) -> int:
        return len(self.tokens)

    def is_special(self, token_id: int) -> bool:
        return self.types[token_id] in SPECIAL

    def token_bytes(self, token_id: int) -> bytes:
        """What the token stands for in a text."""
        known = self._bytes.get(token_id)
        if known is None:
            known = self._bytes[token_id] = self._bytes_of(token_id)
        return known

    def _bytes_of(self, token_id: int) -> bytes:
        text = self.tokens[token_id]
        token_type = self.types[token_id]
        if token_type in LITERAL:
            return text.encode()
        if token_type == TokenType.BYTE:  # <0x0A>
            return bytes.fromhex(text[3:5])
        if self.spelling is Spelling.SPACE_MARKS:
            return text.replace(SPACE_MARK, " ").encode()
        return bytes_of_letters(text)

    def ids_of(self, types: Iterable[TokenType]) -> list[int]:
        """The tokens of these types, in order."""
        return _ids_of(self.types, types)

    def special_ids(self) -> list[int]:
        return self.ids_of(SPECIAL)

    def literals(self, *, special: bool) -> dict[str, int]:
        """Tokens which are looked for before anything else, by text: user-defined ones, and special ones on request."""
        wanted = LITERAL if special else {TokenType.USER_DEFINED}
        return {self.tokens[token_id]: token_id for token_id in self.ids_of(wanted)}


def read_vocabulary(
    metadata: Mapping[str, Any], spelling: Spelling = Spelling.BYTE_LETTERS, defaults: Mapping[str, int] = {}
) -> Vocabulary:
    """Tokens, types and special ids; `defaults` for ids that are not given. ModelFileError on contradictions."""
    tokens = fields.strings(metadata, "tokenizer.ggml.tokens")
    if not 1 <= len(tokens) <= MAX_TOKENS:
        raise ModelFileError(f"the vocabulary has {len(tokens)} tokens; 1 to {MAX_TOKENS} are possible")
    tokens = [text or f"[EMPTY_{token_id}]" for token_id, text in enumerate(tokens)] if "" in tokens else tokens
    if len(set(tokens)) != len(tokens):
        raise ModelFileError(f"the vocabulary of {len(tokens)} tokens has only {len(set(tokens))} different ones")
    listed = fields.integers(metadata, "tokenizer.ggml.token_type", [int(TokenType.NORMAL)] * len(tokens))
    if len(listed) != len(tokens):
        raise ModelFileError(f"the vocabulary has {len(tokens)} tokens but {len(listed)} token types")
    if unknown := set(listed) - set(TokenType):
        raise ModelFileError(f"the vocabulary has a token of type {min(unknown)}; 0 to {max(TokenType)} are possible")
    types = bytearray(listed)
    _check_byte_tokens(tokens, types)
    eos_id = _token_id(metadata, "eos", len(tokens), defaults)
    eos_ids = {eos_id, _token_id(metadata, "eot", len(tokens)), _token_id(metadata, "eom", len(tokens))}
    for text in END_TOKENS.intersection(tokens):
        token_id = tokens.index(text)
        eos_ids.add(token_id)
        types[token_id] = TokenType.CONTROL  # some files have it as a normal token, which any user could write
    return Vocabulary(
        tokens=tokens,
        types=bytes(types),
        bos_id=_token_id(metadata, "bos", len(tokens), defaults),
        eos_id=eos_id,
        eos_ids=frozenset(token_id for token_id in eos_ids if token_id is not None),
        spelling=spelling,
    )


def difference(metadata: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """The first that two models' token ids do not agree in: what, and what it is in each. None: they mean the same."""
    kinds = [fields.string(each, "tokenizer.ggml.model") for each in (metadata, other)]
    if kinds[0] != kinds[1]:
        return ("the kind of tokenizer", quoted(kinds[0]), quoted(kinds[1]))
    tokens, other_tokens = (fields.strings(each, "tokenizer.ggml.tokens") for each in (metadata, other))
    if len(tokens) != len(other_tokens):
        return ("the number of tokens", str(len(tokens)), str(len(other_tokens)))
    for token_id, (token, other_token) in enumerate(zip(tokens, other_tokens, strict=True)):
        if token != other_token:
            return (f"token {token_id}", quoted(token), quoted(other_token))
    return None


def _token_id(metadata: Mapping[str, Any], name: str, num_tokens: int, defaults: Mapping[str, int] = {}) -> int | None:
    default = defaults.get(name)
    if default is not None and default >= num_tokens:
        default = None
    return fields.integer(metadata, f"tokenizer.ggml.{name}_token_id", default, at_least=0, at_most=num_tokens - 1)


def _ids_of(types: bytes | bytearray, wanted: Iterable[TokenType]) -> list[int]:
    # As a table, for vocabularies have up to a million tokens and every start asks several times.
    table = np.zeros(len(TokenType), bool)
    table[list(wanted)] = True
    ids: list[int] = np.flatnonzero(table[np.frombuffer(types, np.uint8)]).tolist()
    return ids


def _check_byte_tokens(tokens: list[str], types: bytes | bytearray) -> None:
    hexadecimal = "0123456789abcdefABCDEF"
    for token_id in _ids_of(types, [TokenType.BYTE]):
        text = tokens[token_id]
        well_formed = len(text) == 6 and text.startswith("<0x") and text.endswith(">")
        if not (well_formed and text[3] in hexadecimal and text[4] in hexadecimal):
            raise ModelFileError(f"the byte token {quoted(text)} has to be written like '<0x0A>'")
