"""Autotune with benches that take no time of their own: what is chosen, what is remembered, what is left alone."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from kernels.autotune.memory import SUFFIX, forget_all
from kernels.autotune.race import MOST_ROUNDS
from kernels.autotune.task import LEAST_ELEMENTS
from kernels.autotune.tuner import RACE_S, TOTAL_S, Autotuner, Tuning
from kernels.families.variant import Family, MatmulVariant
from kernels.jit.library import KernelLibrary
from kernels.select import Check, choose_matmul, unchecked
from tests.kernels.autotune.fakes import CHOICE, FAMILY, PLAIN, Clock, FakeBenches, family_with, task

FAST = {"candidate1": 5e-4}


def tuner(folder: Path, benches: FakeBenches, check: Check = unchecked, num_threads: int = 1) -> Autotuner:
    return Autotuner(PLAIN, num_threads, 64, KernelLibrary(), check, folder, clock=benches.clock, prepare=benches)


def test_the_fastest_is_chosen_with_its_gain(tmp_path: Path) -> None:
    tune = tuner(tmp_path, FakeBenches(Clock(), FAST))
    (choice,) = tune([task()])
    assert choice.gemm.name.tech == choice.gemv.name.tech == "candidate1"
    assert (choice.gemm_gain, choice.gemv_gain) == pytest.approx((2, 2))
    assert (choice.rhs, choice.family, choice.reason) == (CHOICE.rhs, FAMILY, CHOICE.reason)
    assert choice.gemm_reason == "measured 2.00 times the static one"
    assert tune.outcome is Tuning.MEASURED


def test_weights_come_from_memory_where_a_model_fills_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a GEMV: a question of its own for a model that a cache holds."""
    found = []
    for cache_bytes in (2 * task().num_bytes, 4 * task().num_bytes):
        monkeypatch.setattr("kernels.autotune.tuner.last_level_bytes", lambda size=cache_bytes: size)
        for tasks in ([task()], [task(), task()]):
            benches = FakeBenches(Clock(), FAST, default_s=1e-4)
            tuner(tmp_path, benches)(tasks)
            found.append(benches.turns)
    num_turns = 3 * (1 + MOST_ROUNDS)
    assert found == [[False] * num_turns, [True] * num_turns, [], []]


def test_the_static_one_stays_where_none_is_faster(tmp_path: Path) -> None:
    (choice,) = tuner(tmp_path, FakeBenches(Clock(), {}))([task()])
    assert replace(choice, gemm_gain=None, gemv_gain=None) == CHOICE
    assert choice.gemm_reason == "static, none measured faster"


def test_a_second_start_measures_nothing(tmp_path: Path) -> None:
    tasks = [task(), task(1024), task()]
    first = FakeBenches(Clock(), FAST)
    chosen = tuner(tmp_path, first)(tasks)
    assert first.num_made == 2, "equal shapes are measured once"
    assert chosen[0] == chosen[2]
    second = FakeBenches(Clock(), {})
    again = tuner(tmp_path, second)
    assert again(tasks) == chosen
    assert (second.num_made, second.clock.now_s) == (0, 0)
    assert again.outcome is Tuning.REMEMBERED


def test_a_second_start_loads_only_what_it_chooses(tmp_path: Path) -> None:
    tuner(tmp_path / "tiles", FakeBenches(Clock(), {}))([task()])
    library = KernelLibrary(tmp_path / "objects")
    Autotuner(PLAIN, 1, 64, library, unchecked, tmp_path / "tiles")([task()])
    assert (library.num_compiled, library.num_found) == (0, 0)


@pytest.mark.parametrize("num_threads", [1, 2])
def test_other_threads_are_another_question(tmp_path: Path, num_threads: int) -> None:
    tuner(tmp_path, FakeBenches(Clock(), FAST), num_threads=2)([task()])
    benches = FakeBenches(Clock(), FAST)
    tuner(tmp_path, benches, num_threads=num_threads)([task()])
    assert benches.num_made == (num_threads == 1)


def test_other_candidates_are_another_question(tmp_path: Path) -> None:
    tuner(tmp_path, FakeBenches(Clock(), FAST))([task()])
    benches = FakeBenches(Clock(), FAST)
    tuner(tmp_path, benches)([task(choice=choose_matmul(family_with(1), PLAIN))])
    assert benches.num_made == 1


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"a": 1}', b'{"a": {"gemm": "x"}}', b"\xff\xfe"])
def test_a_damaged_file_is_measured_again(tmp_path: Path, damage: bytes) -> None:
    chosen = tuner(tmp_path, FakeBenches(Clock(), FAST))([task()])
    (path,) = tmp_path.glob(f"*{SUFFIX}")
    path.write_bytes(damage)
    benches = FakeBenches(Clock(), FAST)
    assert tuner(tmp_path, benches)([task()]) == chosen
    assert benches.num_made == 1


def test_names_that_are_unknown_are_the_static_ones(tmp_path: Path) -> None:
    tuner(tmp_path, FakeBenches(Clock(), FAST))([task()])
    (path,) = tmp_path.glob(f"*{SUFFIX}")
    path.write_text(path.read_text().replace('candidate1"', 'gone"'))
    (choice,) = tuner(tmp_path, FakeBenches(Clock(), {}))([task()])
    assert (choice.gemm, choice.gemv) == (CHOICE.gemm, CHOICE.gemv)


def failing(tech: str) -> Check:
    def check(family: Family, gemm: MatmulVariant, gemv: MatmulVariant) -> str | None:
        return f"{tech} is broken" if tech in (gemm.name.tech, gemv.name.tech) else None

    return check


def test_what_fails_its_self_test_is_never_run_and_never_chosen(tmp_path: Path) -> None:
    benches = FakeBenches(Clock(), {"candidate1": 1e-4, "candidate0": 5e-4})
    (choice,) = tuner(tmp_path, benches, failing("candidate1"))([task()])
    assert choice.gemm.name.tech == choice.gemv.name.tech == "candidate0"
    assert not [name for name in benches.raced if "candidate1" in name]


def test_what_fails_its_self_test_later_is_not_taken_from_memory(tmp_path: Path) -> None:
    (before,) = tuner(tmp_path, FakeBenches(Clock(), FAST))([task()])
    assert before.gemm.name.tech == "candidate1"
    (after,) = tuner(tmp_path, FakeBenches(Clock(), FAST), failing("candidate1"))([task()])
    assert after == CHOICE


def test_the_time_of_all_is_bounded(tmp_path: Path) -> None:
    """Whatever runs and preparations take: what is not reached stays static, and is remembered so."""
    for run_s, ready_s in ((1e-3, 0.0), (1e-3, 0.02), (8e-3, 0.1), (0.3, 0.0)):
        benches = FakeBenches(Clock(), {"candidate1": run_s / 2}, run_s, ready_s)
        chosen = tuner(tmp_path / f"{run_s}-{ready_s}", benches)([task(64 * n, 1024) for n in range(1, 101)])
        one_task_s = ready_s + 2 * max(RACE_S, 3 * run_s)
        assert benches.clock.now_s <= TOTAL_S + one_task_s
        assert benches.num_made < len(chosen)
        assert chosen[-1].gemm_reason == "static"


def test_a_task_takes_no_more_than_two_races(tmp_path: Path) -> None:
    benches = FakeBenches(Clock(), {}, default_s=2e-3)
    tuner(tmp_path, benches)([task()])
    assert 0 < benches.clock.now_s <= 2 * RACE_S


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_only_read_keeps_the_static_choice(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    check_unkept(tmp_path / "tiles")
    tmp_path.chmod(0o755)


def test_a_folder_that_cannot_be_made_keeps_the_static_choice() -> None:
    check_unkept(Path("/proc/none/tiles"))


def check_unkept(folder: Path) -> None:
    benches = FakeBenches(Clock(), FAST)
    library = KernelLibrary()
    tune = Autotuner(PLAIN, 1, 64, library, unchecked, folder, clock=benches.clock, prepare=benches)
    assert tune([task()]) == [CHOICE]
    assert (benches.num_made, library.num_compiled, library.num_found) == (0, 0, 0)
    assert tune.outcome is Tuning.STATIC


def test_small_matrices_and_families_of_one_tile_are_left_alone(tmp_path: Path) -> None:
    benches = FakeBenches(Clock(), FAST)
    alone = choose_matmul(family_with(0), PLAIN)
    tune = tuner(tmp_path, benches)
    assert tune([task(32, LEAST_ELEMENTS // 32 - 32), task(choice=alone)]) == [CHOICE, alone]
    assert benches.num_made == 0
    assert tune.outcome is Tuning.STATIC
    assert list(tmp_path.iterdir()) == []


def test_not_wanted_it_does_nothing(tmp_path: Path) -> None:
    tuner(tmp_path, FakeBenches(Clock(), FAST))([task()])
    benches = FakeBenches(Clock(), FAST)
    tune = Autotuner(
        PLAIN,
        1,
        64,
        KernelLibrary(),
        failing("candidate1"),
        tmp_path,
        wanted=False,
        clock=benches.clock,
        prepare=benches,
    )
    assert tune([task(), task(1024)]) == [CHOICE, CHOICE]
    assert benches.num_made == 0
    assert tune.outcome is Tuning.OFF


def test_forget_all(tmp_path: Path) -> None:
    tuner(tmp_path, FakeBenches(Clock(), FAST))([task()])
    assert forget_all(tmp_path) == 1
    benches = FakeBenches(Clock(), FAST)
    tuner(tmp_path, benches)([task()])
    assert benches.num_made == 1
