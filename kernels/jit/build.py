"""IR text -> object file -> address. Knows LLVM and a cache folder, no kernel."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm

from kernels.errors import KernelsError
from kernels.jit.ir_types import AS_WRITTEN

TRIPLES = {"x86_64": "x86_64-unknown-linux-gnu", "aarch64": "aarch64-unknown-linux-gnu"}


# Functions that use ZA call it to save the ZA of a caller who left it dormant (AAPCS64). Nothing in this process does,
# as nothing but our kernels uses ZA, and they leave it off: it is there for the linker.
LAZY_SAVE = """
define void @__arm_tpidr2_save() noreturn nounwind {
  call void @llvm.trap()
  unreachable
}
declare void @llvm.trap()
"""


class CompileError(KernelsError):
    """LLVM refused a kernel: a fault of an emitter, never of a user."""


@functools.cache
def _target_machine(arch: str, cpu: str) -> Any:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple(TRIPLES[arch])
    return target.create_target_machine(cpu=cpu, opt=3, reloc="pic", codemodel="default", jit=False)


def _optimised(ir: str, machine: Any) -> Any:
    module = llvm.parse_assembly(ir)
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    # The emitter has unrolled and vectorised by hand: more of it only costs registers.
    options.loop_unrolling = False
    options.loop_vectorization = False
    options.slp_vectorization = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return module


def compile_here(ir: str, arch: str, cpu: str = "", emit: str = "object") -> bytes:
    """Compiles in this process. Only for code that LLVM is known to select: it aborts on what it cannot."""
    machine = _target_machine(arch, cpu)
    try:
        module = _optimised(ir, machine)
    except RuntimeError as error:
        raise CompileError(f"LLVM refused the IR: {str(error).splitlines()[0]}") from error
    with _as_written() if AS_WRITTEN in ir else nullcontext():
        if emit == "assembly":
            return str(machine.emit_assembly(module)).encode()
        return bytes(machine.emit_object(module))


@contextmanager
def _as_written() -> Iterator[None]:
    """Instructions stay in the emitter's order, which was chosen for the registers at hand.

    LLVM's scheduler hides latencies that an out-of-order core hides by itself, and spills accumulators for it: a tile
    of 8 x 4 with smmla models at 59.5 MAC/cycle on a Neoverse V1 as it is written, at 54.1 as LLVM schedules it. The
    option belongs to the process, so it is set back for whatever is compiled next.
    """
    llvm.set_option("kernels", "-enable-misched=false")
    try:
        yield
    finally:
        llvm.set_option("kernels", "-enable-misched=true")


def compile_apart(ir: str, arch: str, cpu: str = "", emit: str = "object") -> bytes:
    """Compiles in a child process, so that an abort inside LLVM becomes a `CompileError` here."""
    command = [sys.executable, "-m", "kernels.jit.build", arch, cpu, emit]
    done = subprocess.run(command, input=ir.encode(), capture_output=True, check=False)
    if b"is not a recognized processor" in done.stderr:
        raise CompileError(f"LLVM {llvm.llvm_version_info[0]} knows no {arch} core called {cpu!r}")
    if done.returncode != 0:
        reason = (done.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        raise CompileError(f"LLVM ended with status {done.returncode} on {arch} {cpu}: {reason}")
    return done.stdout


@dataclass
class ObjectCache:
    """Objects on disk, named by the hash of what they were made from. A folder that cannot be written is only read."""

    folder: Path
    arch: str
    num_compiled: int = 0
    num_found: int = 0

    def object(self, ir: str) -> bytes:
        path = self.folder / f"{self._key(ir)}.o"
        try:
            found = path.read_bytes()
        except OSError:  # not there, or another user's
            pass
        else:
            self.num_found += 1
            return found
        made = compile_here(ir, self.arch)
        self.num_compiled += 1
        self._keep(path, made)
        return made

    def _key(self, ir: str) -> str:
        version = f"{llvmlite.__version__} {llvm.llvm_version_info} {self.arch}\n"
        return hashlib.sha256((version + ir).encode()).hexdigest()[:32]

    def _keep(self, path: Path, made: bytes) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, delete=False) as temporary:
                temporary.write(made)
            os.replace(temporary.name, path)
        except OSError:
            return


@functools.cache
def _engine() -> Any:
    """One MCJIT engine owns every loaded object for the life of the process."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(opt=3, jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    if platform.machine() in ("aarch64", "arm64"):
        engine.add_object_file(llvm.ObjectFileRef.from_data(compile_here(LAZY_SAVE, "aarch64")))
    return engine


def load(objects: list[bytes]) -> None:
    """Maps the objects into this process as executable code."""
    engine = _engine()
    for made in objects:
        engine.add_object_file(llvm.ObjectFileRef.from_data(made))
    engine.finalize_object()


def address(symbol: str) -> int:
    """The address of a loaded function."""
    found = int(_engine().get_function_address(symbol))
    assert found, f"{symbol} was not loaded"
    return found


if __name__ == "__main__":
    sys.stdout.buffer.write(compile_here(sys.stdin.read(), *sys.argv[1:4]))
