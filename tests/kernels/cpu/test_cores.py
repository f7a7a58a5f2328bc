"""Usable cores on fixture trees of proc and of both cgroup versions."""

from pathlib import Path

import pytest

from kernels.cpu.cores import quota_cores, usable_cores

MOUNT_V2 = "31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
MOUNT_V1 = "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"
MOUNT_MEMORY = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"


def make_tree(root: Path, *, cgroup: str, mounts: list[str], files: dict[str, str]) -> Path:
    process = root / "proc/self"
    process.mkdir(parents=True)
    (process / "cgroup").write_text(cgroup)
    (process / "mountinfo").write_text("\n".join(mounts) + "\n")
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def v2_tree(root: Path, cgroup: str, files: dict[str, str]) -> Path:
    return make_tree(root, cgroup=f"0::{cgroup}\n", mounts=[MOUNT_V2], files=files)


def test_without_proc_the_affinity_counts(tmp_path: Path) -> None:
    assert quota_cores(tmp_path) is None
    assert usable_cores(tmp_path, affinity=6) == 6


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("max 100000\n", 8),
        ("250000 100000\n", 2),
        ("50000 100000\n", 1),
        ("1600000 100000\n", 8),
        ("400000 50000\n", 8),
        ("", 8),
        ("nonsense 100000\n", 8),
        ("100000 0\n", 8),
        ("100000\n", 8),
    ],
)
def test_v2_quota_is_floored(tmp_path: Path, text: str, cores: int) -> None:
    root = v2_tree(tmp_path, "/pod", {"pod/cpu.max": text})
    assert usable_cores(root, affinity=8) == cores


def test_v2_the_tightest_level_above_holds(tmp_path: Path) -> None:
    files = {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000", "a/b/c/cpu.max": "700000 100000"}
    assert usable_cores(v2_tree(tmp_path, "/a/b/c", files), affinity=16) == 3


def test_v2_namespace_shows_the_group_as_the_root(tmp_path: Path) -> None:
    assert usable_cores(v2_tree(tmp_path, "/", {"cpu.max": "200000 100000"}), affinity=16) == 2


def test_v2_path_outside_the_namespace(tmp_path: Path) -> None:
    assert usable_cores(v2_tree(tmp_path, "/../../other", {"cpu.max": "200000 100000"}), affinity=16) == 2


def test_affinity_below_the_quota(tmp_path: Path) -> None:
    assert usable_cores(v2_tree(tmp_path, "/", {"cpu.max": "900000 100000"}), affinity=2) == 2


def v1_tree(root: Path, group: str, files: dict[str, str], mount: str = MOUNT_V1) -> Path:
    cgroup = f"9:memory:/elsewhere\n4:cpu,cpuacct:{group}\n3:cpuset:/\n"
    return make_tree(root, cgroup=cgroup, mounts=[MOUNT_MEMORY, mount], files=files)


@pytest.mark.parametrize(("quota", "cores"), [("-1", 8), ("350000", 3), ("20000", 1)])
def test_v1_quota(tmp_path: Path, quota: str, cores: int) -> None:
    files = {"cpu,cpuacct/pod/cpu.cfs_quota_us": quota, "cpu,cpuacct/pod/cpu.cfs_period_us": "100000"}
    assert usable_cores(v1_tree(tmp_path, "/pod", files), affinity=8) == cores


def test_v1_container_mounts_its_group_as_the_root(tmp_path: Path) -> None:
    mount = "33 31 0:30 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct"
    files = {"cpu,cpuacct/cpu.cfs_quota_us": "400000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}
    assert usable_cores(v1_tree(tmp_path, "/docker/abc", files, mount), affinity=8) == 4


def test_v1_hidden_path_falls_back_to_the_mounted_root(tmp_path: Path) -> None:
    files = {"cpu,cpuacct/cpu.cfs_quota_us": "400000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}
    assert usable_cores(v1_tree(tmp_path, "/docker/abc", files), affinity=8) == 4


def test_hybrid_reads_both(tmp_path: Path) -> None:
    unified = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"
    files = {
        "unified/pod/cpu.max": "500000 100000",
        "cpu,cpuacct/pod/cpu.cfs_quota_us": "200000",
        "cpu,cpuacct/pod/cpu.cfs_period_us": "100000",
    }
    root = make_tree(tmp_path, cgroup="4:cpu,cpuacct:/pod\n0::/pod\n", mounts=[unified, MOUNT_V1], files=files)
    assert usable_cores(root, affinity=8) == 2


def test_this_machine() -> None:
    assert usable_cores() >= 1
