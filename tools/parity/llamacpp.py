"""llama.cpp's logits, from a process of its own: its Python binding lives in an environment beside ours.

PEER_PYTHON names a Python that has llama_cpp; else the environment is made in the cache folder, once, from the same
source that speed is measured beside (10 to 15 minutes on 2 cores).
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from kernels.folder import cache_folder
from tools.parity.measure import F32
from tools.peer.llamacpp import PACKAGE, VERSION, PeerError, fetched

SERVER = Path(__file__).with_name("logit_server.py")
CMAKE_ARGS = "-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF -DLLAMA_OPENSSL=OFF"


def peer_python() -> Path:
    """The Python that has llama_cpp; its environment is made now if there is none."""
    if named := os.environ.get("PEER_PYTHON"):
        return Path(named).absolute()
    folder = cache_folder().absolute() / "peer" / f"{PACKAGE}-{VERSION}-python"
    python, finished = folder / "bin/python", folder / "finished"
    if not finished.exists():
        print(f"peer: building {PACKAGE} {VERSION} for Python: 10 to 15 minutes, once", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        _run([sys.executable, "-m", "venv", str(folder)], os.environ)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "-qq", "--no-cache-dir"]
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="source-") as source:
            _run([*pip, str(fetched(Path(source)))], os.environ | {"CMAKE_ARGS": CMAKE_ARGS})
        finished.touch()
    return python


class LlamaCpp:
    """One model, loaded in a child process until `close`."""

    def __init__(self, python: Path, model: Path, context: int, num_threads: int) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (as long as the process)
        self._process = subprocess.Popen(
            [str(python), str(SERVER), str(model), str(context), str(num_threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def logits(self, token_ids: Sequence[int], step: int | None = None) -> F32:
        """Of every position -> f32[T, V]. `step`: so many tokens at a time (default: all, a prefill; 1: a decode)."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps([list(token_ids), step or len(token_ids)]).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failure() from None
        (num_bytes,) = struct.unpack("<Q", self._read(8))
        return np.frombuffer(self._read(num_bytes), "<f4").reshape(len(token_ids), -1)

    def close(self) -> None:
        """Ends the process, which waits for lines."""
        self._process.communicate()
        self._log.close()

    def _read(self, num_bytes: int) -> bytes:
        assert self._process.stdout is not None
        read = self._process.stdout.read(num_bytes)
        if len(read) != num_bytes:
            raise self._failure()
        return read

    def _failure(self) -> PeerError:
        status = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().strip().splitlines()
        return PeerError(f"llama.cpp ended with status {status}: {lines[-1] if lines else 'no message'}")


def _run(command: Sequence[str], environment: os._Environ[str] | dict[str, str]) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise PeerError(f"{command[0]} ended with status {done.returncode}: {lines[-1] if lines else 'no message'}")
