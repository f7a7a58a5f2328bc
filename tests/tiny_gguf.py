"""Writes a tiny random model with a real byte-level BPE tokenizer. Deterministic in its arguments.

Written with the official `gguf` package, so that our own reader is tested against somebody else's writer.
"""

import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from kernels.quant.super_blocks import SUPER_FORMATS
from kernels.quant.super_quantise import quantise_super_blocks

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
ENDOFTEXT_ID, IM_START_ID, IM_END_ID = range(3)
NUM_MERGES = 120

TEXT = """Once upon a time there was a small sponge which lived at the bottom of the sea. Every summer it grew a few
buds, and every winter the buds waited in the mud until the water was warm again. Then a whole new sponge grew from
each of them. The other animals asked the sponge what it was doing there all the time, and the sponge said that it was
thinking about the water, the stones and the light that came from above. It isn't easy to say more than that."""


@cache
def byte_letters() -> tuple[str, ...]:
    """The printable character that stands for each byte in a byte-level vocabulary (GPT-2's encoder.py)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return tuple(chr(byte) if byte in printable else chr(256 + others.index(byte)) for byte in range(256))


@cache
def learned_merges(num_merges: int = NUM_MERGES) -> tuple[tuple[str, str], ...]:
    """The most frequent pairs of TEXT, one after another; ties go to the smallest pair."""
    letters = byte_letters()
    pieces = re.findall(r" ?[A-Za-z]+|'[a-z]+|\s+(?!\S)| ?[^\sA-Za-z]+|\s+", TEXT)
    words = Counter(tuple(letters[byte] for byte in piece.encode()) for piece in pieces)
    merges: list[tuple[str, str]] = []
    while len(merges) < num_merges:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in words.items():
            for pair in itertools.pairwise(word):
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        merged: Counter[tuple[str, ...]] = Counter()
        for word, count in words.items():
            merged[_merge(word, best)] += count
        words = merged
    return tuple(merges)


def _merge(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    joined: list[str] = []
    index = 0
    while index < len(word):
        size = 2 if word[index : index + 2] == pair else 1
        joined.append("".join(word[index : index + size]))
        index += size
    return tuple(joined)


def tiny_vocabulary() -> list[str]:
    """379 tokens: 3 specials, 256 bytes, 120 merges. Odd on purpose: no tile divides it."""
    return [*SPECIALS, *byte_letters(), *("".join(pair) for pair in learned_merges())]


def write_tiny_gguf(
    path: str | Path,
    *,
    weight_type: str = "Q4_0",
    embedding_type: str | None = None,
    output_type: str | None = None,
    types: Mapping[str, str] | None = None,
    num_layers: int = 2,
    embedding: int = 64,
    ffn: int = 96,
    heads: int = 4,
    kv_heads: int = 2,
    head_dim: int = 16,
    rope_dim: int | None = None,
    context: int = 256,
    tied: bool = True,
    rope_freq_base: float = 10_000.0,
    rms_epsilon: float = 1e-5,
    pre: str | None = "smollm",
    add_bos: bool = False,
    add_eos: bool = False,
    chat_template: str | None = CHATML,
    extra_tokens: Sequence[tuple[str, gguf.TokenType]] = (),
    alignment: int | None = None,
    seed: int = 0,
    architecture: str = "llama",
    numbers: Mapping[str, Any] | None = None,
    biases: Sequence[str] = (),
    head_norms: bool = False,
    post_norms: bool = False,
    fused: bool = False,
    factors: Sequence[str] = (),
) -> Path:
    """A model whose logits have a standard deviation of about 3. Types are names of gguf.GGMLQuantizationType;
    the embedding's type is `weight_type` unless given, and the output's (when not tied) too; `types` gives tensors of
    the layers their own: {"attn_v": "Q8_0"}.

    `numbers`: more metadata, under the architecture's prefix. `biases`: tensors of the layers that have one.
    `head_norms`: of queries and keys; `post_norms`: of what a layer adds; `fused`: qkv in one tensor, gate and up in
    another; `factors`: names of tensors of rope factors.
    """
    path = Path(path)
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, architecture)
    for key, number in (numbers or {}).items():
        value_type = gguf.GGUFValueType.get_type(number) if not isinstance(number, int) else gguf.GGUFValueType.UINT32
        value_type = gguf.GGUFValueType.BOOL if isinstance(number, bool) else value_type
        writer.add_key_value(f"{architecture}.{key}", number, value_type)
    if alignment is not None:
        writer.add_custom_alignment(alignment)
    writer.add_name("tiny")
    writer.add_block_count(num_layers)
    writer.add_context_length(context)
    writer.add_embedding_length(embedding)
    writer.add_feed_forward_length(ffn)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim if rope_dim is None else rope_dim)
    writer.add_rope_freq_base(rope_freq_base)
    writer.add_layer_norm_rms_eps(rms_epsilon)
    num_tokens = _add_tokenizer(writer, pre, add_bos, add_eos, chat_template, extra_tokens)
    writer.add_vocab_size(num_tokens)

    def matrix(name: str, rows: int, columns: int, deviation: float, type_name: str) -> None:
        values = random.standard_normal((rows, columns), dtype=np.float32) * np.float32(deviation)
        _add_matrix(writer, name, values, type_name)

    def inner(name: str, rows: int, columns: int, deviation: float) -> None:
        type_name = (types or {}).get(name.split(".")[2], weight_type)
        matrix(name, rows, columns, deviation, type_name)

    def inner_with_bias(name: str, rows: int, columns: int, deviation: float) -> None:
        inner(f"{name}.weight", rows, columns, deviation)
        if name.split(".")[2] in biases:
            writer.add_tensor(f"{name}.bias", (0.5 * random.standard_normal(rows)).astype(np.float32))

    def norm(name: str, size: int = embedding, mean: float = 1) -> None:
        writer.add_tensor(name, (mean * (1 + 0.1 * random.standard_normal(size))).astype(np.float32))

    # A row of deviation 3 / sqrt(n) against a normed row of length sqrt(n) gives logits of deviation 3.
    logit_deviation = 3 / embedding**0.5
    matrix("token_embd.weight", num_tokens, embedding, logit_deviation, embedding_type or weight_type)
    for layer in range(num_layers):
        block = f"blk.{layer}"
        norm(f"{block}.attn_norm.weight")
        # queries and keys a little hot, so that attention is neither uniform nor a single token
        if fused:
            inner_with_bias(f"{block}.attn_qkv", (heads + 2 * kv_heads) * head_dim, embedding, 1.5 / embedding**0.5)
        else:
            inner_with_bias(f"{block}.attn_q", heads * head_dim, embedding, 1.5 / embedding**0.5)
            inner_with_bias(f"{block}.attn_k", kv_heads * head_dim, embedding, 1.5 / embedding**0.5)
            inner_with_bias(f"{block}.attn_v", kv_heads * head_dim, embedding, 1 / embedding**0.5)
        if head_norms:
            norm(f"{block}.attn_q_norm.weight", head_dim, 1.5)
            norm(f"{block}.attn_k_norm.weight", head_dim, 1.5)
        # the layers outweigh the embedding in the residual stream, or a tied model would only repeat its input
        inner_with_bias(f"{block}.attn_output", embedding, heads * head_dim, 2 / (heads * head_dim) ** 0.5)
        norm(f"{block}.ffn_norm.weight")
        if not fused:
            inner_with_bias(f"{block}.ffn_gate", ffn, embedding, 1.5 / embedding**0.5)
        inner_with_bias(f"{block}.ffn_up", 2 * ffn if fused else ffn, embedding, 1.5 / embedding**0.5)
        inner_with_bias(f"{block}.ffn_down", embedding, ffn, 2 / ffn**0.5)
        if post_norms:
            norm(f"{block}.post_attention_norm.weight", mean=4)
            norm(f"{block}.post_ffw_norm.weight", mean=4)
    norm("output_norm.weight")
    for name in factors:
        writer.add_tensor(f"{name}.weight", (1 + 7 * random.random((rope_dim or head_dim) // 2)).astype(np.float32))
    if not tied:
        matrix("output.weight", num_tokens, embedding, logit_deviation, output_type or weight_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokenizer(
    writer: gguf.GGUFWriter,
    pre: str | None,
    add_bos: bool,
    add_eos: bool,
    chat_template: str | None,
    extra_tokens: Sequence[tuple[str, gguf.TokenType]],
) -> int:
    tokens = tiny_vocabulary()
    types = [gguf.TokenType.CONTROL] * len(SPECIALS) + [gguf.TokenType.NORMAL] * (len(tokens) - len(SPECIALS))
    writer.add_tokenizer_model("gpt2")
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list([*tokens, *(text for text, _ in extra_tokens)])
    writer.add_token_types([*types, *(token_type for _, token_type in extra_tokens)])
    writer.add_token_merges([" ".join(pair) for pair in learned_merges()])
    writer.add_bos_token_id(IM_START_ID)
    writer.add_eos_token_id(IM_END_ID)
    writer.add_unk_token_id(ENDOFTEXT_ID)
    writer.add_pad_token_id(IM_END_ID)
    writer.add_add_bos_token(add_bos)
    writer.add_add_eos_token(add_eos)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    return len(tokens) + len(extra_tokens)


def _add_matrix(writer: gguf.GGUFWriter, name: str, values: npt.NDArray[np.float32], type_name: str) -> None:
    ggml_type = gguf.GGMLQuantizationType[type_name]
    of_super_blocks = type_name in SUPER_FORMATS  # the package has no quantiser for them
    raw = quantise_super_blocks(values, type_name) if of_super_blocks else gguf.quants.quantize(values, ggml_type)
    writer.add_tensor(name, raw, raw_dtype=ggml_type)
