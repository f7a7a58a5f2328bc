"""NumPy's f32 product, the yardstick that every machine has. Knows no micro-kernel."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from service.kernel_bench.shape import SAMPLE_S, Shape

_BLAS = """
import ctypes, signal, sys, time
PR_SET_PDEATHSIG = 1  # a process that is stopped would not see that its parent has died
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
import numpy as np
m, n, k, copies = (int(argument) for argument in sys.argv[1:5])
sample_s = float(sys.argv[5])
random = np.random.default_rng(1)
x = random.standard_normal((m, k), np.float32)
weights = [random.standard_normal((n, k), np.float32) for _ in range(copies)]
out = np.empty((m, n), np.float32)
np.matmul(x, weights[0].T, out=out)
print(0, flush=True)
for _ in sys.stdin:
    runs, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < sample_s or not runs:
        for w in weights:
            np.matmul(x, w.T, out=out)
        runs += 1
    print((time.perf_counter() - begun) / runs / copies, flush=True)
"""


class Blas:
    """NumPy in a process of its own, whose BLAS gets as many threads as the team; measures when it is asked.

    It is stopped in between: idle BLAS threads spin for long, and would take a core from what is measured next.
    """

    def __init__(self, shape: Shape, num_threads: int, is_gemv: bool, cold_bytes: int) -> None:
        copies = max(1, cold_bytes // (4 * shape.n * shape.k)) if is_gemv else 1
        sizes = (1 if is_gemv else shape.m, shape.n, shape.k, copies)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BLAS, *map(str, sizes), str(SAMPLE_S)],
            env={**os.environ, "OPENBLAS_NUM_THREADS": str(num_threads)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    def seconds(self) -> float:
        """Of one product."""
        assert self._process.stdin
        self._process.send_signal(signal.SIGCONT)
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> float:
        assert self._process.stdout
        answer = float(self._process.stdout.readline())
        self._process.send_signal(signal.SIGSTOP)
        return answer

    def close(self) -> None:
        self._process.send_signal(signal.SIGCONT)
        self._process.communicate()
