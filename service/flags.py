"""What the commands' flags have in common: their settings, from flags and variables. Knows no command."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from service.settings import Settings

Cache = Annotated[Path | None, typer.Option(help="Cache folder (default: $XDG_CACHE_HOME/gemmule, ~/.cache/gemmule).")]

KVTypeOption = Annotated[
    str | None,
    typer.Option(help="Type of cached keys and values: f16, i16 (faster with VNNI), q8_0 (53 % of the memory) or f32."),
]


def settings_from(flags: Mapping[str, object]) -> Settings:
    """The cache folder returns to the environment: kernels and numba look for it there, when they are imported."""
    from service.settings import load_settings

    settings = load_settings(flags, os.environ)
    if settings.cache is not None:
        os.environ["GEMMULE_CACHE"] = str(settings.cache)
    return settings
