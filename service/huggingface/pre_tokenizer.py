"""Which of the pre-tokenizers with a name a tokenizer.json describes: the one that cuts texts alike. Merges nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import tokenizers
from tokenizers import pre_tokenizers

from service.errors import ModelFileError
from service.gguf.cursor import quoted
from service.huggingface.document import Document
from service.tokenizer.pre_tokenizers import PRE_TOKENIZERS

NORMALIZERS = ("NFC",)  # texts mostly are, and llama.cpp's tokenizers pass over it likewise
PREFERRED = ("gpt-2", "smollm", "llama-bpe", "qwen2")
PROBES: Sequence[str] = (
    "Hello world, it's 12345 o'clock; WE'LL see: don't, I'M, they've",
    "  two  spaces\n\n\nlines\r\n\ttabs \n end  ",
    "3.14159 1,000,000 ٣٤٥ x=y+1; foo_bar(fooBar) #!/usr/bin/env -- ... !!!",
    "naïve Straße привет мир γειά 你好，世界 こんにちは 안녕하세요 नमस्ते สวัสดี שלום مرحبا",
    "CamelCaseWords ALLCAPS mixedUP 123abc abc123 e\u0301a\u0308 \u200bzero \ufeffbom",
    "\U0001f600\U0001f468\u200d\U0001f469 emoji \u00a0nbsp \u3000wide 'S 'Ll 'x \"quoted\" (a)[b]{c}<d>/e\\f|g~h`i",
    "don\u2019t \u017f's 'ſ a\n b\n\nc \n\n d/\n/e",
    "year 2024 and 99999999 99 999 9999\n1\n22\n333",
)


def steps(found: Document, key: str) -> Iterator[Document]:
    """The steps of a Sequence, or the one there is, or none."""
    if not found.values:
        return
    if found.string("type") == "Sequence":
        for step in found.objects(key):
            yield from steps(step, key)
    else:
        yield found


def pre_tokenizer_name(tokenizer: Document, ignores_merges: bool) -> str:
    """ModelFileError where none cuts alike, or where a normalizer changes texts before."""
    for step in steps(tokenizer.part("normalizer"), "normalizers"):
        if step.string("type") not in NORMALIZERS:
            raise ModelFileError(f"tokenizer.json: the normalizer {quoted(step.string('type'))} is not supported")
    theirs = _cuts(_read(tokenizer))
    names = sorted(PRE_TOKENIZERS, key=lambda name: (PREFERRED.index(name) if name in PREFERRED else 99, name))
    for name in names:
        known = PRE_TOKENIZERS[name]
        if known.ignore_merges == ignores_merges and _cuts(known.build()) == theirs:
            return name
    raise ModelFileError(
        "tokenizer.json: its pre_tokenizer cuts texts as none of those known here does; known are "
        + ", ".join(sorted(PRE_TOKENIZERS))
    )


def _read(tokenizer: Document) -> pre_tokenizers.PreTokenizer:
    """The pre-tokenizer alone: in a tokenizer without tokens."""
    empty = {"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {}, "merges": []}}
    described = empty | {"pre_tokenizer": tokenizer.values.get("pre_tokenizer")}
    try:
        made: pre_tokenizers.PreTokenizer | None = tokenizers.Tokenizer.from_str(json.dumps(described)).pre_tokenizer
    except Exception as error:  # the binding raises Exception itself
        raise ModelFileError(f"tokenizer.json: pre_tokenizer: {quoted(str(error))}") from None
    if made is None:
        raise ModelFileError("tokenizer.json: pre_tokenizer is missing, and byte_fallback is not set")
    return made


def _cuts(pre: pre_tokenizers.PreTokenizer) -> list[list[str]]:
    try:
        return [[word for word, _ in pre.pre_tokenize_str(probe)] for probe in PROBES]
    except Exception as error:
        raise ModelFileError(f"tokenizer.json: pre_tokenizer fails on a text: {quoted(str(error))}") from None
