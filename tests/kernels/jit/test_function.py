"""Native functions: compiled when asked for, kept on disk, loaded without compiling; a bad folder costs no error."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernels.folder import cache_folder
from kernels.jit.compile_counter import counter
from kernels.jit.elf import IDENT
from kernels.jit.function import NativeFunction, native

SIGNATURE = "int64(int64, int64)"


@native
def twice(value: int) -> int:
    return 2 * value


def add_twice(left: int, right: int) -> int:
    return left + twice(right)


def other(left: int, right: int) -> int:
    return left - right


def test_a_function_is_compiled_once_and_then_loaded(tmp_path: Path) -> None:
    before = counter().num_compiled
    first = NativeFunction(add_twice, SIGNATURE, tmp_path)
    assert counter().num_compiled == before
    assert first.ctypes(1, 20) == 41
    assert not first.was_cached
    compiled = counter().num_compiled
    assert compiled > before

    second = NativeFunction(add_twice, SIGNATURE, tmp_path)
    assert second.ctypes(1, 20) == 41
    assert second.was_cached
    assert counter().num_compiled == compiled
    assert second.address != 0


def test_the_file_is_named_after_the_function(tmp_path: Path) -> None:
    NativeFunction(other, SIGNATURE, tmp_path).ctypes(1, 1)
    assert [path.name for path in tmp_path.iterdir()] == [f"{__name__}.other.o"]


@pytest.mark.parametrize("content", [b"", b"garbage", IDENT, IDENT.ljust(64, b"\xff")])
def test_a_damaged_file_is_compiled_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / f"{__name__}.other.o").write_bytes(content)
    function = NativeFunction(other, SIGNATURE, tmp_path)
    assert function.ctypes(5, 3) == 2
    assert not function.was_cached
    assert NativeFunction(other, SIGNATURE, tmp_path).was_cached


def test_a_folder_that_cannot_be_made_costs_only_the_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    function = NativeFunction(other, SIGNATURE, tmp_path / "file" / "folder")
    assert function.ctypes(5, 3) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_read(tmp_path: Path) -> None:
    NativeFunction(other, SIGNATURE, tmp_path).ctypes(1, 1)
    tmp_path.chmod(0o500)
    assert NativeFunction(other, SIGNATURE, tmp_path).was_cached
    assert NativeFunction(add_twice, SIGNATURE, tmp_path).ctypes(1, 1) == 3


PROGRAM = """
from kernels.jit.compile_counter import counter
from kernels.runtime.ticks import ticks_now
assert ticks_now() > 0
print(counter().num_compiled)
"""


def test_the_second_process_compiles_nothing(tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    environ["GEMMULE_CACHE"] = str(tmp_path)
    counts = [
        int(
            subprocess.run(
                [sys.executable, "-c", PROGRAM], env=environ, check=True, capture_output=True, text=True
            ).stdout
        )
        for _ in range(2)
    ]
    assert counts[0] > 0
    assert counts[1] == 0


def test_numba_imported_before_is_refused() -> None:
    program = "import numba, kernels.jit.compiler"
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert "numba was imported before" in done.stderr


def test_cache_folder() -> None:
    assert cache_folder({"GEMMULE_CACHE": "/g", "XDG_CACHE_HOME": "/x"}) == Path("/g")
    assert cache_folder({"GEMMULE_CACHE": "", "XDG_CACHE_HOME": "/x"}) == Path("/x/gemmule")
    assert cache_folder({}) == Path.home() / ".cache" / "gemmule"
