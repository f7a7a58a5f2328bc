"""The numbers of one architecture in GGUF metadata, each checked as it is read. Knows no architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from service.errors import ModelFileError

MAX_SIZE = 1 << 20  # of any dimension; far above every model, far below what overflows


@dataclass(frozen=True, slots=True)
class ArchitectureFields:
    """Keys without their prefix. Every read raises ModelFileError for a missing key (unless there is a default), a
    wrong type or a value out of range."""

    metadata: Mapping[str, object]
    prefix: str

    @property
    def architecture(self) -> str:
        return self.prefix.rstrip(".")

    def has(self, key: str) -> bool:
        return self.prefix + key in self.metadata

    def size(self, key: str, default: int | None = None, most: int = MAX_SIZE, least: int = 1) -> int:
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ModelFileError(
                f"{self.prefix}{key} is {str(value)[:64]}; it has to be an integer from {least} to {most}"
            )
        return value

    def number(self, key: str, least: float, most: float, default: float | None = None) -> float:
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise ModelFileError(f"{self.prefix}{key} is {str(value)[:64]}; it has to lie from {least} to {most}")
        return float(value)

    def text(self, key: str, default: str) -> str:
        return str(self._value(key, default))[:64]

    def _value(self, key: str, default: object) -> object:
        value = self.metadata.get(self.prefix + key, default)
        if value is None:
            raise ModelFileError(f"the metadata lacks {self.prefix}{key}")
        return value
