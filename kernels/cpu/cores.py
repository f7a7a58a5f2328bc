"""How many cores this process may use: max(1, min(affinity, floor of the cgroup quota)). Starts no threads.

A quota may stand at any level above the process's own group, and the tightest one holds. Inside a container the path
that /proc names is often not visible (the group is mounted as the root), so levels that do not exist are skipped.
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple


class _Mount(NamedTuple):
    version: int
    root: str  # the part of the hierarchy that is mounted
    point: str


def usable_cores(root: Path = Path("/"), affinity: int | None = None) -> int:
    """`root` holds proc/self/cgroup, proc/self/mountinfo and the mounted hierarchy; both arguments are for tests."""
    allowed = len(os.sched_getaffinity(0)) if affinity is None else affinity
    quota = quota_cores(root)
    return max(1, allowed if quota is None else min(allowed, int(quota)))


def quota_cores(root: Path = Path("/")) -> float | None:
    """The tightest CPU quota in cores, None without one."""
    groups = _cpu_groups(root)
    found: list[float] = []
    for mount in _cpu_mounts(root):
        group = groups.get(mount.version)
        if group is None:
            continue
        read = _quota_v2 if mount.version == 2 else _quota_v1
        for level in _levels(root, mount, group):
            quota = read(level)
            if quota is not None:
                found.append(quota)
    return min(found, default=None)


def _cpu_groups(root: Path) -> dict[int, str]:
    """Version -> path of this process's group. Lines are `id:controllers:path`; version 2 has id 0, no controllers."""
    groups: dict[int, str] = {}
    for line in _lines(root / "proc/self/cgroup"):
        fields = line.split(":", 2)
        if len(fields) != 3:
            continue
        number, controllers, path = fields
        if number == "0" and not controllers:
            groups[2] = path
        elif "cpu" in controllers.split(","):
            groups[1] = path
    return groups


def _cpu_mounts(root: Path) -> Iterator[_Mount]:
    """Lines are `id parent device root point options [tags] - type source options`."""
    for line in _lines(root / "proc/self/mountinfo"):
        before, separator, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if not separator or len(fields) < 5 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2":
            yield _Mount(2, fields[3], fields[4])
        elif kind[0] == "cgroup" and "cpu" in kind[2].split(","):
            yield _Mount(1, fields[3], fields[4])


def _levels(root: Path, mount: _Mount, group: str) -> Iterator[Path]:
    """The folders of the group and of every group above it, as far as they are mounted."""
    path = PurePosixPath(group)
    if path.is_relative_to(mount.root):
        path = path.relative_to(mount.root)
    point = root / mount.point.lstrip("/")
    relative = PurePosixPath(*(part for part in path.parts if part not in ("/", "..")))
    for level in (relative, *relative.parents):
        yield point / level


def _quota_v2(level: Path) -> float | None:
    """cpu.max is `quota period` in microseconds, or `max period`."""
    fields = _words(level / "cpu.max")
    return _ratio(fields[0], fields[1]) if len(fields) == 2 else None


def _quota_v1(level: Path) -> float | None:
    quota, period = _words(level / "cpu.cfs_quota_us"), _words(level / "cpu.cfs_period_us")
    return _ratio(quota[0], period[0]) if quota and period else None


def _ratio(quota: str, period: str) -> float | None:
    """`max` and -1 mean no quota."""
    try:
        cores = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return cores if cores > 0 else None


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
