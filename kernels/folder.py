"""Where generated things are kept on disk, and how. Knows paths, not what is in them."""

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """`$GEMMULE_CACHE`, or `$XDG_CACHE_HOME/gemmule`, or `~/.cache/gemmule`. Not created here."""
    if environ.get("GEMMULE_CACHE"):
        return Path(environ["GEMMULE_CACHE"])
    if environ.get("XDG_CACHE_HOME"):
        return Path(environ["XDG_CACHE_HOME"]) / "gemmule"
    return Path.home() / ".cache" / "gemmule"


def keep_file(path: Path, content: bytes) -> None:
    """Whole or not at all, whoever else writes or reads it. Where it cannot be written, it is not kept."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as temporary:
            temporary.write(content)
        os.replace(temporary.name, path)
