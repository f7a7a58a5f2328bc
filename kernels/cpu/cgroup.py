"""The control groups that this process is in, version 1 and 2, from its own up to the root. Knows no resource.

Inside a container the path that /proc names is often not visible (the group is mounted as the root), so levels that do
not exist are skipped by whoever reads them.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple


class Level(NamedTuple):
    """One group's folder. A limit may stand at any level, and the tightest one holds."""

    version: int
    folder: Path


class _Mount(NamedTuple):
    version: int
    root: str  # the part of the hierarchy that is mounted
    point: str


def levels(root: Path, controller: str) -> Iterator[Level]:
    """`root` holds proc/self/cgroup, proc/self/mountinfo and the hierarchy; `controller`: "cpu", "memory"."""
    groups = _groups(root, controller)
    for mount in _mounts(root, controller):
        group = groups.get(mount.version)
        if group is None:
            continue
        for folder in _folders(root, mount, group):
            yield Level(mount.version, folder)


def _groups(root: Path, controller: str) -> dict[int, str]:
    """Version -> path of this process's group. Lines are `id:controllers:path`; version 2 has id 0, no controllers."""
    groups: dict[int, str] = {}
    for line in lines_of(root / "proc/self/cgroup"):
        fields = line.split(":", 2)
        if len(fields) != 3:
            continue
        number, controllers, path = fields
        if number == "0" and not controllers:
            groups[2] = path
        elif controller in controllers.split(","):
            groups[1] = path
    return groups


def _mounts(root: Path, controller: str) -> Iterator[_Mount]:
    """Lines are `id parent device root point options [tags] - type source options`."""
    for line in lines_of(root / "proc/self/mountinfo"):
        before, separator, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if not separator or len(fields) < 5 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2":
            yield _Mount(2, fields[3], fields[4])
        elif kind[0] == "cgroup" and controller in kind[2].split(","):
            yield _Mount(1, fields[3], fields[4])


def _folders(root: Path, mount: _Mount, group: str) -> Iterator[Path]:
    """The folders of the group and of every group above it, as far as they are mounted."""
    path = PurePosixPath(group)
    if path.is_relative_to(mount.root):
        path = path.relative_to(mount.root)
    point = root / mount.point.lstrip("/")
    relative = PurePosixPath(*(part for part in path.parts if part not in ("/", "..")))
    for level in (relative, *relative.parents):
        yield point / level


def words_of(path: Path) -> list[str]:
    return " ".join(lines_of(path)).split()


def lines_of(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
