"""A Hugging Face folder as a source of a model. Knows no formats of files: service.huggingface reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from service.errors import ModelFileError
from service.gguf.pair import Pair
from service.gguf.types import GGMLType
from service.huggingface.config import architecture_of, metadata_of
from service.huggingface.document import Document
from service.huggingface.safetensors import open_folder
from service.huggingface.vocabulary import vocabulary_of
from service.huggingface.weights import weights_of
from service.quantise.source import Bytes, Floats, SourceTensor

EMBEDDING = "token_embd.weight"


class FolderSource:
    """config.json, tokenizer.json, safetensors. Vectors are given as F32, matrices in the type they have."""

    def __init__(self, folder: Path) -> None:
        config = Document.read(folder / "config.json")
        self.architecture = architecture_of(config)
        self._weights = weights_of(open_folder(folder), config)
        embedding = self._weights.get(EMBEDDING)
        if embedding is None or embedding.shape[0] != config.integer("vocab_size"):
            found = "missing" if embedding is None else f"of shape {list(embedding.shape)}"
            raise ModelFileError(f"{EMBEDDING} is {found}; config.json has {config.integer('vocab_size')} tokens")
        name = folder.resolve().name
        self._pairs = [Pair.of(*pair) for pair in chain(metadata_of(config, name), vocabulary_of(folder, config))]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._weights.clear()

    @property
    def tensors(self) -> Mapping[str, SourceTensor]:
        return {
            name: SourceTensor(weight.shape, GGMLType.F32 if len(weight.shape) == 1 else GGMLType[weight.dtype])
            for name, weight in self._weights.items()
        }

    def pairs(self) -> Iterator[Pair]:
        yield from self._pairs

    def rows(self, name: str) -> Bytes:
        """In the type that `tensors` says: what is no F32 there was not made of F32."""
        weight = self._weights[name]
        num_rows = int(np.prod(weight.shape[:-1]))
        floats = np.ascontiguousarray(weight.floats(0, num_rows), "<f4")
        if self.tensors[name].type is GGMLType.F32:
            return floats.view(np.uint8)
        if weight.dtype == "F16":
            return floats.astype("<f2").view(np.uint8)
        return np.ascontiguousarray(floats.view("<u4") >> 16).astype("<u2").view(np.uint8)

    def floats(self, name: str, start: int, stop: int) -> Floats:
        return self._weights[name].floats(start, stop)
