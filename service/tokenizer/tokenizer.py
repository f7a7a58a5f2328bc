"""Text to token ids and back, as a model file's metadata say. Knows no chat and no sampling."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from service.errors import BadRequest, ModelFileError
from service.gguf import fields
from service.gguf.cursor import quoted
from service.tokenizer.byte_pairs import read_byte_pairs, read_pre_tokenizer
from service.tokenizer.literals import Literals
from service.tokenizer.sentence_pieces import SENTENCE_PIECE_IDS, read_sentence_pieces
from service.tokenizer.vocabulary import Spelling, Vocabulary, read_vocabulary

SUPPORTED_MODELS = ("gpt2 (byte-level BPE)", "llama (SentencePiece)")

LITERAL_MARK = "\ufdd0"
"""Put inside a special token's name it makes the name text like any other, and is dropped, where special tokens are
parsed. A Unicode noncharacter: texts that people exchange do not hold it."""

MAX_TEXT_CHARACTERS = 4_000_000
"""The pattern library gives up, by a panic, after 10 million steps back in one match."""


class Words(Protocol):
    """Finds ordinary tokens."""

    def encode(self, text: str) -> list[int]:
        """Ids of a text that holds no special token."""
        ...


class Tokenizer:
    """Encodes and decodes. Has no state that changes; any thread may use it."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        words: Words,
        *,
        add_bos: bool,
        add_eos: bool,
        add_space_prefix: bool = False,
    ) -> None:
        """`add_space_prefix`: a space goes before a text, and before what follows a special token."""
        self.vocabulary = vocabulary
        self.add_bos = add_bos
        self.add_eos = add_eos
        self.add_space_prefix = add_space_prefix
        self._words = words
        self._all_literals = Literals(vocabulary.literals(special=True))
        self._user_literals = Literals(vocabulary.literals(special=False))

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
        space = self.add_space_prefix
        for piece in (self._all_literals if parse_special else self._user_literals).split(text):
            if isinstance(piece, int):
                ids.append(piece)
                space = self.add_space_prefix
            elif words := piece.replace(LITERAL_MARK, "") if parse_special else piece:
                ids.extend(self._words.encode(" " + words if space else words))
                space = False
        if add_special and self.add_eos:
            assert self.eos_id is not None
            ids.append(self.eos_id)
        return ids

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """The text of the tokens, without the space that `encode` put before it; what is no UTF-8 becomes U+FFFD."""
        vocabulary = self.vocabulary
        kept = (token_id for token_id in ids if not (skip_special and vocabulary.is_special(token_id)))
        text = b"".join(map(vocabulary.token_bytes, kept)).decode(errors="replace")
        return text.removeprefix(" ") if self.add_space_prefix else text

    def token_bytes(self, token_id: int) -> bytes:
        return self.vocabulary.token_bytes(token_id)


def load_tokenizer(metadata: Mapping[str, Any]) -> Tokenizer:
    """Builds the tokenizer that a GGUF file's metadata describes. ModelFileError where it does not hold together."""
    model = fields.string(metadata, "tokenizer.ggml.model")
    words: Words
    if model == "gpt2":
        pre = read_pre_tokenizer(metadata)
        vocabulary = read_vocabulary(metadata)
        words = read_byte_pairs(metadata, vocabulary, pre)
        starts, space = pre.add_bos and vocabulary.bos_id is not None, False
    elif model == "llama":
        vocabulary = read_vocabulary(metadata, Spelling.SPACE_MARKS, SENTENCE_PIECE_IDS)
        words = read_sentence_pieces(metadata, vocabulary)
        starts, space = vocabulary.bos_id is not None, True
    else:
        raise ModelFileError(
            f"the tokenizer model {quoted(model)} is not supported; supported are: {', '.join(SUPPORTED_MODELS)}"
        )
    add_bos = fields.boolean(metadata, "tokenizer.ggml.add_bos_token", starts)
    add_eos = fields.boolean(metadata, "tokenizer.ggml.add_eos_token", False)
    for wanted, token_id, name in ((add_bos, vocabulary.bos_id, "bos"), (add_eos, vocabulary.eos_id, "eos")):
        if wanted and token_id is None:
            raise ModelFileError(f"tokenizer.ggml.add_{name}_token is true but there is no {name}_token_id")
    space = space and fields.boolean(metadata, "tokenizer.ggml.add_space_prefix", True)
    return Tokenizer(vocabulary, words, add_bos=add_bos, add_eos=add_eos, add_space_prefix=space)


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
