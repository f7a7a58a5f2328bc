"""The folder of packed weights: made once, found again, never half, and no start fails for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.packed.folder import PARTIAL, Outcome, entries, prune
from service.packed.header import PAYLOAD_OFFSET
from tests.service.packed.payload import NUM_BYTES, NUM_SEGMENTS, PAYLOAD, fill, folder_at, header

FILE_BYTES = PAYLOAD_OFFSET + NUM_BYTES


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.service.packed.payload", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_made_once_then_found(tmp_path: Path) -> None:
    folder = folder_at(tmp_path / "new" / "packed")
    for expected in (Outcome.MISS, Outcome.HIT):
        payload, outcome = folder.obtain(header(), fill)
        assert outcome is expected
        assert payload is not None
        assert (payload == PAYLOAD).all()
    assert [path.name for path in (tmp_path / "new" / "packed").iterdir()] == ["aa.packed"]


def test_what_is_damaged_is_made_again(tmp_path: Path) -> None:
    folder = folder_at(tmp_path)
    folder.obtain(header(), fill)
    path = tmp_path / "aa.packed"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    payload, outcome = folder.obtain(header(), fill)
    assert outcome is Outcome.MISS
    assert payload is not None
    assert (payload == PAYLOAD).all()


def test_a_file_of_another_key_is_not_taken(tmp_path: Path) -> None:
    folder = folder_at(tmp_path)
    folder.obtain(header("aa"), fill)
    (tmp_path / "aa.packed").rename(tmp_path / "bb.packed")
    assert folder.obtain(header("bb"), fill)[1] is Outcome.MISS


def test_two_processes_pack_once(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    both = [start(tmp_path / "packed", calls) for _ in range(2)]
    said = sorted(process.communicate(timeout=60)[0].strip() for process in both)
    assert said == ["hit right", "miss right"]
    assert len(calls.read_bytes()) == NUM_SEGMENTS


def test_who_is_killed_leaves_nothing_that_is_used(tmp_path: Path) -> None:
    folder, calls = tmp_path / "packed", tmp_path / "calls"
    killed = start(folder, calls, "kill")
    killed.communicate(timeout=60)
    assert killed.returncode == -9
    assert [path.name for path in folder.iterdir()] == [f"aa{PARTIAL}"]
    after = start(folder, calls)
    assert after.communicate(timeout=60)[0].strip() == "miss right"
    assert [path.name for path in folder.iterdir()] == ["aa.packed"]


def test_a_disk_that_takes_no_more_costs_the_cache_alone(tmp_path: Path) -> None:
    folder = tmp_path / "packed"
    limited = start(folder, tmp_path / "calls", "limit")
    assert limited.communicate(timeout=60)[0].strip() == "failed nothing"
    assert limited.returncode == 0
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    assert folder_at(tmp_path / "file" / "packed").obtain(header(), fill) == (None, Outcome.FAILED)
    assert "packing into memory" in caplog.text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_only_read(tmp_path: Path) -> None:
    folder = folder_at(tmp_path)
    folder.obtain(header("aa"), fill)
    tmp_path.chmod(0o500)
    try:
        assert folder.obtain(header("aa"), fill)[1] is Outcome.HIT
        assert folder.obtain(header("bb"), fill)[1] is Outcome.FAILED
    finally:
        tmp_path.chmod(0o700)


def test_more_than_the_limit_is_not_kept(tmp_path: Path) -> None:
    assert folder_at(tmp_path, FILE_BYTES - 1).obtain(header(), fill) == (None, Outcome.OFF)
    assert list(tmp_path.iterdir()) == []


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    folder = folder_at(tmp_path, 2 * FILE_BYTES)
    for age, key in ((30, "aa"), (20, "bb")):
        folder.obtain(header(key), fill)
        used_s = (tmp_path / f"{key}.packed").stat().st_mtime - age
        os.utime(tmp_path / f"{key}.packed", (used_s, used_s))
    folder.obtain(header("aa"), fill)  # a hit is a use
    folder.obtain(header("cc"), fill)
    assert [entry.path.stem for entry in entries(tmp_path)] == ["cc", "aa"]


def test_prune(tmp_path: Path) -> None:
    folder = folder_at(tmp_path)
    for key in ("aa", "bb"):
        folder.obtain(header(key), fill)
    (tmp_path / "bb.packed").write_bytes(b"damaged")
    (tmp_path / f"cc{PARTIAL}").write_bytes(b"left by a process that was killed")
    assert [entry.path.stem for entry in prune(tmp_path, 1 << 30)] == ["bb"]
    assert [path.name for path in tmp_path.iterdir()] == ["aa.packed"]
    mapped, _ = folder.obtain(header("aa"), fill)
    assert [entry.path.stem for entry in prune(tmp_path, 0)] == ["aa"]
    assert mapped is not None
    assert (mapped == PAYLOAD).all()  # who has it mapped keeps it
