"""tokenizer.json and what lies beside it as GGUF's tokenizer metadata. Knows no algorithm, and no weights.

Byte pairs over bytes become `gpt2`, with the pre-tokenizer whose cuts are the same on texts made for the purpose; byte
pairs with byte fallback, which SentencePiece's models are converted to, become `llama`: SentencePiece merges the pair
of the best piece first, so the place of a piece's first merge is its score.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from service.errors import ModelFileError
from service.gguf.cursor import quoted
from service.huggingface.document import Document
from service.huggingface.pre_tokenizer import pre_tokenizer_name, steps
from service.tokenizer.vocabulary import SPACE_MARK, TokenType

MAX_TOKENS = 1 << 20
TEMPLATE_FILE = "chat_template.jinja"


def vocabulary_of(folder: Path, config: Document) -> Iterator[tuple[str, Any]]:
    """Keys and values. ModelFileError for a tokenizer of another kind, or one that contradicts itself."""
    tokenizer = Document.read(folder / "tokenizer.json")
    settings = Document.read_if_any(folder / "tokenizer_config.json")
    model = tokenizer.part("model")
    if model.string("type", "BPE") != "BPE":
        raise ModelFileError(f"tokenizer.json: the model {quoted(model.string('type'))} is not supported; BPE is")
    merges = _merges(model)
    tokens, types = _tokens(tokenizer, model, config.integer("vocab_size"))
    falls_back = model.flag("byte_fallback", False)
    yield "tokenizer.ggml.model", "llama" if falls_back else "gpt2"
    if falls_back:
        types = [TokenType.BYTE if _is_byte(text, kind) else kind for text, kind in zip(tokens, types, strict=True)]
        yield "tokenizer.ggml.scores", _scores(tokens, merges)
        yield "tokenizer.ggml.add_space_prefix", _adds_space(tokenizer)
    else:
        yield "tokenizer.ggml.pre", pre_tokenizer_name(tokenizer, model.flag("ignore_merges", False))
        yield "tokenizer.ggml.merges", [" ".join(pair) for pair in merges]
    yield "tokenizer.ggml.tokens", tokens
    yield "tokenizer.ggml.token_type", [int(kind) for kind in types]
    yield from _special_ids(tokens, settings, config)
    bos = settings.values.get("add_bos_token")
    yield "tokenizer.ggml.add_bos_token", bos if isinstance(bos, bool) else _starts_with_special(tokenizer)
    template = _chat_template(folder, settings)
    if template is not None:
        yield "tokenizer.chat_template", template


def _merges(model: Document) -> list[tuple[str, str]]:
    """Older files have them as "a b", newer ones as ["a", "b"]."""
    values = model.values.get("merges")
    if not isinstance(values, list):
        raise ModelFileError("tokenizer.json: model.merges is missing, or no list")
    pairs = []
    for index, value in enumerate(values):
        pair = value.split(" ") if isinstance(value, str) else value
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(item, str) and item for item in pair):
            raise ModelFileError(f"tokenizer.json: merge {index} is {quoted(str(value))}; it has to be two tokens")
        pairs.append((pair[0], pair[1]))
    return pairs


def _tokens(tokenizer: Document, model: Document, size: int) -> tuple[list[str], list[TokenType]]:
    """By id, up to the rows of the embedding: ids without a token become unused ones."""
    by_id: dict[int, tuple[str, TokenType]] = {}
    for text, token_id in model.part("vocab").values.items():
        _add(by_id, token_id, text, TokenType.NORMAL, size)
    unknown = model.values.get("unk_token")
    for added in tokenizer.objects("added_tokens"):
        text = added.string("content")
        kind = TokenType.CONTROL if added.flag("special", False) else TokenType.USER_DEFINED
        _add(by_id, added.values.get("id"), text, TokenType.UNKNOWN if text == unknown else kind, size)
    padded = [by_id.get(token_id, (f"[PAD{token_id}]", TokenType.UNUSED)) for token_id in range(size)]
    return [text for text, _ in padded], [kind for _, kind in padded]


def _add(by_id: dict[int, tuple[str, TokenType]], token_id: Any, text: str, kind: TokenType, size: int) -> None:
    if type(token_id) is not int or not 0 <= token_id < min(size, MAX_TOKENS):
        raise ModelFileError(
            f"tokenizer.json: token {quoted(text)} has the id {quoted(str(token_id))}; config.json has {size} tokens"
        )
    if by_id.get(token_id, (text, kind))[0] != text:
        raise ModelFileError(f"tokenizer.json: {quoted(text)} and {quoted(by_id[token_id][0])} have the id {token_id}")
    by_id[token_id] = (text, kind)


def _is_byte(text: str, kind: TokenType) -> bool:
    return kind is TokenType.NORMAL and len(text) == 6 and text.startswith("<0x") and text.endswith(">")


def _scores(tokens: list[str], merges: list[tuple[str, str]]) -> list[float]:
    ranks: dict[str, int] = {}
    for rank, (left, right) in enumerate(merges):
        ranks.setdefault(left + right, rank)
    return [-float(ranks.get(text, len(merges))) for text in tokens]


def _adds_space(tokenizer: Document) -> bool:
    """Whether a text begins as if after a space: by the normalizer, or by the pre-tokenizer."""
    for step in steps(tokenizer.part("normalizer"), "normalizers"):
        if step.string("type") == "Prepend":
            return step.string("prepend") == SPACE_MARK
    for step in steps(tokenizer.part("pre_tokenizer"), "pretokenizers"):
        if step.string("type") == "Metaspace":
            return step.string("prepend_scheme", "always") != "never"
    return False


def _special_ids(tokens: list[str], settings: Document, config: Document) -> Iterator[tuple[str, int]]:
    """By name in tokenizer_config.json, or by number in config.json."""
    ids = {text: token_id for token_id, text in enumerate(tokens)}
    for name in ("bos", "eos", "unk", "pad"):
        value = settings.values.get(f"{name}_token")
        text = value.get("content") if isinstance(value, dict) else value
        numbers = config.values.get(f"{name}_token_id")
        first = numbers[0] if isinstance(numbers, list) and numbers else numbers
        token_id = ids.get(text) if isinstance(text, str) else None
        if token_id is None and type(first) is int:
            token_id = first
        if token_id is not None and 0 <= token_id < len(tokens):
            yield f"tokenizer.ggml.{ {'unk': 'unknown', 'pad': 'padding'}.get(name, name) }_token_id", token_id
    numbers = config.values.get("eos_token_id")
    if isinstance(numbers, list) and len(numbers) > 1 and type(numbers[1]) is int and 0 <= numbers[1] < len(tokens):
        yield "tokenizer.ggml.eot_token_id", numbers[1]


def _starts_with_special(tokenizer: Document) -> bool:
    """Whether the post-processor puts a special token before a text."""
    for step in steps(tokenizer.part("post_processor"), "processors"):
        if step.string("type") == "TemplateProcessing":
            pieces = step.values.get("single")
            return isinstance(pieces, list) and bool(pieces) and "SpecialToken" in pieces[0]
    return False


def _chat_template(folder: Path, settings: Document) -> str | None:
    beside = folder / TEMPLATE_FILE
    if beside.is_file():
        try:
            return beside.read_text()
        except UnicodeDecodeError as error:
            raise ModelFileError(f"{TEMPLATE_FILE} is no UTF-8: byte {error.start}") from None
    value = settings.values.get("chat_template")
    if isinstance(value, list):
        named: Mapping[str, Any] = {
            str(item.get("name")): item.get("template") for item in value if isinstance(item, dict)
        }
        value = named.get("default")
    if value is not None and not isinstance(value, str):
        raise ModelFileError(f"tokenizer_config.json: chat_template is {type(value).__name__}; it has to be a string")
    return value
