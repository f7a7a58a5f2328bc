"""Roofs are measured once a boot, and again whenever what was kept is not usable."""

from pathlib import Path

import pytest

from kernels.peaks.measure import Peaks
from kernels.peaks.remembered import remembered_peaks

PEAKS = Peaks("scalar", 2, 1e10, {"int8": 2e11, "f32": 1e11})


class Machine:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.boot_id = folder / "boot_id"
        self.boot_id.write_text("first\n")
        self.num_measured = 0

    def _measure(self) -> Peaks:
        self.num_measured += 1
        return PEAKS

    def peaks(self, num_threads: int = 2) -> Peaks:
        return remembered_peaks(self.folder / "peaks", "scalar", num_threads, "core", self._measure, self.boot_id)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_second_start_measures_nothing(machine: Machine) -> None:
    assert machine.peaks() == machine.peaks() == PEAKS
    assert machine.num_measured == 1


def test_another_boot_or_team_measures_anew(machine: Machine) -> None:
    machine.peaks()
    machine.boot_id.write_text("second\n")
    machine.peaks()
    machine.peaks(num_threads=1)
    assert machine.num_measured == 3


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"rung": "scalar"', '{"rung": "avx2", "num_threads": 2, "bytes_per_s": 1}']
)
def test_a_damaged_file_is_measured_over(machine: Machine, text: str) -> None:
    machine.peaks()
    (kept,) = (machine.folder / "peaks").iterdir()
    kept.write_text(text)
    assert machine.peaks() == machine.peaks() == PEAKS
    assert machine.num_measured == 2


def test_without_a_place_or_a_boot_id_it_measures_every_time(machine: Machine) -> None:
    (machine.folder / "peaks").write_text("in the way")
    machine.peaks()
    machine.peaks()
    machine.boot_id.unlink()
    machine.peaks()
    assert machine.num_measured == 3
