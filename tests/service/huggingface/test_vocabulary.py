"""tokenizer.json as metadata: the tokens of the tokenizers library itself, and pre-tokenizers found by their cuts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers

from service.errors import ModelFileError
from service.huggingface.document import Document
from service.huggingface.pre_tokenizer import pre_tokenizer_name
from service.huggingface.vocabulary import vocabulary_of
from service.tokenizer import load_tokenizer
from tests.tiny_gguf import TEXT

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA3 = CONTRACTIONS + (r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
TEXTS = (TEXT, "the water", " two  spaces", "naïve 你好 \U0001f600", "a\nb", "isn't <s> it", "")


def split(pattern: str) -> pre_tokenizers.PreTokenizer:
    cut = pre_tokenizers.Split(Regex(pattern), "isolated")
    return pre_tokenizers.Sequence([cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def described(pre: pre_tokenizers.PreTokenizer, normalizer: Any = None) -> Document:
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre
    if normalizer is not None:
        made.normalizer = normalizer
    return Document("tokenizer.json", json.loads(made.to_str()))


@pytest.mark.parametrize(
    ("pre", "ignores_merges", "name"),
    [
        (pre_tokenizers.ByteLevel(add_prefix_space=False), False, "gpt-2"),
        (
            pre_tokenizers.Sequence(
                [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
            ),
            False,
            "smollm",
        ),
        (split(QWEN2), False, "qwen2"),
        (split(LLAMA3), True, "llama-bpe"),
    ],
)
def test_found_by_its_cuts(pre: pre_tokenizers.PreTokenizer, ignores_merges: bool, name: str) -> None:
    assert pre_tokenizer_name(described(pre, normalizers.NFC()), ignores_merges) == name


def test_unknown_cuts_and_normalizers() -> None:
    with pytest.raises(ModelFileError, match="cuts texts as none of those known here"):
        pre_tokenizer_name(described(split(r"[aeiou]+|\d{2}")), False)
    with pytest.raises(ModelFileError, match="normalizer 'Lowercase' is not supported"):
        pre_tokenizer_name(described(split(QWEN2), normalizers.Lowercase()), False)
    broken = Document("tokenizer.json", {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}}})
    with pytest.raises(ModelFileError, match=r"tokenizer.json: pre_tokenizer: "):
        pre_tokenizer_name(broken, False)


def trained(folder: Path, tokenizer: tokenizers.Tokenizer, trainer: trainers.BpeTrainer) -> Document:
    """Writes the folder's tokenizer; its config."""
    tokenizer.train_from_iterator([TEXT] * 3, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return Document("config.json", {"vocab_size": tokenizer.get_vocab_size() + 5})


def test_bytes_as_the_library_cuts_them(tmp_path: Path) -> None:
    theirs = tokenizers.Tokenizer(models.BPE())
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    config = trained(
        tmp_path,
        theirs,
        trainers.BpeTrainer(
            vocab_size=400, initial_alphabet=alphabet, special_tokens=["<s>", "</s>"], show_progress=False
        ),
    )
    ours = load_tokenizer(dict(vocabulary_of(tmp_path, config)))
    assert ours.vocab_size == theirs.get_vocab_size() + 5
    assert ours.eos_id == theirs.token_to_id("</s>")
    for text in TEXTS:
        assert ours.encode(text, parse_special=True) == theirs.encode(text).ids


def test_pieces_as_the_library_cuts_them(tmp_path: Path) -> None:
    """Byte fallback: what SentencePiece's models look like here; merges become scores."""
    theirs = tokenizers.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    theirs.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    config = trained(
        tmp_path,
        theirs,
        trainers.BpeTrainer(vocab_size=700, special_tokens=["<unk>", "<s>", "</s>", *bytes_], show_progress=False),
    )
    described = json.loads((tmp_path / "tokenizer.json").read_text())
    described["added_tokens"] = [token for token in described["added_tokens"] if not token["content"].startswith("<0x")]
    (tmp_path / "tokenizer.json").write_text(json.dumps(described))
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    metadata = dict(vocabulary_of(tmp_path, config))
    assert metadata["tokenizer.ggml.model"] == "llama"
    assert metadata["tokenizer.ggml.add_space_prefix"] is True
    ours = load_tokenizer(metadata)
    for text in ("the water was warm again", "Every summer it grew", "naïve 你好", "a sponge, which is small"):
        assert ours.encode(text) == theirs.encode(text).ids


def test_wrong_ids(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 7}, "merges": []}}))
    with pytest.raises(ModelFileError, match=r"'a' has the id '7'; config.json has 5 tokens"):
        list(vocabulary_of(tmp_path, Document("config.json", {"vocab_size": 5})))
