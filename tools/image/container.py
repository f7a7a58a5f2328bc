"""Runs an image as an orchestrator does, by crun: read-only root, the image's user, no capability. Knows no service.

The network is the machine's own, and there is no control group: neither is what an image is checked for. Needs root.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.image.base import ImageError, run

END_S = 120.0
# crun refuses a version 2 hierarchy that is mounted beside those of version 1: it is hidden from this one process.
START = 'mount --make-rprivate / && { umount /sys/fs/cgroup/unified 2>/dev/null || true; } && exec "$@"'
READ_ONLY = ["nosuid", "noexec", "nodev", "ro"]
MOUNTS: tuple[tuple[str, str, str, list[str]], ...] = (
    ("/proc", "proc", "proc", []),
    ("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("/dev/shm", "tmpfs", "shm", ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
    ("/sys", "sysfs", "sysfs", READ_ONLY),
)


@dataclass(frozen=True, slots=True)
class Image:
    """What an image says of itself."""

    name: str
    configuration: Mapping[str, Any]

    @classmethod
    def named(cls, name: str) -> "Image":
        described = json.loads(run(["buildah", "inspect", "--type", "image", name]))
        return cls(name, described["Docker"]["config"])

    @property
    def uid_gid(self) -> tuple[int, int]:
        """Raises ImageError for a user by name: a cluster that forbids root cannot tell who that is."""
        user, _, group = str(self.configuration.get("User") or "0").partition(":")
        if not user.isdigit() or not (group or "0").isdigit():
            raise ImageError(f"{self.name} runs as {user}:{group}, which is no number")
        return int(user), int(group or 0)

    def command(self, arguments: Sequence[str]) -> list[str]:
        entry, default = self.configuration.get("Entrypoint") or [], self.configuration.get("Cmd") or []
        return [*entry, *(arguments or default)]

    def specification(self, root: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
        """For an OCI runtime."""
        uid, gid = self.uid_gid
        variables = [*self.configuration.get("Env", []), *(f"{name}={value}" for name, value in environment.items())]
        kinds = ("bounding", "effective", "inheritable", "permitted", "ambient")
        return {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": uid, "gid": gid},
                "args": self.command(arguments),
                "env": variables,
                "cwd": self.configuration.get("WorkingDir") or "/",
                "capabilities": {kind: [] for kind in kinds},
                "noNewPrivileges": True,
            },
            "root": {"path": str(root), "readonly": True},
            "mounts": [
                {"destination": place, "type": kind, "source": source, "options": list(options)}
                for place, kind, source, options in MOUNTS
            ],
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]},
        }


@contextmanager
def mounted(image: Image) -> Iterator[Path]:
    """The image's files, in a container that is thrown away."""
    container = run(["buildah", "from", "--pull-never", image.name]).strip()
    try:
        yield Path(run(["buildah", "mount", container]).strip())
    finally:
        run(["buildah", "rm", container])


@dataclass
class Container:
    """One that runs; `log` has what it says."""

    process: subprocess.Popen[bytes]
    name: str
    state: Path
    log: Path

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def must_run(self) -> None:
        if self.process.poll() is not None:
            raise ImageError(f"{self.name} ended with {self.process.returncode}: {self.said()[-500:]}")

    def end(self) -> int:
        """SIGTERM as from an engine; the exit status."""
        _crun(self.state, "kill", self.name, signal.SIGTERM.name)
        try:
            return self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            raise ImageError(f"{self.name} did not end within {END_S:g} s of SIGTERM") from None


@contextmanager
def started(image: Image, root: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> Iterator[Container]:
    """Killed at the block's end if it still runs."""
    if shutil.which("crun") is None:
        raise ImageError("crun is missing")
    with tempfile.TemporaryDirectory(prefix="container-") as folder:
        bundle, state = Path(folder), Path(folder) / "state"
        specification = image.specification(root, arguments, environment)
        (bundle / "config.json").write_text(json.dumps(specification))
        name, log = f"image-check-{os.getpid()}", bundle / "log"
        command = ["crun", "--root", str(state), "--cgroup-manager", "disabled", "run", "--bundle", folder, name]
        with log.open("wb") as out:
            process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", START, "sh", *command],
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
            )
        try:
            yield Container(process, name, state, log)
        finally:
            if process.poll() is None:
                _crun(state, "kill", name, signal.SIGKILL.name)
                process.wait(END_S)
            _crun(state, "delete", "--force", name)


def _crun(state: Path, *arguments: str) -> None:
    subprocess.run(["crun", "--root", str(state), *arguments], capture_output=True, check=False)
