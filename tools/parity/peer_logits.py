"""What llama-perplexity saves of a text: its windows and the log probabilities of every scored position.

The file (llama.cpp, tools/perplexity): "_logits_", i32 context, vocabulary, windows, the token ids, then for each
scored position f32 scale, f32 least, u16[vocabulary]: log p = least + scale * q, nothing further below the best than
16. So tokens of log p <= -16 carry no information, and llama.cpp leaves them out of its divergence; so does
`divergence` here.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from service.quality.measures import F64, Ids
from service.quality.windows import Window
from tools.peer.llamacpp import PeerError, programs

MAGIC = b"_logits_"
LEAST_LOG_P = -16.0


@dataclass(frozen=True, slots=True)
class SavedLogits:
    """`windows` as the text has them, without the begin token that a model may want in place of their first."""

    path: Path
    windows: tuple[Ids, ...]
    vocabulary: int
    rows_offset: int

    @classmethod
    def open(cls, path: Path) -> SavedLogits:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise PeerError(f"{path.name} is not what llama-perplexity saves: it lacks {MAGIC!r}")
            context, vocabulary, count = struct.unpack("<3i", file.read(12))
            ids = np.frombuffer(file.read(4 * context * count), "<i4").astype(np.int64)
            return cls(path, tuple(ids.reshape(count, context)), vocabulary, file.tell())

    def log_p(self, index: int) -> F64:
        """Of a window's scored positions -> f64[rows, vocabulary]"""
        rows = Window(self.windows[index]).num_scored
        row_words = 2 * ((self.vocabulary + 1) // 2) + 4
        begin = self.rows_offset + 2 * row_words * rows * index
        raw = np.fromfile(self.path, "<u2", rows * row_words, offset=begin).reshape(rows, row_words)
        scalars = np.ascontiguousarray(raw[:, :4]).view("<f4").astype(np.float64)
        return raw[:, 4 : 4 + self.vocabulary] * scalars[:, :1] + scalars[:, 1:]


def save_logits(
    model: Path, text: Path, out: Path, *, context: int, windows: int, threads: int, step: int
) -> SavedLogits:
    """`step`: tokens that llama.cpp computes at a time; 1 is a decode. Its weights are not repacked: the products are
    those of its row formats, on every CPU.
    """
    command = [
        str(programs(("llama-perplexity",)) / "llama-perplexity"),
        "-m",
        str(model),
        "-f",
        str(text),
        "-c",
        str(context),
    ]
    command += ["-b", str(context), "-ub", str(step), "-t", str(threads), "--chunks", str(windows), "--no-repack"]
    done = subprocess.run(
        [*command, "--kl-divergence-base", str(out)],
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode != 0 or not out.exists():
        lines = done.stderr.strip().splitlines()
        raise PeerError(f"llama-perplexity ended with status {done.returncode}: {lines[-1] if lines else 'no message'}")
    return SavedLogits.open(out)


def divergence(log_p: F64, reference: F64) -> F64:
    """Both f64[T, V]: KL(reference || the other) of each position, as llama-perplexity computes it."""
    terms = np.where(reference > LEAST_LOG_P, np.exp(reference) * (reference - log_p), 0.0)
    return np.asarray(terms.sum(axis=1))


def losses(log_p: F64, next_ids: npt.NDArray[np.int64]) -> F64:
    """-log p of what came next, f64[T]"""
    return -log_p[np.arange(len(next_ids)), next_ids]


def rows(saved: SavedLogits) -> Iterator[tuple[Window, F64]]:
    for index, ids in enumerate(saved.windows):
        yield Window(ids), saved.log_p(index)
