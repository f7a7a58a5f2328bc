"""The aarch64 userland: Debian's Python, our locked wheels and QEMU's user emulator, in a folder of the cache.

`python -m tools.arm.userland` makes it (about 20 s, 450 MB, no root, no chroot, no binfmt) and prints the path of its
Python, an ordinary executable; the variable QEMU_CPU names the core that it runs on. Made once for each state of the
recipe: this file, the dependencies in pyproject.toml and requirements.lock.
"""

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kernels.folder import cache_folder
from tools.arm.debian import DebianError, Suite, machine_arch, unpack

REPOSITORY = Path(__file__).resolve().parents[2]
LOCK = REPOSITORY / "requirements.lock"

# The newest emulator, for it knows the newest cores; the oldest Python and C library that we support.
QEMU_SUITE, QEMU_PACKAGE, QEMU_BINARY = "trixie-backports", "qemu-user", "usr/bin/qemu-aarch64"
PYTHON_SUITE, PYTHON_PACKAGES = "bookworm", ("python3.11", "libstdc++6", "libgomp1")
PYTHON_VERSION, SITE = "3.11", "usr/local/lib/python3.11/dist-packages"
GLIBC_MINORS = range(17, 37)

# `-0` makes this script the sys.executable of the Python that it starts, so that subprocesses are emulated as well.
LAUNCHER = """\
#!/bin/sh
# aarch64 Python under emulation, on the core that QEMU_CPU names.
export QEMU_LD_PREFIX={folder}/root PYTHONHOME={folder}/root/usr PYTHONPYCACHEPREFIX={folder}/pyc PYTHONNOUSERSITE=1
: "${{QEMU_CPU:=neoverse-n1}}"
export QEMU_CPU
unset PYTHONDONTWRITEBYTECODE
exec {folder}/qemu-aarch64 -0 {folder}/python3 {folder}/root/usr/bin/python3.11 "$@"
"""


@dataclass(frozen=True, slots=True)
class Userland:
    """Where the userland lies; it may be missing or of an older recipe."""

    folder: Path

    @property
    def python(self) -> Path:
        """The launcher of the emulated Python."""
        return self.folder / "python3"

    @property
    def is_current(self) -> bool:
        """True when the userland was made from the recipe as it is now."""
        stamp = self.folder / "stamp"
        return stamp.exists() and stamp.read_text() == recipe()

    def make(self) -> None:
        """Makes the userland beside its place and moves it there: a broken attempt leaves nothing half made."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder.parent, prefix="arm-") as temporary:
            made = Path(temporary) / "userland"
            root = made / "root"
            say(f"emulator: {QEMU_PACKAGE} from {QEMU_SUITE}")
            emulator = Suite(QEMU_SUITE, machine_arch(), Path(temporary) / "qemu-apt")
            unpack(emulator.fetch([QEMU_PACKAGE], closure=False), Path(temporary) / "qemu")
            say(f"userland: {' '.join(PYTHON_PACKAGES)} and what they need from {PYTHON_SUITE}, arm64")
            debian = Suite(PYTHON_SUITE, "arm64", Path(temporary) / "root-apt")
            unpack(debian.fetch(PYTHON_PACKAGES, closure=True), root)
            shutil.move(Path(temporary) / "qemu" / QEMU_BINARY, made / "qemu-aarch64")
            say(f"wheels: {len(requirements())} requirements, aarch64, as locked in {LOCK.name}")
            install_wheels(root / SITE)
            (made / "python3").write_text(LAUNCHER.format(folder=self.folder))
            (made / "python3").chmod(0o755)
            (made / "stamp").write_text(recipe())
            shutil.rmtree(self.folder, ignore_errors=True)
            made.rename(self.folder)


def install_wheels(site: Path) -> None:
    """Installs what the project and its tests need, as wheels for aarch64."""
    platforms = [f"manylinux_2_{minor}_aarch64" for minor in GLIBC_MINORS] + ["manylinux2014_aarch64"]
    target = ["--target", str(site), "--python-version", PYTHON_VERSION, "--only-binary=:all:"]
    options = [option for platform in platforms for option in ("--platform", platform)]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-qq", "--no-compile"]
    subprocess.run([*command, *target, *options, "--constraint", str(LOCK), *requirements()], check=True)


def requirements() -> list[str]:
    """What the service and its tests depend on, from pyproject.toml."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["test"]]


def recipe() -> str:
    """A fingerprint of all that decides what is in the userland."""
    sources = (Path(__file__).read_text(), *requirements(), LOCK.read_text())
    return hashlib.sha256("\n".join(sources).encode()).hexdigest()


def say(line: str) -> None:
    """Progress, apart from the result on standard output."""
    print(f"arm: {line}", file=sys.stderr, flush=True)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Two clones may ask for the userland at once; one makes it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "arm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def ready_userland() -> Userland:
    """The userland, made now if it is missing or stale. Raises DebianError or CalledProcessError."""
    userland = Userland(cache_folder().absolute() / "arm")
    with alone(userland.folder.parent):
        if not userland.is_current:
            userland.make()
    return userland


if __name__ == "__main__":
    try:
        print(ready_userland().python)
    except (DebianError, subprocess.CalledProcessError) as error:
        sys.exit(f"arm: {error}")
