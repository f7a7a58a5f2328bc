"""Logits in a file: what a model gave for the scored positions of a text, to compare others with. Knows no model.

A line of JSON ({"format": "gemmule-logits", "version": 1, "vocab": V, "windows": [[token id, ...], ...]}), then f32[V]
of each scored position, little-endian. Written beside its name and renamed when it is whole.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np

from service.errors import SettingsError
from service.quality.measures import F32
from service.quality.windows import Window

FORMAT, VERSION = "gemmule-logits", 1
MAX_HEADER_BYTES = 1 << 26


class LogitWriter:
    """Takes the rows of the windows in order. Leaving the context by an error leaves no file."""

    def __init__(self, path: Path, windows: Sequence[Window], vocab: int) -> None:
        self._path, self._unfinished = path, path.with_name(f"{path.name}.unfinished")
        self._left = sum(window.num_scored for window in windows)
        self._vocab = vocab
        self._file = self._unfinished.open("wb")
        ids = [window.ids.tolist() for window in windows]
        self._file.write(json.dumps({"format": FORMAT, "version": VERSION, "vocab": vocab, "windows": ids}).encode())
        self._file.write(b"\n")

    def add(self, logits: F32) -> None:
        """f32[rows, V]"""
        assert logits.shape[1] == self._vocab, f"{logits.shape[1]} logits in a row, not {self._vocab}"
        self._file.write(np.ascontiguousarray(logits, "<f4").tobytes())
        self._left -= len(logits)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()
        if kind is None and self._left == 0:
            self._unfinished.rename(self._path)
        else:
            self._unfinished.unlink(missing_ok=True)


class LogitReader:
    """Gives the rows back in order. SettingsError if the file is none of these, or of other windows."""

    def __init__(self, path: Path, windows: Sequence[Window], vocab: int) -> None:
        self._path, self._vocab = path, vocab
        self._file: BinaryIO = path.open("rb")
        try:
            self._check(windows)
        except BaseException:
            self._file.close()
            raise

    def _check(self, windows: Sequence[Window]) -> None:
        try:
            header = json.loads(self._file.readline(MAX_HEADER_BYTES))
        except ValueError:
            header = None
        if not isinstance(header, dict) or (header.get("format"), header.get("version")) != (FORMAT, VERSION):
            raise SettingsError(f"{self._path.name} holds no saved logits of version {VERSION}")
        if header.get("vocab") != self._vocab:
            raise SettingsError(f"{self._path.name} has {header.get('vocab')} logits a token, the model {self._vocab}")
        if header.get("windows") != [window.ids.tolist() for window in windows]:
            raise SettingsError(f"{self._path.name} was saved for another text, context or tokenizer")
        num_rows = sum(window.num_scored for window in windows)
        found = self._path.stat().st_size - self._file.tell()
        if found != 4 * num_rows * self._vocab:
            raise SettingsError(
                f"{self._path.name} has {found} bytes of logits; {4 * num_rows * self._vocab} are expected"
            )

    def read(self, num_rows: int) -> F32:
        """The next rows -> f32[num_rows, V]"""
        raw = self._file.read(4 * num_rows * self._vocab)
        return np.frombuffer(raw, "<f4").reshape(num_rows, self._vocab)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()
