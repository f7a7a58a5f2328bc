"""Byte-level byte pair encoding built from a model file's metadata. Knows no chat and no sampling."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import tokenizers
from tokenizers import models

from service.errors import BadRequest, ModelFileError
from service.gguf import fields
from service.gguf.cursor import quoted
from service.tokenizer.byte_letters import BYTE_TO_LETTER
from service.tokenizer.pre_tokenizers import PRE_TOKENIZERS, PreTokenizer
from service.tokenizer.vocabulary import Vocabulary, read_vocabulary

SUPPORTED_MODELS = ("gpt2",)

LITERAL_MARK = "\ufdd0"
"""Put inside a special token's name it makes the name text like any other, and is dropped, where special tokens are
parsed. A Unicode noncharacter: texts that people exchange do not hold it."""

MAX_TEXT_CHARACTERS = 4_000_000
"""The pattern library gives up, by a panic, after 10 million steps back in one match."""


class Tokenizer:
    """Encodes and decodes. Has no state that changes; any thread may use it."""

    def __init__(self, vocabulary: Vocabulary, bpe: tokenizers.Tokenizer, *, add_bos: bool, add_eos: bool) -> None:
        self.vocabulary = vocabulary
        self.add_bos = add_bos
        self.add_eos = add_eos
        self._bpe = bpe
        self._all_literals = _Literals(vocabulary.literals(special=True))
        self._user_literals = _Literals(vocabulary.literals(special=False))

    @property
    def vocab_size(self) -> int:
        return len(self.vocabulary)

    @property
    def bos_id(self) -> int | None:
        return self.vocabulary.bos_id

    @property
    def eos_id(self) -> int | None:
        return self.vocabulary.eos_id

    @property
    def eos_ids(self) -> frozenset[int]:
        """Every token that ends an answer: end of sequence, of turn, of message."""
        return self.vocabulary.eos_ids

    def encode(self, text: str, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """`add_special`: begin and end tokens where the model wants them. `parse_special`: a control token's text in
        `text` becomes that token; off, it is text like any other (LITERAL_MARK helps).
        BadRequest on a lone surrogate, or on far too much.
        """
        _check_text(text)
        ids: list[int] = []
        if add_special and self.add_bos:
            assert self.bos_id is not None
            ids.append(self.bos_id)
        for piece in (self._all_literals if parse_special else self._user_literals).split(text):
            if isinstance(piece, int):
                ids.append(piece)
            else:
                ids.extend(self._encode_words(piece.replace(LITERAL_MARK, "") if parse_special else piece))
        if add_special and self.add_eos:
            assert self.eos_id is not None
            ids.append(self.eos_id)
        return ids

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """The text of the tokens; bytes that are no UTF-8 become U+FFFD."""
        vocabulary = self.vocabulary
        kept = (token_id for token_id in ids if not (skip_special and vocabulary.is_special(token_id)))
        return b"".join(map(vocabulary.token_bytes, kept)).decode(errors="replace")

    def token_bytes(self, token_id: int) -> bytes:
        return self.vocabulary.token_bytes(token_id)

    def _encode_words(self, text: str) -> list[int]:
        ids: list[int] = self._bpe.encode(text, add_special_tokens=False).ids
        num_tokens = len(self.vocabulary)
        return [token_id for token_id in ids if token_id < num_tokens]  # without the bytes that have no token


def _check_text(text: str) -> None:
    if len(text) > MAX_TEXT_CHARACTERS:
        raise BadRequest(f"the text has {len(text)} characters; at most {MAX_TEXT_CHARACTERS} can be encoded at once")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadRequest(
            f"the text holds a lone surrogate (U+{ord(text[error.start]):04X}) at character {error.start}: "
            "it cannot be UTF-8"
        ) from None


class _Literals:
    """Finds tokens that are taken as they are written: leftmost first, then longest."""

    def __init__(self, ids: dict[str, int]) -> None:
        self._ids = ids
        longest_first = sorted(ids, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if ids else None

    def split(self, text: str) -> Iterator[str | int]:
        """Texts between the tokens, and the tokens' ids, in order."""
        position = 0
        for match in self._pattern.finditer(text) if self._pattern is not None else ():
            if match.start() > position:
                yield text[position : match.start()]
            yield self._ids[match.group()]
            position = match.end()
        if position < len(text):
            yield text[position:]


def load_tokenizer(metadata: Mapping[str, Any]) -> Tokenizer:
    """Builds the tokenizer that a GGUF file's metadata describes. ModelFileError where it does not hold together."""
    model = fields.string(metadata, "tokenizer.ggml.model")
    if model not in SUPPORTED_MODELS:
        raise ModelFileError(
            f"the tokenizer model {quoted(model)} is not supported; supported are: "
            f"{', '.join(SUPPORTED_MODELS)} (byte-level BPE)"
        )
    pre_name = fields.string(metadata, "tokenizer.ggml.pre", "default")
    pre = PRE_TOKENIZERS.get(pre_name)
    if pre is None:
        raise ModelFileError(
            f"the pre-tokenizer {quoted(pre_name)} is not supported; supported are: {', '.join(sorted(PRE_TOKENIZERS))}"
        )
    vocabulary = read_vocabulary(metadata)
    add_bos = fields.boolean(metadata, "tokenizer.ggml.add_bos_token", pre.add_bos and vocabulary.bos_id is not None)
    add_eos = fields.boolean(metadata, "tokenizer.ggml.add_eos_token", False)
    for wanted, token_id, name in ((add_bos, vocabulary.bos_id, "bos"), (add_eos, vocabulary.eos_id, "eos")):
        if wanted and token_id is None:
            raise ModelFileError(f"tokenizer.ggml.add_{name}_token is true but there is no {name}_token_id")
    bpe = _build_bpe(vocabulary, fields.strings(metadata, "tokenizer.ggml.merges"), pre)
    return Tokenizer(vocabulary, bpe, add_bos=add_bos, add_eos=add_eos)


def _build_bpe(vocabulary: Vocabulary, merges: list[str], pre: PreTokenizer) -> tokenizers.Tokenizer:
    pairs: list[tuple[str, str]] = []
    for merge in merges:
        left, _, right = merge.partition(" ")
        if not (left and right):
            raise ModelFileError(f"merge {len(pairs)} is {quoted(merge)}; it has to be two tokens with a space between")
        pairs.append((left, right))
    ids = dict(zip(vocabulary.tokens, range(len(vocabulary)), strict=True))
    for token_id in vocabulary.special_ids():
        del ids[vocabulary.tokens[token_id]]  # no word of a text may be one by accident
    for letter in BYTE_TO_LETTER:
        # A byte without a token still stands between its neighbours, or they would merge; it is dropped afterwards.
        ids.setdefault(letter, len(vocabulary))
    try:
        model = models.BPE(ids, pairs, ignore_merges=pre.ignore_merges)
    except Exception as error:  # the binding raises Exception itself
        raise ModelFileError(f"the merges do not fit the vocabulary: {quoted(str(error))}") from None
    bpe = tokenizers.Tokenizer(model)
    bpe.pre_tokenizer = pre.build()
    return bpe
