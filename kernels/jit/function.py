"""Python functions as native ones: the decorators around numba, and compiled functions kept on disk.

One file per function, named after it and the digest of all sources it reaches, in the folder of
kernels.jit.numba_setup, which stands for versions and CPU. Functions defined outside `kernels`, in tests, are not kept.
numba's own cache sees neither edits in callees nor a moved source tree, and demands a writable folder; this one only
reads where it cannot write.
"""

import os
import pickle
import tempfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

from kernels.jit.sources import digest, is_as_imported

from kernels.jit.numba_setup import COUNTER, FOLDER, numba  # first: it configures numba  # isort: skip
from numba.core import sigutils
from numba.core.caching import _Cache
from numba.core.ccallback import CFunc
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

P = ParamSpec("P")
R = TypeVar("R")

# No Python errors, no index checks, no reference counts: native code of ours neither raises nor allocates.
_OPTIONS: Final[dict[str, Any]] = {"error_model": "numpy", "boundscheck": False, "_nrt": False}
_INNER: Final[dict[str, Any]] = {**_OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
_UNREADABLE: Final = (OSError, pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, ValueError)
_cfunc: Final[Any] = CFunc
_dumps: Final[Any] = dumps
_rebuild: Final[Any] = CompileResult._rebuild
_normalize_signature: Final[Any] = sigutils.normalize_signature


class FunctionFile(_Cache):
    """numba's cache interface over one file. A file that cannot be read or written costs a compilation, no error."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / f"{name}.pickle"

    @property
    def cache_path(self) -> str:
        return str(self._path.parent)

    def load_overload(self, sig: object, target_context: Any) -> Any:
        try:
            payload = pickle.loads(self._path.read_bytes())
        except _UNREADABLE:
            return None
        return _rebuild(target_context, *payload)

    def save_overload(self, sig: object, data: Any) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._path.parent, delete=False) as temporary:
                temporary.write(_dumps(data._reduce()))
            os.replace(temporary.name, self._path)
        except OSError:
            return

    def enable(self) -> None: ...

    def disable(self) -> None: ...

    def flush(self) -> None: ...


class NativeFunction:
    """A C-callable function, loaded or compiled when its address is first asked for."""

    def __init__(self, function: Callable[..., Any], signature: str, folder: Path | None = None) -> None:
        self.name = f"{function.__module__}.{function.__qualname__}"
        self._function = function
        self._signature = _normalize_signature(signature)
        self._folder = folder

    def __repr__(self) -> str:
        return f"NativeFunction({self.name})"

    @cached_property
    def _compiled(self) -> Any:
        compiled = _cfunc(self._function, self._signature, locals={}, options=dict(_OPTIONS))
        module = self._function.__module__
        if self._folder is not None:
            compiled._cache = FunctionFile(self._folder, self.name)
        elif module.startswith("kernels.") and is_as_imported(module):
            compiled._cache = FunctionFile(FOLDER, f"{self.name}-{digest(module)}")
        compiled.compile()
        if compiled.cache_hits == 0:
            COUNTER.add()
        else:
            COUNTER.add_found()
        return compiled

    @property
    def address(self) -> int:
        return int(self._compiled.address)

    @property
    def ctypes(self) -> Any:
        """As a ctypes function, which releases the GIL while it runs."""
        return self._compiled.ctypes

    @property
    def was_cached(self) -> bool:
        return bool(self._compiled.cache_hits)

    def assembly(self) -> str:
        return str(self._compiled._library.get_asm_str())


def c_callable(signature: str) -> Callable[[Callable[..., Any]], NativeFunction]:
    """Decorator: a module-level function, C-callable with this numba signature."""
    return lambda function: NativeFunction(function, signature)


def op_function(function: Callable[[int, int], int]) -> NativeFunction:
    """Decorator: an op, `i64 op(i64 op_address, i64 thread_address)`; see kernels.runtime.abi."""
    return NativeFunction(function, "int64(int64, int64)")


def native(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator: a function that native functions call."""
    wrapped: Callable[P, R] = numba.njit(**_INNER)(function)
    return wrapped


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator: as `native`, always inlined into its callers."""
    wrapped: Callable[P, R] = numba.njit(forceinline=True, **_INNER)(function)
    return wrapped


def intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: a function of numba's typing context that returns a signature and an LLVM code generator."""
    wrapped: Callable[..., Any] = numba.extending.intrinsic(function)
    return wrapped
