"""What is left of a CPU's features once Linux has been asked for the tile registers."""

from __future__ import annotations

import platform

import pytest

from kernels.cpu import detect_cpu
from kernels.cpu.tile_permission import TILE_FEATURES, tiles_permitted, usable_features


def test_a_cpu_without_tiles_is_not_asked_about() -> None:
    features = frozenset({"avx2", "fma"})
    assert usable_features(features) is features


@pytest.mark.skipif(platform.machine() != "x86_64", reason="x86 alone has AMX")
def test_tiles_stay_only_where_linux_grants_them() -> None:
    features = frozenset({"avx2", *TILE_FEATURES})
    assert usable_features(features) == (features if tiles_permitted() else frozenset({"avx2"}))
    assert tiles_permitted() or TILE_FEATURES.isdisjoint(detect_cpu().features)
