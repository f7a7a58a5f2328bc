"""Byte-level byte pair encoding (GPT-2), from the merges that a model file lists. Knows no special tokens."""

from collections.abc import Mapping
from typing import Any

import tokenizers
from tokenizers import models

from service.errors import ModelFileError
from service.gguf import fields
from service.gguf.cursor import quoted
from service.tokenizer.byte_letters import BYTE_TO_LETTER
from service.tokenizer.pre_tokenizers import PRE_TOKENIZERS, PreTokenizer
from service.tokenizer.vocabulary import Vocabulary


class BytePairs:
    """Ids of a text without special tokens."""

    def __init__(self, vocabulary: Vocabulary, merges: list[str], pre: PreTokenizer) -> None:
        self._bpe = _build_bpe(vocabulary, merges, pre)
        self._num_tokens = len(vocabulary)

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._bpe.encode(text, add_special_tokens=False).ids
        return [token_id for token_id in ids if token_id < self._num_tokens]  # without bytes that have no token


def read_pre_tokenizer(metadata: Mapping[str, Any]) -> PreTokenizer:
    name = fields.string(metadata, "tokenizer.ggml.pre", "default")
    pre = PRE_TOKENIZERS.get(name)
    if pre is None:
        raise ModelFileError(
            f"the pre-tokenizer {quoted(name)} is not supported; supported are: {', '.join(sorted(PRE_TOKENIZERS))}"
        )
    return pre


def read_byte_pairs(metadata: Mapping[str, Any], vocabulary: Vocabulary, pre: PreTokenizer) -> BytePairs:
    return BytePairs(vocabulary, fields.strings(metadata, "tokenizer.ggml.merges"), pre)


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
