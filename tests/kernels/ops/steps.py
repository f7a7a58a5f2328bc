"""Steps made by hand: arrays in, a STEP record out, one call of an executor."""

from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.runtime.abi import SAMPLED, SAMPLING, STEP
from kernels.runtime.executor import Executor
from kernels.runtime.program import Program

ARRAYS = ("token_ids", "positions", "kv_slots", "token_sequence", "query_starts", "context_lengths", "logit_rows")


class HandStep:
    """Fields not given stay 0, so that an op reading one of them fails loudly."""

    def __init__(self, num_tokens: int, sampling: npt.NDArray[Any] | None = None, **arrays: Any) -> None:
        self.record = np.zeros(1, STEP)
        self.record["num_tokens"] = num_tokens
        self.arrays = {name: np.ascontiguousarray(arrays[name], np.int32) for name in ARRAYS if name in arrays}
        for name, array in self.arrays.items():
            self.record[name] = array.ctypes.data
        if "logit_rows" in self.arrays:
            self.record["num_logit_rows"] = len(self.arrays["logit_rows"])
        if sampling is not None:
            assert sampling.dtype == SAMPLING
            self.sampling, self.sampled = sampling, np.zeros(len(sampling), SAMPLED)
            self.record["num_logit_rows"] = len(sampling)
            self.record["sampling"], self.record["sampled"] = sampling.ctypes.data, self.sampled.ctypes.data

    def run(self, program: Program, num_threads: int = 1) -> None:
        with Executor(program, num_threads) as executor:
            executor.run(self.record.ctypes.data)
