"""A tiny model on a text: its own logits give no divergence, and the numbers are those of the plain forward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.errors import SettingsError
from service.quality.evaluate import Wishes, evaluate
from service.quality.measures import log_probabilities
from service.quality.report import Quality, as_lines
from service.quality.windows import cut_windows
from service.settings import Settings
from service.tokenizer import Tokenizer
from tests.oracle import oracle_logits
from tests.tiny_gguf import TEXT

SETTINGS = Settings(threads=1)


@pytest.fixture
def wishes(tmp_path: Path) -> Wishes:
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    return Wishes(text, context=64)


def run(path: Path, wishes: Wishes, settings: Settings = SETTINGS) -> Quality:
    shown: list[tuple[int, int]] = []
    found = evaluate(path, wishes, settings, lambda done, windows: shown.append((done, windows)))
    assert shown == [(index + 1, found.num_windows) for index in range(found.num_windows)]
    return found


def test_windows() -> None:
    windows = list(cut_windows(range(100, 230), 64, bos_id=7))
    assert [window.ids[:2].tolist() for window in windows] == [[7, 101], [7, 165]]
    assert windows[0].first == 32
    assert windows[0].num_scored == 31
    assert windows[0].next_ids.tolist() == list(range(133, 164))
    assert len(list(cut_windows(range(130), 64, None, most=1))) == 1


def test_perplexity_is_that_of_the_plain_forward_pass(
    tiny_gguf_of: Callable[..., Path], tokenizer_of_tiny: Tokenizer, wishes: Wishes
) -> None:
    path = tiny_gguf_of(weight_type="F32")
    losses: list[float] = []
    for window in cut_windows(tokenizer_of_tiny.encode(TEXT), 64, None):
        log_p = log_probabilities(oracle_logits(path, window.ids.tolist())[window.first : -1])
        losses += (-log_p[np.arange(len(log_p)), window.next_ids]).tolist()
    found = run(path, wishes)
    assert found.num_scored == len(losses)
    assert found.perplexity.value == pytest.approx(np.exp(np.mean(losses)), rel=1e-3)


def test_beside_itself_and_another(tiny_gguf_of: Callable[..., Path], wishes: Wishes, tmp_path: Path) -> None:
    path, coarse = tiny_gguf_of(weight_type="F32"), tiny_gguf_of(weight_type="Q4_0")
    saved = tmp_path / "logits"
    exact = Settings(threads=1, kv_type="f32")  # as a reference has it
    alone = run(path, replace(wishes, save=saved), exact)
    assert (alone.mean_kl, alone.reference_perplexity) == (None, None)
    for reference in ({"logits": saved}, {"reference": path}):
        same = run(path, replace(wishes, **reference), exact)  # type: ignore[arg-type]
        assert same.mean_kl is not None
        assert same.same_best is not None
        assert abs(same.mean_kl.value) < 1e-12
        assert same.same_best.value == 1
        assert same.reference_perplexity == same.perplexity
        assert len(as_lines(same)) == 5
    other = run(coarse, replace(wishes, logits=saved))
    assert other.mean_kl is not None
    assert other.mean_kl.value > 1e-4


def test_refusals(tiny_gguf: Path, wishes: Wishes, tmp_path: Path) -> None:
    saved, short = tmp_path / "logits", tmp_path / "short.txt"
    short.write_text("a")
    run(tiny_gguf, replace(wishes, save=saved))
    for changed, message in (
        (replace(wishes, context=8), "a window has at least 32 tokens"),
        (replace(wishes, context=4096), "more than the model's context of 256"),
        (replace(wishes, text=short), "has 1 tokens; a window has 64: pass a smaller --ctx"),
        (replace(wishes, logits=saved, reference=tiny_gguf), "not both"),
        (replace(wishes, logits=saved, context=32), "another text, context or tokenizer"),
        (replace(wishes, logits=wishes.text), "holds no saved logits"),
    ):
        with pytest.raises(SettingsError, match=message):
            run(tiny_gguf, changed)
    saved.write_bytes(saved.read_bytes()[:-4])
    with pytest.raises(SettingsError, match="bytes of logits"):
        run(tiny_gguf, replace(wishes, logits=saved))


def test_half_a_file_is_never_left(tiny_gguf: Path, wishes: Wishes, tmp_path: Path) -> None:
    def stop(done: int, windows: int) -> None:
        raise KeyboardInterrupt

    saved = tmp_path / "saved"
    with pytest.raises(KeyboardInterrupt):
        evaluate(tiny_gguf, replace(wishes, save=saved), SETTINGS, stop)
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]
