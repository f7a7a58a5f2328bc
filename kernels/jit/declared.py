"""Functions that are written down for native ones to call, before any compiler is asked. Knows a type's name, no numba.

What a function calls is part of its compiled code, so while that is on disk nobody needs these as more than names.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class Native:
    """`is_inlined`: always into its callers."""

    function: Callable[..., Any]
    is_inlined: bool = False


@dataclass(frozen=True, eq=False)
class Intrinsic:
    """`function`: of numba's typing context and the types of the arguments -> a signature and a code generator."""

    function: Callable[..., Any]


@dataclass(frozen=True, eq=False)
class VectorKind:
    """A type of values that native functions hold: `name`, and LLVM's type."""

    name: str
    llvm_type: Any
