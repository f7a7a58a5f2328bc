"""SentencePiece's byte pair encoding, from the scores that a model file lists. Knows no special tokens."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.pieces import PieceTable
from service.errors import ModelFileError
from service.gguf import fields
from service.tokenizer.vocabulary import SPACE_MARK, TokenType, Vocabulary

SENTENCE_PIECE_IDS: Mapping[str, int] = {"bos": 1, "eos": 2}
"""What they are where the file does not say."""

_FOUND = frozenset({TokenType.NORMAL, TokenType.USER_DEFINED, TokenType.UNUSED, TokenType.UNDEFINED})
"""Types of the tokens that characters may merge into. No text becomes a special token by accident."""


class SentencePieces:
    """Ids of a text without special tokens. A character that is no token becomes bytes."""

    def __init__(self, vocabulary: Vocabulary, scores: npt.NDArray[np.float32]) -> None:
        ids = np.array(vocabulary.ids_of(_FOUND), np.int32)
        byte_ids = np.full(256, -1, np.int32)
        for index in vocabulary.ids_of([TokenType.BYTE]):
            byte_ids[vocabulary.token_bytes(index)[0]] = index
        self._table = PieceTable(list(map(str.encode, vocabulary.tokens)), scores, ids, byte_ids)

    def encode(self, text: str) -> list[int]:
        return self._table.cut(text.replace(" ", SPACE_MARK).encode())


def read_sentence_pieces(metadata: Mapping[str, Any], vocabulary: Vocabulary) -> SentencePieces:
    """ModelFileError where scores are missing, too few or not finite."""
    values = fields.numbers(metadata, "tokenizer.ggml.scores")
    if len(values) != len(vocabulary):
        raise ModelFileError(f"the vocabulary has {len(vocabulary)} tokens but {len(values)} scores")
    scores = np.array(values, np.float32)
    if not np.isfinite(scores).all():
        raise ModelFileError(f"the score of token {int(np.argmin(np.isfinite(scores)))} is not finite")
    return SentencePieces(vocabulary, scores)
