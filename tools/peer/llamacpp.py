"""Builds llama.cpp's own programs natively, from the source archive of a package, once. Knows no measurement.

`python -m tools.peer.llamacpp [TARGET ...]` prints the folder of the programs (llama-bench and llama-quantize take
about 5 minutes on 2 cores, llama-server 5 more). PEER_BIN names a folder where they are already.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from kernels.folder import cache_folder

PACKAGE, VERSION = "llama-cpp-python", "0.3.36"
LLAMA_CPP = "vendor/llama.cpp"
TILE_LOAD = "_tile_loadconfig(&tc);"
TARGETS = ("llama-bench", "llama-quantize")
# Native code is the fair peer: prebuilt wheels stop at AVX2. The rest only keeps the build small and off the network.
OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DGGML_NATIVE=ON",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_OPENSSL=OFF",
)


class PeerError(Exception):
    """The peer could not be built or run; one line."""


def programs(targets: Sequence[str] = TARGETS) -> Path:
    """The folder that holds the programs, built now where they are missing."""
    if named := os.environ.get("PEER_BIN"):
        return Path(named).absolute()
    folder = cache_folder().absolute() / "peer" / f"{PACKAGE}-{VERSION}"
    wanted = [target for target in targets if not (folder / target).exists()]
    if wanted:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix="build-") as build:
            build_programs(wanted, Path(build), folder)
    return folder


def build_programs(targets: Sequence[str], build: Path, folder: Path) -> None:
    """Fetches the source, builds the targets and moves them to `folder`."""
    print(f"peer: building {', '.join(targets)} of {PACKAGE} {VERSION}: some minutes, once", file=sys.stderr)
    source = fetched(build) / LLAMA_CPP
    _run(["cmake", "-S", str(source), "-B", str(build / "made"), *OPTIONS])
    num_jobs = len(os.sched_getaffinity(0))
    _run(["cmake", "--build", str(build / "made"), f"-j{num_jobs}", "--target", *targets])
    for target in targets:
        shutil.move(build / "made/bin" / target, folder / target)


def fetched(folder: Path) -> Path:
    """The package's source, in the folder, mended."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-qq", "--no-deps"]
    _run([*pip, "--no-binary", PACKAGE, "--dest", str(folder), f"{PACKAGE}=={VERSION}"])
    archive = next(folder.glob("*.tar.gz"))
    _run(["tar", "--extract", "--file", str(archive), "--directory", str(folder)])
    source = next(path for path in folder.iterdir() if (path / LLAMA_CPP).is_dir())
    keep_tile_shapes(source / LLAMA_CPP / "ggml/src/ggml-cpu/amx/mmq.cpp")
    return source


def keep_tile_shapes(file: Path) -> None:
    """Makes GCC 12 store the whole of AMX's tile configuration before it is loaded.

    Its `_tile_loadconfig` tells the compiler of the first 8 bytes alone; without the others every prefill of Q4_0,
    Q4_1, Q8_0 and K-quants on a CPU with AMX ends in SIGILL.
    """
    text = file.read_text()
    if text.count(TILE_LOAD) != 1:
        raise PeerError(f"{file.name} holds {TILE_LOAD!r} {text.count(TILE_LOAD)} times, not once")
    file.write_text(text.replace(TILE_LOAD, f'__asm__ volatile("" : : "r"(&tc) : "memory"); {TILE_LOAD}'))


def quantised_purely(source: Path, kind: str) -> Path:
    """`source` with every matrix requantised to one type (lossy: for speed, not for answers), in the cache folder."""
    made = cache_folder().absolute() / "peer" / f"{source.stem}.pure-{kind}.gguf"
    if not made.exists() or made.stat().st_mtime < source.stat().st_mtime:
        made.parent.mkdir(parents=True, exist_ok=True)
        unfinished = made.with_suffix(".unfinished")
        quantize = programs() / "llama-quantize"
        _run([str(quantize), "--allow-requantize", "--pure", str(source), str(unfinished), kind])
        unfinished.rename(made)
    return made


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise PeerError(f"{command[0]} ended with status {done.returncode}: {lines[-1] if lines else 'no message'}")


if __name__ == "__main__":
    try:
        print(programs(sys.argv[1:] or TARGETS))
    except (PeerError, OSError) as error:
        sys.exit(f"peer: {error}")
