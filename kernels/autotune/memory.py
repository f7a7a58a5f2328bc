"""Answers that were measured, in a file of a folder: one for each set of tasks on one machine. Knows no kernel.

Its name is a digest of all that was asked, of the machine and of the sources of `kernels`: what changes there is asked
again. A file that is damaged counts as none; a folder that cannot be written remembers nothing.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from kernels.folder import keep_file

SUFFIX = ".tiles"
Answers = Mapping[str, "TileAnswer"]
"""By the key of a task."""


@dataclass(frozen=True, slots=True)
class TileAnswer:
    """Names of micro-kernels; gains as in kernels.select.MatmulChoice."""

    gemm: str
    gemv: str
    gemm_gain: float | None
    gemv_gain: float | None


def answers_key(facts: Iterable[object], task_keys: Iterable[str]) -> str:
    """facts: of the machine, the threads and the sources."""
    total = hashlib.blake2b(digest_size=16)
    for part in (*facts, *sorted(task_keys)):
        total.update(f"{part}\n".encode())
    return total.hexdigest()


class TileMemory:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make_folder(self) -> bool:
        """Whether it is there now and takes files: tried, for what the rights say, a read-only disk does not hold."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._folder):
                return True
        except OSError:
            return False

    def find(self, key: str) -> Answers | None:
        try:
            kept = json.loads((self._folder / f"{key}{SUFFIX}").read_bytes())
            return {task: TileAnswer(**answer) for task, answer in kept.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return None

    def keep(self, key: str, answers: Answers) -> None:
        text = json.dumps({task: asdict(answer) for task, answer in answers.items()}, indent=1)
        keep_file(self._folder / f"{key}{SUFFIX}", text.encode())


def forget_all(folder: Path) -> int:
    """-> how many files are gone"""
    paths = list(folder.glob(f"*{SUFFIX}"))
    for path in paths:
        path.unlink(missing_ok=True)
    return len(paths)
