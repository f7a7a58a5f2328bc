"""The tensors of a folder as GGUF has them: other names, Llama's queries and keys in another order, Gemma's norms + 1.

GGUF's llama rotates pairs (2i, 2i + 1), Hugging Face's (i, i + d/2): rows of queries and keys change places. Gemma's
norms multiply by 1 + w; GGUF stores the sum. Everything is given as f32, a range of rows at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import gguf
import numpy as np
import numpy.typing as npt

from service.errors import ModelFileError
from service.gguf.cursor import quoted
from service.huggingface.config import architecture_of, num_kv_heads, rope_factors
from service.huggingface.document import Document
from service.huggingface.safetensors import StoredTensor

Floats = npt.NDArray[np.float32]
OUTPUT: Final = "output.weight"
UNUSED: Final = (".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias")
"""What older files hold beside the weights: tables that follow from the config."""


@dataclass(frozen=True, slots=True)
class Weight:
    """`order`: whose row stands in a row's place, None: its own. `plus`: added to each element."""

    shape: tuple[int, ...]
    dtype: str
    stored: StoredTensor | None
    values: Floats | None = None
    order: npt.NDArray[np.int64] | None = None
    plus: float = 0.0

    def floats(self, start: int, stop: int) -> Floats:
        """f32[stop - start, row elements]"""
        if self.values is not None:
            return self.values.reshape(-1, self.shape[-1])[start:stop]
        assert self.stored is not None
        rows = self.stored.rows()
        if self.order is not None and len(self.shape) == 1:
            return _as_f32(rows, self.dtype)[:, self.order][start:stop]
        taken = rows[start:stop] if self.order is None else rows[self.order[start:stop]]
        return _as_f32(taken, self.dtype) + np.float32(self.plus)


def weights_of(stored: Mapping[str, StoredTensor], config: Document) -> dict[str, Weight]:
    """By GGUF's names. ModelFileError for a tensor that has none."""
    architecture = architecture_of(config)
    number = next(kind for kind, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(number, config.integer("num_hidden_layers", most=1 << 12))
    is_tied = config.flag("tie_word_embeddings", architecture.startswith("gemma"))
    found: dict[str, Weight] = {}
    for name, tensor in stored.items():
        if name.endswith(UNUSED):
            continue
        short = name.removesuffix(".weight").removesuffix(".bias")
        known = OUTPUT.removesuffix(".weight") if short == "lm_head" else names.get_name(short)
        if known is None:
            raise ModelFileError(f"tensor {quoted(name)} has no place in a {architecture}")
        made = known + name.removeprefix(short)
        if made == OUTPUT and is_tied:
            continue
        if made in found:
            raise ModelFileError(f"tensor {quoted(name)} is a second {made}")
        found[made] = _weight(made, tensor, architecture, config)
    for name, factors in rope_factors(config).items():
        values = np.array(factors, np.float32)
        found[name] = Weight(values.shape, "F32", None, values)
    if not is_tied and OUTPUT not in found:
        raise ModelFileError("lm_head.weight is missing, and tie_word_embeddings is false")
    return found


def _weight(name: str, tensor: StoredTensor, architecture: str, config: Document) -> Weight:
    plus = 1.0 if architecture.startswith("gemma") and name.endswith("norm.weight") else 0.0
    order = None
    heads = {".attn_q.": config.integer("num_attention_heads"), ".attn_k.": num_kv_heads(config)}
    for part, num_heads in heads.items():
        if architecture == "llama" and part in name:
            rows = tensor.shape[0]
            if rows % (2 * num_heads):
                raise ModelFileError(f"tensor {quoted(tensor.name)} has {rows} rows; {num_heads} heads share them")
            order = np.arange(rows).reshape(num_heads, 2, -1).swapaxes(1, 2).reshape(-1)
    return Weight(tensor.shape, tensor.dtype, tensor, None, order, plus)


def _as_f32(rows: npt.NDArray[np.uint8], dtype: str) -> Floats:
    """u8[N, row bytes] -> f32[N, K], exactly."""
    if dtype == "BF16":
        return (rows.view("<u2").astype(np.uint32) << 16).view(np.float32)
    return np.asarray(rows.view("<f2" if dtype == "F16" else "<f4"), np.float32)
