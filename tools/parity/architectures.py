"""Every architecture beside llama.cpp: random weights, the head shapes of real models, logits of 300 tokens.

`python -m tools.parity.architectures [NAME ...]`; `make architecture-parity`. The bar is a cosine of 0.999 over all
positions. Activations are rounded to int8 (or f16) by both programs; the weights are those of a file, the same bits.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from service.errors import GemmuleError
from service.loader import load_model
from service.settings import Settings
from tests.service.model.driver import every_position
from tests.tiny_gguf import write_tiny_gguf
from tools.parity.llamacpp import LlamaCpp, peer_python
from tools.parity.measure import Likeness
from tools.peer.llamacpp import PeerError

BAR = 0.999
CONTEXT = 512
NUM_TOKENS = 300
LLAMA_1B: Mapping[str, Any] = {"embedding": 2048, "heads": 32, "kv_heads": 8, "head_dim": 64, "ffn": 2048}
PHI_MINI: Mapping[str, Any] = {
    "architecture": "phi3", "embedding": 3072, "heads": 32, "kv_heads": 32, "head_dim": 96, "ffn": 1024, "fused": True,
}  # fmt: skip
MODELS: Mapping[str, Mapping[str, Any]] = {
    "llama (Llama 3.2 1B)": {**LLAMA_1B, "factors": ("rope_freqs",), "rope_freq_base": 500_000.0},
    "llama, linear": {**LLAMA_1B, "numbers": {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}},
    "llama, yarn": {
        **LLAMA_1B,
        "numbers": {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": 128,
        },
    },
    "llama, biases": {**LLAMA_1B, "biases": ("attn_q", "attn_k", "attn_v", "attn_output")},
    "qwen2 (0.5B)": {
        "architecture": "qwen2", "embedding": 896, "heads": 14, "kv_heads": 2, "head_dim": 64, "ffn": 1216,
        "rope_freq_base": 1e6, "biases": ("attn_q", "attn_k", "attn_v"),
    },
    "qwen3 (0.6B)": {
        "architecture": "qwen3", "embedding": 1024, "heads": 16, "kv_heads": 8, "head_dim": 128, "ffn": 1024,
        "rope_freq_base": 1e6, "head_norms": True,
    },
    "gemma (2B)": {
        "architecture": "gemma", "embedding": 2048, "heads": 8, "kv_heads": 1, "head_dim": 256, "ffn": 2048,
    },
    "gemma2 (2B)": {
        "architecture": "gemma2", "embedding": 2304, "heads": 8, "kv_heads": 4, "head_dim": 256, "ffn": 2304,
        "post_norms": True,
        "numbers": {
            "attention.sliding_window": 100, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 30.0,
        },
    },
    "gemma3 (1B)": {
        "architecture": "gemma3", "embedding": 1152, "heads": 4, "kv_heads": 1, "head_dim": 256, "ffn": 1152,
        "num_layers": 6, "rope_freq_base": 1e6, "head_norms": True, "post_norms": True,
        "numbers": {"attention.sliding_window": 100},
    },
    "phi3 (mini 4k)": PHI_MINI,
    "phi3 (mini 128k)": {
        **PHI_MINI,
        "factors": ("rope_factors_long", "rope_factors_short"),
        "numbers": {
            "rope.scaling.type": "longrope",
            "rope.scaling.attn_factor": 1.19,
            "rope.scaling.original_context_length": 128,
        },
    },
}  # fmt: skip
TYPES = ("F16", "Q8_0")


def likeness(path: Path, python: Path, num_threads: int) -> Likeness:
    ids = np.random.default_rng(0).integers(3, 379, NUM_TOKENS).tolist()
    model = load_model(path, Settings(threads=num_threads, ctx=CONTEXT, max_batch=256, max_step_tokens=CONTEXT))
    try:
        with LlamaCpp(python, path, CONTEXT, num_threads) as peer:
            return Likeness.of(every_position(model, ids), peer.logits(ids))
    finally:
        model.close()


def main() -> None:
    """Zero when every model meets the bar."""
    parser = argparse.ArgumentParser(prog="python -m tools.parity.architectures", description="beside llama.cpp")
    parser.add_argument("name", nargs="*", help=f"of: {', '.join(MODELS)} (default: all)")
    parser.add_argument("--types", nargs="*", default=TYPES, help="of the weights (default: F16 Q8_0)")
    parser.add_argument("-t", "--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    wanted = [name for name in MODELS if not options.name or name in options.name or name.split()[0] in options.name]
    failed = []
    try:
        python = peer_python()
        for name in wanted:
            for weight_type in options.types:
                with tempfile.TemporaryDirectory() as folder:
                    arguments = {"context": CONTEXT, "weight_type": weight_type, **MODELS[name]}
                    found = likeness(write_tiny_gguf(Path(folder) / "model.gguf", **arguments), python, options.threads)
                print(
                    f"{name:<22} {weight_type:<5} cosine {found.flat:.6f}, worst position {found.worst:.6f}", flush=True
                )
                if not found.flat >= BAR:
                    failed.append(f"{name} {weight_type}")
    except (PeerError, GemmuleError, OSError) as error:
        sys.exit(f"parity: {error}")
    print(f"cosine >= {BAR}: {'missed by ' + ', '.join(failed) if failed else 'met by all'}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
