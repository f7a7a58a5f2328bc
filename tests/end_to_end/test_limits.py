"""A container's limits, by real control groups, where this machine lets its tests make some."""

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.gguf.reader import open_gguf
from tests.service.model.patched_gguf import patched, shaped

CGROUPS = Path("/sys/fs/cgroup")
VERSION_2 = (CGROUPS / "cgroup.controllers").exists()
PERIOD_US = 100_000
LIMIT_S = 240.0
CANNOT_JOIN = 77
"""A process of real-time priority may not, on some kernels."""


@contextmanager
def group(controller: str, files: dict[str, str]) -> Iterator[Path]:
    """A control group with these limits; skips where none can be made."""
    folder = (CGROUPS if VERSION_2 else CGROUPS / controller) / f"gemmule-test-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"control groups cannot be made here: {error.strerror}")
    try:
        try:
            for name, text in files.items():
                (folder / name).write_text(text)
        except OSError as error:
            pytest.skip(f"{controller} cannot be limited here: {error.strerror}")
        yield folder
    finally:
        for _ in range(100):  # a group that a process has just left may still be busy
            try:
                folder.rmdir()
                break
            except OSError:
                time.sleep(0.05)


def serve_in(folder: Path, model: Path, log: Path, *flags: str) -> "subprocess.Popen[bytes]":
    """The service as a process that was in the group before it began."""
    enter = f'echo $$ > {folder}/cgroup.procs || exit {CANNOT_JOIN}; exec "$@"'
    serve = [sys.executable, "-m", "service.cli", "serve", str(model), "--port", "0", "--grpc-port", "off", *flags]
    with log.open("wb") as out:
        return subprocess.Popen(["sh", "-c", enter, "sh", *serve], stdout=out, stderr=subprocess.STDOUT)


def said(process: "subprocess.Popen[bytes]", log: Path, until: str) -> str:
    """What it said until then, or until it ended."""
    give_up_s = time.monotonic() + LIMIT_S
    while until not in log.read_text() and process.poll() is None:
        assert time.monotonic() < give_up_s, log.read_text()
        time.sleep(0.05)
    if process.poll() == CANNOT_JOIN:
        pytest.skip(f"control groups cannot be joined here: {log.read_text()}")
    return log.read_text()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="a quota shows on two cores or more")
@pytest.mark.parametrize(("cores", "threads"), [(1.0, 1), (1.5, 1), (0.5, 1), (2.0, 2)])
def test_threads_follow_the_quota(tiny_gguf: Path, tmp_path: Path, cores: float, threads: int) -> None:
    quota = str(int(cores * PERIOD_US))
    files = {"cpu.max": f"{quota} {PERIOD_US}"} if VERSION_2 else {"cpu.cfs_quota_us": quota}
    log = tmp_path / "log"
    with group("cpu", files) as folder:
        process = serve_in(folder, tiny_gguf, log)
        try:
            assert f"threads  {threads}\n" in said(process, log, "ready on")
            process.send_signal(signal.SIGTERM)
            assert process.wait(LIMIT_S) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()


def with_a_huge_norm(source: Path, target: Path) -> Path:
    """The tensor that stands last, the output's norm, gets 3 GB; the file has a hole where they would be."""
    with open_gguf(source) as file:
        last = max(file.tensors.values(), key=lambda tensor: tensor.offset)
    patched(source, target, shaped(last.name, (750_000_000,)))
    os.truncate(target, source.stat().st_size + (4 << 30))
    return target


def test_a_model_that_the_limit_does_not_hold_is_refused(tmp_path: Path, tiny_gguf: Path) -> None:
    """Not killed: a file with a norm of 3 GB, which are not even on the disk, in a group of 512 MiB."""
    limit = str(512 << 20)
    files = {"memory.max": limit} if VERSION_2 else {"memory.limit_in_bytes": limit}
    log = tmp_path / "log"
    model = with_a_huge_norm(tiny_gguf, tmp_path / "huge.gguf")
    with group("memory", files) as folder:
        process = serve_in(folder, model, log)
        try:
            text = said(process, log, "do not fit")
            assert process.wait(LIMIT_S) == 1, text
        finally:
            process.kill()
            process.wait()
    assert "huge.gguf: weights of" in text
    assert "bytes that are free" in text


def test_the_kv_cache_shrinks_to_the_limit(tmp_path: Path, tiny_gguf_of: Callable[..., Path]) -> None:
    """128 contexts of 65,536 tokens would take 2 GiB; in a group of 1 GiB at most a quarter of it is taken."""
    limit_mib, whole_mib = 1024, 2048
    limit = str(limit_mib << 20)
    files = {"memory.max": limit} if VERSION_2 else {"memory.limit_in_bytes": limit}
    log = tmp_path / "log"
    model = tiny_gguf_of(context=65_536)
    with group("memory", files) as folder:
        process = serve_in(folder, model, log, "--max-batch", "128")
        try:
            text = said(process, log, "ready on")
            process.send_signal(signal.SIGTERM)
            assert process.wait(LIMIT_S) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()
    found = re.search(r"^kv .* up to (\d+) MiB", text, re.MULTILINE)
    assert found, text
    assert 16 <= int(found[1]) <= limit_mib // 4 < whole_mib, "a context at least, a quarter at most"
