"""Typed access to metadata, with an error that says what was found and what would be right. Knows no file.

The mapping may be a `Metadata` or any dict of Python values.
"""

from collections.abc import Mapping
from typing import Any, Final, NoReturn, TypeVar

from service.errors import ModelFileError
from service.gguf.cursor import quoted

T = TypeVar("T")


class _Required:
    """Stands for: there is no default."""


REQUIRED: Final = _Required()


def integer(
    metadata: Mapping[str, Any], key: str, default: T | _Required = REQUIRED, *, at_least: int, at_most: int
) -> int | T:
    """A whole number in a range."""
    if key not in metadata:
        return _absent(key, default)
    value = metadata[key]
    if type(value) is not int or not at_least <= value <= at_most:
        _wrong(key, value, f"a whole number from {at_least} to {at_most}")
    return value


def number(
    metadata: Mapping[str, Any], key: str, default: T | _Required = REQUIRED, *, at_least: float, at_most: float
) -> float | T:
    """A number in a range; not-a-number is in none."""
    if key not in metadata:
        return _absent(key, default)
    value = metadata[key]
    if type(value) not in (int, float) or not at_least <= value <= at_most:
        _wrong(key, value, f"a number from {at_least:g} to {at_most:g}")
    return float(value)


def boolean(metadata: Mapping[str, Any], key: str, default: T | _Required = REQUIRED) -> bool | T:
    if key not in metadata:
        return _absent(key, default)
    value = metadata[key]
    if type(value) is not bool:
        _wrong(key, value, "a boolean")
    return value


def string(metadata: Mapping[str, Any], key: str, default: T | _Required = REQUIRED) -> str | T:
    if key not in metadata:
        return _absent(key, default)
    value = metadata[key]
    if type(value) is not str:
        _wrong(key, value, "a string")
    return value


def strings(metadata: Mapping[str, Any], key: str, default: T | _Required = REQUIRED) -> list[str] | T:
    if key not in metadata:
        return _absent(key, default)
    value = metadata[key]
    if type(value) is not list or not set(map(type, value)) <= {str}:
        _wrong(key, value, "an array of strings")
    return value


def integers(metadata: Mapping[str, Any], key: str, default: T | _Required = REQUIRED) -> list[int] | T:
    if key not in metadata:
        return _absent(key, default)
    value = metadata[key]
    if type(value) is not list or not set(map(type, value)) <= {int}:
        _wrong(key, value, "an array of whole numbers")
    return value


def numbers(metadata: Mapping[str, Any], key: str, default: T | _Required = REQUIRED) -> list[float] | T:
    if key not in metadata:
        return _absent(key, default)
    value = metadata[key]
    if type(value) is not list or not set(map(type, value)) <= {float}:
        _wrong(key, value, "an array of numbers")
    return value


def _absent(key: str, default: T | _Required) -> T:
    if isinstance(default, _Required):
        raise ModelFileError(f"the metadata key {quoted(key)} is missing")
    return default


def _wrong(key: str, value: object, right: str) -> NoReturn:
    shown = f"an array of {len(value)}" if isinstance(value, list) else quoted(str(value))
    raise ModelFileError(f"the metadata key {quoted(key)} is {shown} ({type(value).__name__}); it has to be {right}")
