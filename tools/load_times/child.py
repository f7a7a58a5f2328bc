"""One load in a process of its own: `python -m tools.load_times.child MODEL PACKED_CACHE_BYTES` -> a line of JSON."""

from __future__ import annotations

import json
import sys
import time
from contextlib import closing
from pathlib import Path

from pydantic import ByteSize

from service.settings import Settings


def status_bytes(name: str) -> int:
    """VmHWM, VmRSS, ... of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(name)


def main() -> None:
    path, limit = Path(sys.argv[1]), int(sys.argv[2])
    begun_s = time.perf_counter()
    from service.loader import load_model

    imports_s = time.perf_counter() - begun_s
    before_bytes = status_bytes("VmRSS")
    settings = Settings(packed_cache=ByteSize(limit), max_batch=4, ctx=2048)
    with closing(load_model(path, settings)) as model:
        facts = {
            "imports_s": imports_s,
            "stages_s": model.load_s,
            "outcome": model.packed_cache.value,
            "packed_bytes": model.weights.packed_bytes,
            "before_bytes": before_bytes,
            "peak_bytes": status_bytes("VmHWM"),
        }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
