"""Loads mutations of a model file, each within limits of memory and time: `python -m ... GOOD FIRST_SEED END_SEED`.

A line of JSON for each, before and after: if the process dies, the last line says at which. A file that loads has also
run a prefill and a decode, which is how the loader warms a model up. Seeds from EXTREMES on put an extreme number, one
after the other, into every number of the metadata.
"""

import faulthandler
import json
import os
import resource
import struct
import sys
import tempfile
from pathlib import Path

from service.errors import ModelFileError, SettingsError
from service.gguf.reader import open_gguf
from service.loader import load_model
from service.settings import Settings
from tests.service.gguf.test_fuzz import mutate

LIMIT_BYTES = 512 << 20
"""Of address space, beyond what the process has once a good model has been loaded."""
LIMIT_S = 30
EXTREMES = 1_000_000
NUMBERS = [0, 1, 2, 31, 33, 4096, 65535, 1 << 20, 1 << 24, 1 << 31, (1 << 32) - 1]


def main() -> None:
    good, first, end = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    settings = Settings(threads=1, kv_memory=16 << 20)  # type: ignore[arg-type]  # pydantic makes it a ByteSize
    raw = good.read_bytes()
    with open_gguf(good) as file:
        data_start = min(tensor.offset for tensor in file.tensors.values())
        extremes = with_extremes(raw, dict(file.metadata))
    load_model(good, settings).close()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + LIMIT_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutated.gguf"
        for seed in range(first, min(end, EXTREMES + len(extremes))):
            mutated = extremes[seed - EXTREMES] if seed >= EXTREMES else mutate(raw, data_start, seed)
            path.write_bytes(mutated)
            print(json.dumps({"seed": seed}), flush=True)
            faulthandler.dump_traceback_later(LIMIT_S, exit=True)
            print(json.dumps({"seed": seed, "outcome": outcome_of(path, settings)}), flush=True)
            faulthandler.cancel_dump_traceback_later()


def with_extremes(raw: bytes, metadata: dict[str, object]) -> list[bytes]:
    """Every whole number and every float of the metadata, replaced by each extreme."""
    made = []
    for key, value in metadata.items():
        # length | key | type | value
        start = raw.index(struct.pack("<Q", len(key)) + key.encode()) + 8 + len(key) + 4
        if type(value) is int:
            made += [raw[:start] + struct.pack("<I", number) + raw[start + 4 :] for number in NUMBERS]
        elif type(value) is float:
            floats = [0.0, -1.0, 1e-38, 1e38, float("nan"), float("inf")]
            made += [raw[:start] + struct.pack("<f", number) + raw[start + 4 :] for number in floats]
    return made


def outcome_of(path: Path, settings: Settings) -> str:
    """ "loads", or the message that refuses the file; whatever else is raised ends the process."""
    try:
        load_model(path, settings).close()
    except (ModelFileError, SettingsError) as error:
        return str(error)
    return "loads"


if __name__ == "__main__":
    main()
