"""How much memory this process may still take: what the system has, within the cgroup's limit. Allocates nothing."""

from pathlib import Path

from kernels.cpu.cgroup import levels, lines_of, words_of

_LIMIT_AND_USAGE = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    2: ("memory.max", "memory.current"),
}


def usable_memory_bytes(root: Path = Path("/")) -> int:
    """`root` is for tests. Page cache counts as taken inside a limit, as the kernel counts it."""
    available = _system_available(root)
    for version, folder in levels(root, "memory"):
        limit_name, usage_name = _LIMIT_AND_USAGE[version]
        limit, usage = _number(folder / limit_name), _number(folder / usage_name)
        if limit is not None:
            available = min(available, max(0, limit - (usage or 0)))
    return available


def _system_available(root: Path) -> int:
    for line in lines_of(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _number(path: Path) -> int | None:
    """None without the file, and for version 2's `max`."""
    words = words_of(path)
    return int(words[0]) if words and words[0].isdecimal() else None
