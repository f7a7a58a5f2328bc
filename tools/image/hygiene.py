"""What lies in an image and who may run it: user, size, programs that should not be there. Starts nothing of it."""

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.image.base import ImageError, run
from tools.image.container import Image

MAX_BYTES = 600_000_000
PROGRAMS = ("usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin")
UNWANTED = re.compile(r"(.*-)?(gcc|g\+\+|cc|c\+\+|clang|clang\+\+|as|ld|tcc|make|cpp|pip|git|curl|wget)(-?[\d.]+)?")
UNITS = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9}


@dataclass(frozen=True, slots=True)
class Hygiene:
    """Of one image."""

    num_bytes: int
    """Of its layers, unpacked."""
    uid: int
    unwanted: tuple[str, ...]
    """Compilers, installers, fetchers."""
    setuid: tuple[str, ...]
    has_bill: bool
    """The bill of materials and the licences are inside."""

    def misses(self) -> Iterator[str]:
        if self.num_bytes > MAX_BYTES:
            yield f"{self.num_bytes / 1e6:.0f} MB, more than {MAX_BYTES / 1e6:.0f}"
        if self.uid == 0:
            yield "runs as root"
        if self.unwanted:
            yield f"has {', '.join(self.unwanted)}"
        if self.setuid:
            yield f"has setuid programs: {', '.join(self.setuid)}"
        if not self.has_bill:
            yield "has no bill of materials or no licences"


def inspected(image: Image, root: Path) -> Hygiene:
    """root: where the image's files are mounted."""
    programs = [path for folder in PROGRAMS for path in sorted((root / folder).iterdir())]
    share = root / "usr/local/share/gemmule"
    return Hygiene(
        num_bytes=size_of(run(["buildah", "images", "--format", "{{.Size}}", image.name])),
        uid=image.uid_gid[0],
        unwanted=tuple(path.name for path in programs if UNWANTED.fullmatch(path.name)),
        setuid=tuple(path.name for path in programs if _is_setuid(path)),
        has_bill=all((share / name).is_file() for name in ("sbom.cdx.json", "NOTICES.txt", "LICENSE")),
    )


def size_of(text: str) -> int:
    """ "584 MB" -> 584000000"""
    number, _, unit = text.strip().splitlines()[0].partition(" ")
    if unit not in UNITS:
        raise ImageError(f"a size as buildah writes it, not {text!r}")
    return int(float(number) * UNITS[unit])


def _is_setuid(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and bool(path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID))
