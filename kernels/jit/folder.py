"""Where generated things are kept on disk. Knows paths, not what is in them."""

import os
from collections.abc import Mapping
from pathlib import Path


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """`$GEMMULE_CACHE`, or `$XDG_CACHE_HOME/gemmule`, or `~/.cache/gemmule`. Not created here."""
    if environ.get("GEMMULE_CACHE"):
        return Path(environ["GEMMULE_CACHE"])
    if environ.get("XDG_CACHE_HOME"):
        return Path(environ["XDG_CACHE_HOME"]) / "gemmule"
    return Path.home() / ".cache" / "gemmule"
