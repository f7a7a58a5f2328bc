"""A run on a text, beside the f32 oracle's, and files that are made by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from kernels.quant.error_compensation import Compensation
from service.errors import SettingsError
from service.gguf.reader import GGUFFile, open_gguf
from service.loader import load_model
from service.quantise.activations import moment_bytes, second_moments
from service.quantise.calibration import MAX_WINDOWS, WINDOW_TOKENS, Calibration, windows_of
from service.quantise.recipe import Wish
from service.quantise.write import quantise
from service.settings import Settings
from tests.oracle import F32, Oracle, dequantised

PathOf = Callable[..., Path]
OWN = {"embedding": 128, "ffn": 256, "heads": 4, "head_dim": 32, "weight_type": "F32", "context": 512}
MODELS: Mapping[str, Mapping[str, Any]] = {
    "llama": {},
    "qwen2": {"biases": ("attn_q", "attn_k", "attn_v")},
    "gemma2": {"post_norms": True, "numbers": {"attention.sliding_window": 24}},
    "phi3": {"fused": True},
}
WINDOWS = [np.array(ids, np.int64) for ids in ([5, 80, 200, 31, 7, 7, 100], [354, 9, 250], [1])]


class WatchedOracle(Oracle):
    """Sums x x^T of every product's inputs."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.moments: dict[str, npt.NDArray[np.float64]] = {}

    def _product(self, x: F32, name: str) -> F32:
        wide = x.astype(np.float64)
        moments = self.moments.setdefault(f"{name}.weight", np.zeros((x.shape[1], x.shape[1])))
        moments += wide.T @ wide
        return super()._product(x, name)


@pytest.mark.parametrize("architecture", MODELS)
@pytest.mark.parametrize("max_step_tokens", [2, 64])
def test_moments_are_those_of_the_oracle(tiny_gguf_of: PathOf, architecture: str, max_step_tokens: int) -> None:
    path = tiny_gguf_of(**OWN, architecture=architecture, **MODELS[architecture])
    oracle = WatchedOracle(path)
    for window in WINDOWS:
        oracle.logits(window.tolist())
    model = load_model(path, Settings(threads=2, max_batch=1, max_step_tokens=max_step_tokens, kv_type="f32"))
    wanted = [name for name in oracle.moments if name.startswith("blk.1.")]
    try:
        found = second_moments(model, WINDOWS, wanted)
        assert moment_bytes(model, wanted) == sum({id(each): each.nbytes for each in found.values()}.values())
    finally:
        model.close()
    assert set(wanted) <= set(found)
    for name in wanted:
        expected = oracle.moments[name]
        np.testing.assert_allclose(found[name], expected, atol=1e-4 * np.abs(expected).max(), err_msg=name)


def test_tensors_of_one_matmul_share_what_is_known() -> None:
    first, second = np.eye(64, dtype=np.float32), 2 * np.eye(64, dtype=np.float32)
    calibration = Calibration({"gate": first, "up": first, "down": second})
    known = calibration.of("gate")
    assert isinstance(known, Compensation)
    assert calibration.of("up") is known
    assert calibration.of("down") is not known
    assert calibration.of("norm") is None


def made(source: Path, target: Path, kind: str, text: Path | None) -> None:
    quantise(source, target, Wish(kind), lambda *_: None, text, Settings(threads=1))


@pytest.mark.parametrize("kind", ["8da4w-g32", "8da4w-g64", "mixed48"])
def test_products_on_the_text_change_less(tiny_gguf_of: PathOf, tmp_path: Path, kind: str) -> None:
    source, text = tiny_gguf_of(**OWN), tmp_path / "text.txt"
    text.write_text("a sponge is an animal, " * 400)
    made(source, tmp_path / "plain.gguf", kind, None)
    made(source, tmp_path / "calibrated.gguf", kind, text)
    oracle = WatchedOracle(source)
    model = load_model(source, Settings(threads=1))
    ids = model.tokenizer.encode(text.read_text())[:WINDOW_TOKENS]
    model.close()
    oracle.logits(ids)
    with (
        open_gguf(source) as f32,
        open_gguf(tmp_path / "plain.gguf") as plain,
        open_gguf(tmp_path / "calibrated.gguf") as calibrated,
    ):
        assert {name: (each.type, each.shape) for name, each in plain.tensors.items()} == {
            name: (each.type, each.shape) for name, each in calibrated.tensors.items()
        }
        for name in (name for name, each in plain.tensors.items() if ".ffn_" in name and len(each.shape) > 1):

            def product_error(file: GGUFFile, name: str = name) -> float:
                lost = dequantised(file, name) - dequantised(f32, name)
                return float(np.einsum("nk,kl,nl->", lost, oracle.moments[name], lost))

            assert product_error(calibrated) < 0.8 * product_error(plain), name


def test_refusals(tiny_gguf_of: PathOf, tmp_path: Path) -> None:
    source, target, text = tiny_gguf_of(**OWN), tmp_path / "out.gguf", tmp_path / "text.txt"
    text.write_text("too short")
    with pytest.raises(SettingsError, match=r"text\.txt has \d+ tokens; to calibrate takes 512 at least"):
        made(source, target, "8da4w-g64", text)
    with pytest.raises(SettingsError, match="type q4_0 takes no calibration"):
        made(source, target, "q4_0", text)
    with pytest.raises(SettingsError, match="is a folder; to calibrate, make a GGUF file of it first"):
        made(tmp_path, target, "8da4w-g64", text)
    text.write_bytes(b"\xff" * 9)
    with pytest.raises(SettingsError, match=r"text\.txt is no UTF-8"):
        made(source, target, "8da4w-g64", text)
    assert list(tmp_path.iterdir()) == [text]


def test_windows_are_spread_over_a_long_text(tiny_gguf_of: PathOf, tmp_path: Path) -> None:
    model = load_model(tiny_gguf_of(**OWN), Settings(threads=1))
    text = " ".join(str(number) for number in range(20_000))
    try:
        windows = windows_of(model, text, "numbers")
        ids = model.tokenizer.encode(text)
    finally:
        model.close()
    assert len(windows) == MAX_WINDOWS
    assert {len(window) for window in windows} == {WINDOW_TOKENS}
    last = len(ids) // WINDOW_TOKENS * WINDOW_TOKENS
    np.testing.assert_array_equal(windows[-1][1:], ids[last - WINDOW_TOKENS + 1 : last])
