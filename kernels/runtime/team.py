"""The threads that walk steps: created once, shared by the executors of all models. Knows no program."""

import ctypes
import platform
import threading
import weakref
from typing import Final, Self

from kernels.cpu import usable_cores
from kernels.runtime.abi import CACHE_LINE
from kernels.runtime.crew import CREW, MOST_THREADS
from kernels.runtime.program import aligned_zeros
from kernels.runtime.ticks import tick_rate
from kernels.runtime.turns import Turns
from kernels.runtime.walk import run_worker, stop_workers

# Who waits for the others spins through the tail of an op. When that takes longer, one of them has lost its core, and
# it is best to sleep, for a thread that is woken comes to an idle core. Threads that yield stay where they are: two of
# them that share a core hand it to each other, op by op, beside an idle one.
SPIN_S: Final = 100e-6
# Idle workers stay awake through the gap between two steps, for waking one from its sleep takes some 40 us, but the
# event loop has work at that moment: they spin a little, then yield.
PARK_S: Final = 20e-6
PARK_YIELD_S: Final = 300e-6

# (futex, sched_yield)
_SYSCALLS: Final = {"x86_64": (202, 24), "AMD64": (202, 24), "aarch64": (98, 124), "arm64": (98, 124)}


class Team:
    """`num_threads` with the one that runs a step, which belongs to the caller. Its steps take turns."""

    def __init__(self, num_threads: int, num_cores: int | None = None) -> None:
        assert 1 <= num_threads <= MOST_THREADS, f"{num_threads} threads"
        self.num_threads = num_threads
        self.turns = Turns()
        self._crew = aligned_zeros(CREW.itemsize, CACHE_LINE).view(CREW)
        is_crowded = num_threads > (usable_cores() if num_cores is None else num_cores)
        for name, value in _waiting_values(is_crowded).items():
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


def _waiting_values(is_crowded: bool) -> dict[str, int]:
    """The fields of a CREW that say how long to spin and to yield, and how to sleep. `is_crowded`: on too few cores."""
    rate = tick_rate()
    futex, sched_yield = _SYSCALLS[platform.machine()]
    return {
        "syscall": ctypes.cast(ctypes.CDLL(None).syscall, ctypes.c_void_p).value or 0,
        "futex": futex,
        "sched_yield": sched_yield,
        # With more threads than cores, who spins keeps the core from who works.
        "spin_ticks": 0 if is_crowded else int(SPIN_S * rate),
        "park_ticks": 0 if is_crowded else int(PARK_S * rate),
        "park_yield_ticks": 0 if is_crowded else int(PARK_YIELD_S * rate),
    }
