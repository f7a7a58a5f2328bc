"""Figures of a micro-kernel on disk, by what they were measured of, so that a report measures what has changed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm

from kernels.folder import cache_folder
from tools.arm_report.hot_loop import DOT, FLOAT_DOT, HotLoop
from tools.arm_report.mca import COMMAND, Model


@dataclass(frozen=True, slots=True)
class Figures:
    """`instructions` of a call; the hot loop and, by core, its model."""

    loop: HotLoop
    instructions: int
    models: dict[str, Model]


def place(ir: str, shape: tuple[int, int, int], cores: tuple[str, ...]) -> Path:
    """The file of these figures: named by the code, the compiler, the call and the modelled cores."""
    tools = [llvmlite.__version__, str(llvm.llvm_version_info), COMMAND, DOT, FLOAT_DOT]
    key = "\n".join([ir, *tools, repr(shape), *cores])
    return cache_folder() / "arm-report" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def kept(path: Path) -> Figures | None:
    if not path.exists():
        return None
    found = json.loads(path.read_text())
    loop = HotLoop(tuple(found["loop"]["lines"]), found["loop"]["num_macs"])
    models = {core: Model(**model) for core, model in found["models"].items()}
    return Figures(loop, found["instructions"], models)


def keep(path: Path, figures: Figures) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(asdict(figures)))
    beside.replace(path)
