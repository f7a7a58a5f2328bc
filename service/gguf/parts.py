"""The names of a model in several files, as llama-gguf-split writes them: NAME-00001-of-00003.gguf. Opens nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.errors import ModelFileError
from service.gguf.cursor import quoted

MAX_PARTS = 4096
_NAME = re.compile(r"(?P<model>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


@dataclass(frozen=True, slots=True)
class Part:
    """`index` of `count`, from 0 on."""

    index: int
    count: int


def read_part(metadata: Mapping[str, Any], source: str) -> Part:
    """What a file says about itself; one of one where it says nothing. ModelFileError on nonsense."""
    count, index = metadata.get("split.count", 1), metadata.get("split.no", 0)
    if type(count) is not int or type(index) is not int or not 0 <= index < max(1, count) <= MAX_PARTS:
        raise ModelFileError(
            f"{source}: part {quoted(str(index))} of {quoted(str(count))} parts of a model; parts are numbered from 0, "
            f"and there are at most {MAX_PARTS}"
        )
    return Part(index, max(1, count))


def part_paths(path: Path, part: Part) -> list[Path]:
    """Of all parts, in order, by the name of one of them. ModelFileError if it is not named like a part."""
    match = _NAME.fullmatch(path.name)
    if match is None or (int(match["number"]), int(match["count"])) != (part.index + 1, part.count):
        name = f"NAME-{part.index + 1:05d}-of-{part.count:05d}.gguf"
        raise ModelFileError(f"{path.name}: part {part.index + 1} of {part.count}; it has to be called {name}")
    return [path.with_name(f"{match['model']}-{index + 1:05d}-of-{part.count:05d}.gguf") for index in range(part.count)]


def model_name(path: Path) -> str:
    """Without the ending, and without the number of a part."""
    match = _NAME.fullmatch(path.name)
    return match["model"] if match else path.stem
