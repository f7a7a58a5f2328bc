"""Usable memory on fixture trees."""

from pathlib import Path

import pytest

from kernels.cpu.memory import usable_memory_bytes
from tests.kernels.cpu.test_cores import MOUNT_MEMORY, MOUNT_V2, make_tree

GIB = 1 << 30


def with_meminfo(root: Path, available: int) -> Path:
    (root / "proc/meminfo").write_text(f"MemTotal: {64 << 20} kB\nMemAvailable: {available // 1024} kB\n")
    return root


@pytest.mark.parametrize(
    ("limit", "expected"), [("max", 8 * GIB), (str(4 * GIB), 3 * GIB), (str(GIB), 0), (str(100 * GIB), 8 * GIB)]
)
def test_v2(tmp_path: Path, limit: str, expected: int) -> None:
    files = {"pod/memory.max": limit, "pod/memory.current": str(GIB)}
    root = with_meminfo(make_tree(tmp_path, cgroup="0::/pod\n", mounts=[MOUNT_V2], files=files), 8 * GIB)
    assert usable_memory_bytes(root) == expected


def test_v1(tmp_path: Path) -> None:
    files = {"memory/a/memory.limit_in_bytes": str(2 * GIB), "memory/a/memory.usage_in_bytes": str(GIB // 2)}
    tree = make_tree(tmp_path, cgroup="5:memory:/a\n", mounts=[MOUNT_MEMORY], files=files)
    assert usable_memory_bytes(with_meminfo(tree, 8 * GIB)) == 3 * GIB // 2


def test_file_pages_are_not_taken(tmp_path: Path) -> None:
    files = {
        "pod/memory.max": str(4 * GIB),
        "pod/memory.current": str(3 * GIB),
        "pod/memory.stat": f"anon {GIB}\nfile {2 * GIB}\ninactive_file {GIB}\nactive_file {GIB}\n",
    }
    root = with_meminfo(make_tree(tmp_path, cgroup="0::/pod\n", mounts=[MOUNT_V2], files=files), 8 * GIB)
    assert usable_memory_bytes(root) == 3 * GIB


def test_file_pages_of_v1_are_those_of_the_whole_group(tmp_path: Path) -> None:
    files = {
        "memory/a/memory.limit_in_bytes": str(2 * GIB),
        "memory/a/memory.usage_in_bytes": str(GIB),
        "memory/a/memory.stat": f"inactive_file 0\ntotal_inactive_file {GIB // 4}\ntotal_active_file {GIB // 4}\n",
    }
    tree = make_tree(tmp_path, cgroup="5:memory:/a\n", mounts=[MOUNT_MEMORY], files=files)
    assert usable_memory_bytes(with_meminfo(tree, 8 * GIB)) == 3 * GIB // 2


def test_without_proc_there_is_nothing_to_promise(tmp_path: Path) -> None:
    assert usable_memory_bytes(tmp_path) == 0
