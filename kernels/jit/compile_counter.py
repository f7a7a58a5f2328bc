"""How many functions this process has compiled, and how many it found compiled. Knows no compiler."""

import threading


class CompileCounter:
    """Any thread may count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.num_compiled = 0
        self.num_found = 0

    def add_compiled(self) -> None:
        with self._lock:
            self.num_compiled += 1

    def add_found(self) -> None:
        with self._lock:
            self.num_found += 1


_COUNTER = CompileCounter()


def counter() -> CompileCounter:
    """Of this process. What numba compiles by itself, for the functions that a function calls, counts as well."""
    return _COUNTER
