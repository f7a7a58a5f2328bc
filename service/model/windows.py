"""Which layers see a window of the last tokens only. Knows no attention."""

from __future__ import annotations

from service.errors import ModelFileError
from service.model.fields import ArchitectureFields

KEY = "attention.sliding_window_pattern"


def local_layers(read: ArchitectureFields, num_layers: int, period: int) -> tuple[bool, ...]:
    """All but every `period`th layer, unless the file gives another period, or says it for each layer."""
    pattern = read.metadata.get(read.prefix + KEY)
    if isinstance(pattern, list):
        if len(pattern) != num_layers or not all(isinstance(local, bool) for local in pattern):
            raise ModelFileError(f"{read.prefix}{KEY} has {len(pattern)} items; {num_layers} booleans are expected")
        return tuple(pattern)
    period = read.size(KEY, default=period)
    return tuple(layer % period < period - 1 for layer in range(num_layers))
