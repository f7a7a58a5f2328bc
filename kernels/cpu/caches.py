"""Sizes of the data caches that core 0 sees, as Linux tells them. Decides nothing."""

import functools
from pathlib import Path
from typing import Final

DEFAULT_LAST_BYTES: Final = 32 << 20
DEFAULT_SECOND_BYTES: Final = 512 << 10
CPUS: Final = Path("/sys/devices/system/cpu")


def last_level_bytes(root: Path = CPUS) -> int:
    """Of the largest cache."""
    return max(_sizes(root).values(), default=0) or DEFAULT_LAST_BYTES


@functools.cache
def second_level_bytes(root: Path = CPUS) -> int:
    """Read once: every matmul of a program asks."""
    return _sizes(root).get(2, 0) or DEFAULT_SECOND_BYTES


def _sizes(root: Path) -> dict[int, int]:
    """Level -> bytes of the largest cache of that level."""
    sizes: dict[int, int] = {}
    for folder in root.glob("cpu0/cache/index*"):
        level = _text(folder / "level")
        if level.isdecimal():
            sizes[int(level)] = max(sizes.get(int(level), 0), _bytes_of(_text(folder / "size")))
    return sizes


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _bytes_of(text: str) -> int:
    """ "32768K" -> 33554432; 0 where it cannot be told."""
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    return int(number) * unit if number.isdecimal() else 0
