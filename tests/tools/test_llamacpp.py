"""The peer's source is mended where it is known to fail, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.peer.llamacpp import TILE_LOAD, PeerError, keep_tile_shapes


def test_the_whole_tile_configuration_is_stored_before_it_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "mmq.cpp"
    file.write_text(f"    tc.rows[0] = 8;\n    {TILE_LOAD}\n    done = true;\n")
    keep_tile_shapes(file)
    before, after = file.read_text().split(TILE_LOAD)
    assert before.endswith('tc.rows[0] = 8;\n    __asm__ volatile("" : : "r"(&tc) : "memory"); ')
    assert after == "\n    done = true;\n"


def test_another_source_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mmq.cpp"
    file.write_text("int main() {}\n")
    with pytest.raises(PeerError, match=r"mmq\.cpp holds .* 0 times, not once"):
        keep_tile_shapes(file)
