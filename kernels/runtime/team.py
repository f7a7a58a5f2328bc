"""The threads that walk steps: created once, shared by the executors of all models. Knows no program."""

import threading
import weakref
from typing import Self

from kernels.cpu import usable_cores
from kernels.runtime.abi import CACHE_LINE
from kernels.runtime.program import aligned_zeros
from kernels.runtime.team_memory import waiting_values
from kernels.runtime.turns import Turns
from kernels.runtime.walk import TEAM, run_worker, stop_workers


class Team:
    """`num_threads` with the one that runs a step, which belongs to the caller. Its steps take turns."""

    def __init__(self, num_threads: int, num_cores: int | None = None) -> None:
        assert num_threads >= 1, f"{num_threads} threads"
        self.num_threads = num_threads
        self.waiting = waiting_values(num_threads > (usable_cores() if num_cores is None else num_cores))
        self.turns = Turns()
        self._crew = aligned_zeros(TEAM.itemsize, CACHE_LINE).view(TEAM)
        for name, value in self.waiting.items():
            self._crew[name] = value
        self.address = int(self._crew.ctypes.data)
        self._threads = [
            threading.Thread(target=run_worker.ctypes, args=(self.address, index), name=f"gemmule-{index}", daemon=True)
            for index in range(1, num_threads)
        ]
        for thread in self._threads:
            thread.start()
        # Also at interpreter exit, where daemon threads would be cut off in native code.
        self._close = weakref.finalize(self, _stop, self._crew, self._threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_open(self) -> bool:
        return self._close.alive

    def close(self) -> None:
        """End and join the workers. Twice is fine; not during a step."""
        self._close()


def _stop(crew: object, threads: list[threading.Thread]) -> None:
    if threads:
        stop_workers.ctypes(crew.ctypes.data)  # type: ignore[attr-defined]
    for thread in threads:
        thread.join()
