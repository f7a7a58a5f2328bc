"""Python functions as native ones: the decorators, and compiled functions kept on disk.

One object file per function, named after it and the digest of all sources it reaches, in the folder of
kernels.jit.numba_target, which stands for versions and CPU. Functions defined outside `kernels`, in tests, are not
kept. numba's own cache sees neither edits in callees nor a moved source tree, demands a writable folder, and cannot be
read without numba; this one is only read where it cannot be written, and is loaded as micro-kernels are.
"""

import ctypes
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar, cast

from kernels.folder import keep_file
from kernels.jit.compile_counter import counter
from kernels.jit.declared import Intrinsic, Native
from kernels.jit.elf import read_object
from kernels.jit.memory_image import load
from kernels.jit.numba_target import set_target
from kernels.jit.object_cache import kept_object
from kernels.jit.sources import digest, is_as_imported

P = ParamSpec("P")
R = TypeVar("R")

FOLDER: Final = set_target()
ENTRY: Final = "cfunc."
"""What the name of a C-callable function begins with in its object file."""

_C_TYPES: Final[dict[str, Any]] = {
    "void": None,
    "int32": ctypes.c_int32,
    "int64": ctypes.c_int64,
    "float32": ctypes.c_float,
    "float64": ctypes.c_double,
}


class NativeFunction:
    """A C-callable function, loaded or compiled when its address is first asked for."""

    def __init__(self, function: Callable[..., Any], signature: str, folder: Path | None = None) -> None:
        self.name = f"{function.__module__}.{function.__qualname__}"
        self._function = function
        self._signature = signature
        self._folder = folder

    def __repr__(self) -> str:
        return f"NativeFunction({self.name})"

    @cached_property
    def _loaded(self) -> tuple[int, bool]:
        """Its address, and whether it was compiled before."""
        path = self._path()
        kept = kept_object(path) if path is not None else None
        if kept is None:
            from kernels.jit.compiler import compile_function

            content = compile_function(self._function, self._signature)
            if path is not None:
                keep_file(path, content)
            made = read_object(content)
        else:
            counter().add_found()
            made = kept
        (address,) = (address for name, address in load(made).items() if name.startswith(ENTRY))
        return address, kept is not None

    def _path(self) -> Path | None:
        """Where it is kept, if it is to be kept."""
        module = self._function.__module__
        if self._folder is not None:
            return self._folder / f"{self.name}.o"
        if module.startswith("kernels.") and is_as_imported(module):
            return FOLDER / f"{self.name}-{digest(module)}.o"
        return None

    @property
    def address(self) -> int:
        return self._loaded[0]

    @property
    def was_cached(self) -> bool:
        return self._loaded[1]

    @cached_property
    def ctypes(self) -> Any:
        """As a ctypes function, which releases the GIL while it runs."""
        returned, _, arguments = self._signature.rstrip(")").partition("(")
        kinds = [_C_TYPES[kind] for kind in arguments.split(", ") if kind]
        return ctypes.CFUNCTYPE(_C_TYPES[returned], *kinds)(self.address)

    def assembly(self) -> str:
        """Compiled anew."""
        from kernels.jit.compiler import assembly_of

        return assembly_of(self._function, self._signature)


def c_callable(signature: str) -> Callable[[Callable[..., Any]], NativeFunction]:
    """Decorator: a module-level function, C-callable with this signature, in numba's words."""
    return lambda function: NativeFunction(function, signature)


def op_function(function: Callable[[int, int], int]) -> NativeFunction:
    """Decorator: an op, `i64 op(i64 op_address, i64 thread_address)`; see kernels.runtime.abi."""
    return NativeFunction(function, "int64(int64, int64)")


def native(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator: a function that native functions call, and nobody else."""
    return cast(Callable[P, R], Native(function))


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator: as `native`, always inlined into its callers."""
    return cast(Callable[P, R], Native(function, is_inlined=True))


def intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: a function of numba's typing context that returns a signature and an LLVM code generator."""
    return cast(Callable[..., Any], Intrinsic(function))
