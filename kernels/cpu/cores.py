"""How many cores this process may use: max(1, min(affinity, floor of the cgroup quota)). Starts no threads."""

import os
from pathlib import Path

from kernels.cpu.cgroup import levels, words_of


def usable_cores(root: Path = Path("/"), affinity: int | None = None) -> int:
    """`root` holds proc/self/cgroup, proc/self/mountinfo and the mounted hierarchy; both arguments are for tests."""
    allowed = len(os.sched_getaffinity(0)) if affinity is None else affinity
    quota = quota_cores(root)
    return max(1, allowed if quota is None else min(allowed, int(quota)))


def quota_cores(root: Path = Path("/")) -> float | None:
    """The tightest CPU quota in cores, None without one."""
    found = []
    for version, folder in levels(root, "cpu"):
        quota = _quota_v2(folder) if version == 2 else _quota_v1(folder)
        if quota is not None:
            found.append(quota)
    return min(found, default=None)


def _quota_v2(level: Path) -> float | None:
    """cpu.max is `quota period` in microseconds, or `max period`."""
    fields = words_of(level / "cpu.max")
    return _ratio(fields[0], fields[1]) if len(fields) == 2 else None


def _quota_v1(level: Path) -> float | None:
    quota, period = words_of(level / "cpu.cfs_quota_us"), words_of(level / "cpu.cfs_period_us")
    return _ratio(quota[0], period[0]) if quota and period else None


def _ratio(quota: str, period: str) -> float | None:
    """`max` and -1 mean no quota."""
    try:
        cores = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return cores if cores > 0 else None
