"""Names of loaded micro-kernels for `perf`: /tmp/perf-PID.map, a line `start size name` in hexadecimal for each.

Source of the format: Linux, tools/perf/Documentation/jit-interface.txt. perf reads the file when it reports, so it must
outlive the process.
"""

from __future__ import annotations

import os
from pathlib import Path


def add_to_perf_map(name: str, address: int, num_bytes: int, folder: Path = Path("/tmp")) -> None:
    with (folder / f"perf-{os.getpid()}.map").open("a") as file:
        file.write(f"{address:x} {num_bytes:x} {name}\n")
