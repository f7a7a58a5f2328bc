"""Makes what the Dockerfile begins FROM, where no registry can be asked: Debian, slim, for both platforms. Needs root.

A root file system of each architecture by mmdebstrap from the machine's own mirror, as an image. Made once for what is
said here, in buildah's storage. Knows no Dockerfile.
"""

import subprocess
import sys
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from tools.arm.debian import mirrors

SUITE = "bookworm"
NAME = f"localhost/gemmule-base:{SUITE}"
PLATFORMS = ("amd64", "arm64")
# What Debian's own slim images leave out; licences stay.
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/lintian/*")
KEPT = "/usr/share/doc/*/copyright"
# /usr merged from the start: else apt takes a package that merges it, and all of Perl along, 45 MB.
MERGED = ("--include=usr-is-merged", "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr")


class ImageError(Exception):
    """An image could not be made or run; one line."""


def base_image(arch: str) -> str:
    """The name of the platform's."""
    excluded = [f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT]
    options = ["--variant=minbase", f"--arch={arch}", *MERGED, *excluded, f"--dpkgopt=path-include={KEPT}"]
    image = f"{NAME}-{arch}-{zlib.crc32(' '.join(options).encode()):08x}"
    if _has(image):
        return image
    with tempfile.TemporaryDirectory(prefix="base-") as folder:
        archive = Path(folder) / "base.tar"
        say(f"{SUITE} for {arch} by mmdebstrap")
        run(["mmdebstrap", "--quiet", *options, SUITE, str(archive), mirrors()[0]])
        container = run(["buildah", "from", "--arch", arch, "scratch"]).strip()
        try:
            run(["buildah", "add", container, str(archive), "/"])
            run(["buildah", "config", "--arch", arch, "--os", "linux", "--cmd", "/bin/sh", container])
            run(["buildah", "commit", "--format", "docker", container, image])
        finally:
            run(["buildah", "rm", container])
    return image


def _has(image: str) -> bool:
    return subprocess.run(["buildah", "inspect", "--type", "image", image], capture_output=True).returncode == 0


def run(command: Sequence[str]) -> str:
    """Its output. Raises ImageError with its last line of complaint."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise ImageError(
            f"{' '.join(command[:2])} ended with {done.returncode}: {lines[-1] if lines else 'no message'}"
        )
    return done.stdout


def say(line: str) -> None:
    print(f"image: {line}", file=sys.stderr, flush=True)
