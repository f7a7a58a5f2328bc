"""JSON files of a model folder: read whole, within bounds, with one line where they are wrong. Knows no model."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.errors import ModelFileError
from service.gguf.cursor import quoted

MAX_BYTES = 64 << 20  # the largest tokenizer.json in use has 33 MB


def parse_object(raw: bytes, source: str) -> dict[str, Any]:
    """One JSON object. ModelFileError on anything else, on a key that comes twice, on numbers that are none."""
    try:
        found = json.loads(raw, object_pairs_hook=lambda pairs: _unique(pairs, source), parse_constant=_no_number)
    except RecursionError:
        raise ModelFileError(f"{source}: the JSON is nested too deeply") from None
    except ValueError as error:
        raise ModelFileError(f"{source}: no JSON: {str(error)[:120]}") from None
    if not isinstance(found, dict):
        raise ModelFileError(f"{source}: the JSON is {type(found).__name__}; it has to be an object")
    return found


def _unique(pairs: list[tuple[str, Any]], source: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ModelFileError(f"{source}: the key {quoted(key)} comes twice")
        found[key] = value
    return found


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")


@dataclass(frozen=True, slots=True)
class Document:
    """One object. Every read raises ModelFileError for what is missing without a default, or of a wrong type or
    size."""

    source: str
    values: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Document:
        try:
            size = path.stat().st_size
            if size > MAX_BYTES:
                raise ModelFileError(f"{path.name}: {size} bytes; at most {MAX_BYTES} are supported")
            return cls(path.name, parse_object(path.read_bytes(), path.name))
        except OSError as error:
            raise ModelFileError(f"cannot open {str(path)!r}: {error.strerror or error}") from None

    @classmethod
    def read_if_any(cls, path: Path) -> Document:
        return cls.read(path) if path.is_file() else cls(path.name, {})

    def has(self, key: str) -> bool:
        return self.values.get(key) is not None

    def integer(self, key: str, default: int | None = None, *, most: int = 1 << 24) -> int:
        value = self._value(key, default)
        if type(value) is not int or not 1 <= value <= most:
            self._wrong(key, value, f"a whole number from 1 to {most}")
        return int(value)

    def number(self, key: str, default: float | None = None, *, least: float = 0.0, most: float = 1e12) -> float:
        value = self._value(key, default)
        if type(value) not in (int, float) or not least <= value <= most or not math.isfinite(value):
            self._wrong(key, value, f"a number from {least:g} to {most:g}")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self._value(key, default)
        if type(value) is not bool:
            self._wrong(key, value, "true or false")
        return bool(value)

    def string(self, key: str, default: str | None = None) -> str:
        value = self._value(key, default)
        if type(value) is not str:
            self._wrong(key, value, "a string")
        return str(value)

    def part(self, key: str) -> Document:
        """An object within; an empty one where there is none."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, dict):
            self._wrong(key, value, "an object")
        return Document(f"{self.source}, {key}", value or {})

    def objects(self, key: str) -> list[Document]:
        """A list of objects within."""
        value = self.values.get(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self._wrong(key, value, "a list of objects")
        return [Document(f"{self.source}, {key}", item) for item in value]

    def _value(self, key: str, default: Any) -> Any:
        value = self.values.get(key)
        value = default if value is None else value
        if value is None:
            raise ModelFileError(f"{self.source}: {key} is missing")
        return value

    def _wrong(self, key: str, value: object, right: str) -> None:
        raise ModelFileError(f"{self.source}: {key} is {quoted(str(value))}; it has to be {right}")
