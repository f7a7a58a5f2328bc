"""A metadata key with its value, as a GGUF file is to hold it. Knows no key's meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from service.gguf.types import ValueType


@dataclass(frozen=True, slots=True)
class Pair:
    """`element_type`: of an array's elements, None for a scalar."""

    key: str
    value: Any
    value_type: ValueType
    element_type: ValueType | None = None

    @classmethod
    def of(cls, key: str, value: Any) -> Pair:
        """Of a bool, a whole number from 0 on, a float, a string, or a list of one of these."""
        if isinstance(value, list):
            return cls(key, value, ValueType.ARRAY, _type_of(value[0] if value else ""))
        return cls(key, value, _type_of(value))


def _type_of(value: Any) -> ValueType:
    if isinstance(value, bool):
        return ValueType.BOOL
    if isinstance(value, int):
        return ValueType.UINT32
    return ValueType.FLOAT32 if isinstance(value, float) else ValueType.STRING
