"""Caches as Linux tells them."""

from __future__ import annotations

from pathlib import Path

from kernels.cpu.caches import DEFAULT_LAST_BYTES, DEFAULT_SECOND_BYTES, last_level_bytes, second_level_bytes


def test_sizes_by_level(tmp_path: Path) -> None:
    caches = (("1", "48K\n"), ("1", "32K\n"), ("2", "2048K\n"), ("3", "300M\n"), ("what", "9G\n"), ("4", "odd\n"))
    for index, (level, size) in enumerate(caches):
        folder = tmp_path / "cpu0/cache" / f"index{index}"
        folder.mkdir(parents=True)
        (folder / "level").write_text(level + "\n")
        (folder / "size").write_text(size)
    assert second_level_bytes(tmp_path) == 2 << 20
    assert last_level_bytes(tmp_path) == 300 << 20


def test_what_is_taken_where_nothing_is_told(tmp_path: Path) -> None:
    assert second_level_bytes(tmp_path) == DEFAULT_SECOND_BYTES
    assert last_level_bytes(tmp_path) == DEFAULT_LAST_BYTES
