"""What LLVM says of the core is asked once: kept under what Linux says of it, asked again where that is different."""

import subprocess
import sys
from pathlib import Path

import pytest

from kernels.cpu import host_core as module
from kernels.cpu.host_core import HostCore, host_core

CPUINFO = "processor\t: {number}\ncpu family\t: 6\nmodel\t\t: 207\ncpu MHz\t\t: {mhz}\nflags\t\t: fpu avx2\n"


def cpuinfo(folder: Path, *, mhz: str = "2000.0", model: str = "207", first: int = 0) -> Path:
    text = "\n".join(CPUINFO.format(number=number, mhz=mhz) for number in (first, first + 1))
    path = folder / "cpuinfo"
    path.write_text(text.replace("207", model))
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[HostCore]:
    """Every answer of a false LLVM, which never says the same twice."""
    answers: list[HostCore] = []

    def ask() -> HostCore:
        answers.append(HostCore(f"core-{len(answers)}", frozenset({"avx2", "fma"})))
        return answers[-1]

    monkeypatch.setattr(module, "_ask_llvm", ask)
    return answers


def test_the_answer_is_kept(tmp_path: Path, asked: list[HostCore]) -> None:
    first = host_core(tmp_path / "cores", cpuinfo(tmp_path))
    assert host_core(tmp_path / "cores", cpuinfo(tmp_path, mhz="3100.5", first=7)) == first
    assert asked == [first]


def test_another_core_is_asked_for(tmp_path: Path, asked: list[HostCore]) -> None:
    names = [host_core(tmp_path / "cores", cpuinfo(tmp_path, model=model)).name for model in ("207", "143", "207")]
    assert names == ["core-0", "core-1", "core-0"]


@pytest.mark.parametrize("content", ["", "core", "\n\n", "core\navx2\nmore\n"])
def test_a_damaged_answer_is_asked_for_again(tmp_path: Path, asked: list[HostCore], content: str) -> None:
    host_core(tmp_path / "cores", cpuinfo(tmp_path))
    (kept,) = (tmp_path / "cores").iterdir()
    kept.write_text(content)
    assert host_core(tmp_path / "cores", cpuinfo(tmp_path)).name == "core-1"
    assert host_core(tmp_path / "cores", cpuinfo(tmp_path)).name == "core-1"


def test_without_a_folder_or_cpuinfo_it_is_asked_each_time(tmp_path: Path, asked: list[HostCore]) -> None:
    (tmp_path / "file").write_text("")
    names = [host_core(tmp_path / "file" / "cores", tmp_path / "no-cpuinfo").name for _ in range(2)]
    assert names == ["core-0", "core-1"]


def test_this_core_is_as_llvm_says(tmp_path: Path) -> None:
    core = host_core(tmp_path)
    assert core.name
    assert host_core(tmp_path) == core == module._ask_llvm()


def test_a_start_that_compiles_nothing_loads_neither_numba_nor_llvm() -> None:
    """The second process finds what the first has compiled: a native function, a micro-kernel, the name of the core."""
    script = """
import sys
from kernels.checksum import Checksum
from kernels.cpu import detect_cpu
from kernels.jit.compile_counter import counter
from kernels.jit.library import KernelLibrary
from kernels.ladder import rungs_for
from kernels.runtime.ticks import ticks_now
library = KernelLibrary()
Checksum(library, rungs_for(detect_cpu())[0])
assert ticks_now() > 0
print(counter().num_compiled + library.num_compiled, *(name in sys.modules for name in ("numba", "llvmlite.binding")))
"""
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["0", "False", "False"]
