"""How much memory this process may still take: what the system has, within the cgroup's limit. Allocates nothing."""

from pathlib import Path

from kernels.cpu.cgroup import levels, lines_of, words_of

_LIMIT_AND_USAGE = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    2: ("memory.max", "memory.current"),
}


def usable_memory_bytes(root: Path = Path("/")) -> int:
    """`root` is for tests. Inside a limit the kernel counts file pages as used; they do not count as taken here, for it
    drops them when memory is wanted: a container that has read its model once could not start it again otherwise."""
    available = _system_available(root)
    for version, folder in levels(root, "memory"):
        limit_name, usage_name = _LIMIT_AND_USAGE[version]
        limit, usage = _number(folder / limit_name), _number(folder / usage_name)
        if limit is not None:
            taken = max(0, (usage or 0) - _droppable(version, folder))
            available = min(available, max(0, limit - taken))
    return available


def _droppable(version: int, folder: Path) -> int:
    """File pages in memory.stat; of version 1 with those of the groups below, as the usage is."""
    prefix = "total_" if version == 1 else ""
    wanted = {f"{prefix}inactive_file", f"{prefix}active_file"}
    found = 0
    for line in lines_of(folder / "memory.stat"):
        name, _, value = line.partition(" ")
        if name in wanted and value.strip().isdecimal():
            found += int(value)
    return found


def _system_available(root: Path) -> int:
    for line in lines_of(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _number(path: Path) -> int | None:
    """None without the file, and for version 2's `max`."""
    words = words_of(path)
    return int(words[0]) if words and words[0].isdecimal() else None
