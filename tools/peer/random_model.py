"""Writes a GGUF file of a known model's shapes with random weights: to measure speed at a size that no package carries.

`python -m tools.peer.random_model OUT [--shape llama-3.2-1b] [--type Q4_K_M ...]`; without --type the F16 file alone,
with types also those, made by the peer's llama-quantize beside it: OUT-Q4_K_M.gguf. It answers nonsense.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

from tools.peer.llamacpp import PeerError, programs

PURE = ("Q4_0", "Q4_1", "Q8_0")  # every matrix of one type; the others are llama-quantize's mixtures
ROWS_AT_ONCE = 8192


@dataclass(frozen=True, slots=True)
class Shape:
    """A llama with tied embeddings."""

    layers: int
    embedding: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    rope_base: float
    context: int = 8192


SHAPES = {
    "llama-3.2-1b": Shape(16, 2048, 8192, 32, 8, 64, 128_256, 500_000.0),
    "1b-152k": Shape(16, 2048, 8192, 32, 8, 64, 151_936, 500_000.0),
    "small": Shape(4, 512, 1536, 8, 4, 64, 512, 10_000.0),
    "tiny": Shape(2, 256, 512, 4, 2, 64, 512, 10_000.0),
}


def matrices(shape: Shape) -> Iterator[tuple[str, int, int, float]]:
    """(name, rows, columns, standard deviation), embedding first."""
    s = shape
    yield "token_embd", s.vocabulary, s.embedding, 3 / s.embedding**0.5
    queries, keys = s.heads * s.head_dim, s.kv_heads * s.head_dim
    for layer in range(s.layers):
        for name, rows, columns in (
            ("attn_q", queries, s.embedding),
            ("attn_k", keys, s.embedding),
            ("attn_v", keys, s.embedding),
            ("attn_output", s.embedding, queries),
            ("ffn_gate", s.feed_forward, s.embedding),
            ("ffn_up", s.feed_forward, s.embedding),
            ("ffn_down", s.embedding, s.feed_forward),
        ):
            yield f"blk.{layer}.{name}", rows, columns, 1 / columns**0.5


def write(path: Path, shape: Shape) -> None:
    """The F16 file, tensor by tensor."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(path.stem)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.embedding)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape.vocabulary)
    add_tokenizer(writer, shape.vocabulary)
    listed = list(matrices(shape))
    for name, rows, columns, _ in listed:
        writer.add_tensor_info(f"{name}.weight", (rows, columns), np.dtype(np.float16), rows * columns * 2)
    norms = [f"blk.{layer}.{name}" for layer in range(shape.layers) for name in ("attn_norm", "ffn_norm")]
    for name in (*norms, "output_norm"):
        writer.add_tensor_info(f"{name}.weight", (shape.embedding,), np.dtype(np.float32), 4 * shape.embedding)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    random = np.random.default_rng(1)
    for _, rows, columns, deviation in listed:
        writer.write_tensor_data(_normal(random, rows, columns, deviation))
    for _ in (*norms, "output_norm"):
        writer.write_tensor_data(np.ones(shape.embedding, np.float32))
    writer.close()


def _normal(random: np.random.Generator, rows: int, columns: int, deviation: float) -> npt.NDArray[np.float16]:
    made = np.empty((rows, columns), np.float16)
    for start in range(0, rows, ROWS_AT_ONCE):
        count = min(ROWS_AT_ONCE, rows - start)
        made[start : start + count] = random.standard_normal((count, columns), np.float32) * np.float32(deviation)
    return made


def add_tokenizer(writer: gguf.GGUFWriter, vocabulary: int) -> None:
    """Byte-level BPE: 256 bytes, one merge, and names that no text has."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = [chr(byte) if byte in printable else chr(256 + others.index(byte)) for byte in range(256)]
    tokens = ["<|endoftext|>", *letters, letters[97] + letters[98]]
    tokens += [f"<|reserved_{index}|>" for index in range(vocabulary - len(tokens))]
    normal, control = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL
    types = [control, *[normal] * 257, *[control] * (vocabulary - 258)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([f"{letters[97]} {letters[98]}"])
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(False)


def quantised(source: Path, kind: str) -> Path:
    """By the peer's llama-quantize, beside the source."""
    made = source.with_name(f"{source.stem}-{kind}.gguf")
    command = [str(programs() / "llama-quantize"), *(["--pure"] if kind in PURE else []), str(source), str(made), kind]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        raise PeerError(f"llama-quantize ended with status {done.returncode}: {done.stderr.strip()[-200:]}")
    return made


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.peer.random_model", description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT", help="the F16 file to write, ...gguf")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="llama-3.2-1b")
    parser.add_argument("--type", action="append", default=[], help="also quantise to this type; may be repeated")
    options = parser.parse_args()
    try:
        print(f"writing {options.out}", file=sys.stderr)
        write(options.out, SHAPES[options.shape])
        for kind in options.type:
            print(quantised(options.out, kind))
    except (PeerError, OSError) as error:
        sys.exit(f"random_model: {error}")


if __name__ == "__main__":
    main()
