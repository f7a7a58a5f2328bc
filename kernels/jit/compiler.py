"""Python functions -> object code, by numba. The one door to it: whoever needs numba gets it from here.

It is imported when something has to be compiled, and by nothing that runs when all is compiled already: numba and LLVM
take 0.2 s and 60 MB of a start.
"""

import functools
import sys
from collections.abc import Callable
from typing import Any, Final

from kernels.jit.compile_counter import counter
from kernels.jit.declared import Intrinsic, Native, VectorKind
from kernels.jit.numba_target import set_target
from kernels.jit.vector_kinds import OPERATORS, VECTOR_KINDS

assert "numba" not in sys.modules, "numba was imported before its target could be set"
set_target()

import numba as _numba  # noqa: E402
from numba.core import event as _event  # noqa: E402
from numba.core import sigutils as _sigutils  # noqa: E402
from numba.core.ccallback import CFunc as _CFunc  # noqa: E402
from numba.core.registry import cpu_target as _cpu_target  # noqa: E402

numba: Final[Any] = _numba  # its own annotations are partial
_cfunc: Final[Any] = _CFunc
_normalize_signature: Final[Any] = _sigutils.normalize_signature
_typing_context: Final[Any] = _cpu_target.typing_context
_register_listener: Final[Any] = _event.register

# No Python errors, no index checks, no reference counts: native code of ours neither raises nor allocates.
_OPTIONS: Final[dict[str, Any]] = {"error_model": "numpy", "boundscheck": False, "_nrt": False}
_INNER: Final[dict[str, Any]] = {**_OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


class _Listener(_event.Listener):
    def on_start(self, event: object) -> None:
        counter().add_compiled()

    def on_end(self, event: object) -> None:
        pass


_register_listener("numba:compile", _Listener())


def compile_function(function: Callable[..., Any], signature: str) -> bytes:
    """An object file with one C-callable function, of this numba signature, and all that it calls."""
    made = bytes(_compiled(function, signature)._library._get_compiled_object())
    counter().add_compiled()
    return made


def assembly_of(function: Callable[..., Any], signature: str) -> str:
    """The same as text."""
    return str(_compiled(function, signature)._library.get_asm_str())


def _compiled(function: Callable[..., Any], signature: str) -> Any:
    compiled = _cfunc(function, _normalize_signature(signature), locals={}, options=dict(_OPTIONS))
    compiled.compile()
    return compiled


# What is declared for native functions to use becomes numba's own when numba meets it in one.


@functools.cache
def _dispatcher(native: Native) -> Any:
    options = {**_INNER, "forceinline": True} if native.is_inlined else _INNER
    return numba.njit(**options)(native.function)


@functools.cache
def _function_type(intrinsic: Intrinsic) -> Any:
    made = numba.extending.intrinsic(intrinsic.function)
    _typing_context.refresh()
    return _typing_context.resolve_value_type(made)


numba.extending.typeof_impl.register(Native)(lambda value, _: numba.types.Dispatcher(_dispatcher(value)))
numba.extending.typeof_impl.register(Intrinsic)(lambda value, _: _function_type(value))


class _Vector(numba.types.Type):  # type: ignore[misc]
    def __init__(self, kind: VectorKind) -> None:
        self.llvm_type = kind.llvm_type
        super().__init__(name=kind.name)


@numba.core.datamodel.register_default(_Vector)
class _VectorModel(numba.core.datamodel.models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: _Vector) -> None:
        super().__init__(manager, kind, kind.llvm_type)


VECTOR_TYPES: Final = {kind: _Vector(kind) for kind in VECTOR_KINDS}
"""numba's types of our vectors."""


def _lower_operator(function: Any, kind: VectorKind, instruction: str) -> None:
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*args)

    numba.extending.lower_builtin(function, VECTOR_TYPES[kind], VECTOR_TYPES[kind])(lower)


def _type_operator(function: Any) -> None:
    kinds = [VECTOR_TYPES[kind] for known, kind, _ in OPERATORS if known is function]

    @numba.core.typing.templates.infer_global(function)
    class VectorOperator(numba.core.typing.templates.ConcreteTemplate):  # type: ignore[misc]
        cases = [numba.core.typing.signature(kind, kind, kind) for kind in kinds]  # noqa: RUF012


for _function, _kind, _instruction in OPERATORS:
    _lower_operator(_function, _kind, _instruction)
for _function in dict.fromkeys(function for function, _, _ in OPERATORS):
    _type_operator(_function)
