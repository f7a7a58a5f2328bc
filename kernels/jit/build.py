"""IR text -> object file, by LLVM. Knows no kernel, and not what becomes of the object."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import llvmlite.binding as llvm

from kernels.errors import KernelsError
from kernels.jit.ir_types import AS_WRITTEN

TRIPLES = {"x86_64": "x86_64-unknown-linux-gnu", "aarch64": "aarch64-unknown-linux-gnu"}


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


if __name__ == "__main__":
    sys.stdout.buffer.write(compile_here(sys.stdin.read(), *sys.argv[1:4]))
