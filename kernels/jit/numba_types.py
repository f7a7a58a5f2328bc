"""numba's types and signatures for code generators, which run while something is compiled: numba is there then."""

from typing import Any, Final

from kernels.jit.declared import VectorKind


class _Types:
    def __getattr__(self, name: str) -> Any:
        from kernels.jit.compiler import numba

        return getattr(numba.types, name)


nb: Final[Any] = _Types()
"""numba.types"""


def signature(returned: Any, *arguments: Any) -> Any:
    """Of numba's types and our vectors'."""
    from kernels.jit.compiler import numba

    return numba.core.typing.signature(*map(numba_type, (returned, *arguments)))


def numba_type(kind: Any) -> Any:
    """Of a vector; any other type as it is."""
    from kernels.jit.compiler import VECTOR_TYPES

    return VECTOR_TYPES[kind] if isinstance(kind, VectorKind) else kind
