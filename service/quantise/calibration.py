"""A text that a model is run on before its weights are rounded, and what the rounding of a matrix gets to know of it.

The model is the source as it is, so what earlier layers lose by rounding is not seen. Knows no rounding.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kernels.cpu.memory import usable_memory_bytes
from kernels.quant.error_compensation import Compensation
from service.errors import SettingsError
from service.gemmule_model import GemmuleModel
from service.loader import load_model
from service.quantise.activations import moment_bytes, second_moments
from service.settings import Settings

Floats = npt.NDArray[np.float32]

WINDOW_TOKENS = 512
MAX_WINDOWS = 16


class Calibration:
    """Of the tensors of one model, by name."""

    def __init__(self, moments: Mapping[str, Floats]) -> None:
        self._moments = moments
        self._last: tuple[int, Compensation] | None = None

    @classmethod
    def run(cls, path: Path, text: Path, wanted: Collection[str], settings: Settings) -> Calibration:
        """`wanted`: matrices of 4 bits. SettingsError for a text that fills no window, and for too little memory."""
        # The products are NumPy's, on threads of its own: a team would wait for them, spinning.
        sized = {"ctx": WINDOW_TOKENS, "max_batch": 1, "max_step_tokens": WINDOW_TOKENS, "threads": 1}
        try:
            words = text.read_text()
        except UnicodeDecodeError as error:
            raise SettingsError(f"{text} is no UTF-8: {error.reason} at byte {error.start}") from None
        model = load_model(path, settings.model_copy(update={**sized, "autotune": False, "packed_cache": 0}))
        try:
            windows = windows_of(model, words, text.name)
            needed, usable = moment_bytes(model, wanted), usable_memory_bytes()
            if needed > usable:
                raise SettingsError(f"to calibrate {path.name} takes {needed} bytes of memory, {usable} are usable")
            return cls(second_moments(model, windows, wanted))
        finally:
            model.close()

    def of(self, name: str) -> Compensation | None:
        """None for a matrix that was not wanted. Neighbours of one matmul share it, and only the last is kept."""
        moments = self._moments.get(name)
        if moments is None:
            return None
        if self._last is None or self._last[0] != id(moments):
            self._last = id(moments), Compensation.of(moments)
        return self._last[1]


def windows_of(model: GemmuleModel, text: str, name: str) -> list[npt.NDArray[np.int64]]:
    """i64[WINDOW_TOKENS] each, at most MAX_WINDOWS of them, spread over the text."""
    ids = model.tokenizer.encode(text)
    num_windows = len(ids) // WINDOW_TOKENS
    if not num_windows:
        raise SettingsError(f"{name} has {len(ids)} tokens; to calibrate takes {WINDOW_TOKENS} at least")
    taken = np.unique(np.linspace(0, num_windows - 1, min(num_windows, MAX_WINDOWS)).astype(int))
    windows = [np.array(ids[index * WINDOW_TOKENS : (index + 1) * WINDOW_TOKENS], np.int64) for index in taken]
    if model.tokenizer.add_bos and model.tokenizer.bos_id is not None:
        for window in windows:
            window[0] = model.tokenizer.bos_id
    return windows
