"""The parity check's own arithmetic, and its verdicts."""

from __future__ import annotations

import numpy as np
import pytest

from tools.parity.measure import F32, Agreement, Disagreement, Likeness, cosines
from tools.parity.report import OURS, PAIRS, PEER, PEER_DECODE, PromptResult, Report, TextResult

LOGITS = np.random.default_rng(0).standard_normal((6, 40), np.float32)
SAME = Likeness.of(LOGITS, LOGITS)


def agreement(num_positions: int, *margins: float) -> Agreement:
    return Agreement(num_positions, tuple(Disagreement(at, 1, 2, margin) for at, margin in enumerate(margins)))


def verdicts(ours: Likeness, peer: Likeness, both: Agreement, itself: Agreement) -> list[str]:
    """Of one prompt, the mean, the share and the margin."""
    agreements = dict.fromkeys(PAIRS, both) | {(PEER_DECODE, PEER): itself}
    text = TextResult("plain", "0", agreements)
    report = Report("tiny", (PromptResult("Once", 6, {OURS: ours, PEER: peer}),), (text,))
    return [bar.verdict for bar in report.bars()]


def test_cosines() -> None:
    np.testing.assert_allclose(cosines(LOGITS, LOGITS), 1)
    np.testing.assert_allclose(cosines(LOGITS, -3 * LOGITS), -1)
    a, b = np.array([[1, 0]], np.float32), np.array([[1, 1]], np.float32)
    assert cosines(a, b) == pytest.approx(0.5**0.5)


def test_one_wrong_position_shows_in_the_worst_and_hardly_in_the_whole() -> None:
    other: F32 = LOGITS.copy()
    other[2] *= -1
    likeness = Likeness.of(other, LOGITS)
    assert likeness.worst == pytest.approx(-1)
    assert likeness.last == pytest.approx(1)
    assert likeness.mean == pytest.approx(4 / 6)
    squares = np.square(LOGITS.astype(np.float64)).sum(axis=1)
    assert likeness.flat == pytest.approx(1 - 2 * squares[2] / squares.sum())


def test_agreement_counts_positions_and_keeps_the_margin_of_the_reference() -> None:
    other: F32 = LOGITS.copy()
    best = LOGITS.argmax(axis=1)
    other[3, (best[3] + 1) % 40] = 100
    found = Agreement.of(other, LOGITS, first=10)
    second, top = np.sort(LOGITS[3])[-2:]
    assert found.share == pytest.approx(5 / 6)
    (each,) = found.disagreements
    assert (each.position, each.ours, each.reference) == (13, (best[3] + 1) % 40, best[3])
    assert each.margin == found.worst_margin == pytest.approx(top - second)
    both = found + Agreement.of(LOGITS, LOGITS)
    assert both.share == pytest.approx(11 / 12)
    assert Agreement.of(LOGITS, LOGITS).worst_margin == 0


def test_bars() -> None:
    near, far = Likeness(0.9991, 0.9, 0.9991, 0.5), Likeness(0.99, 0.9, 0.99, 0.5)
    good, poor = agreement(100, 0.4), agreement(100, 0.1, 0.1, 0.1, 0.1)
    as_llama, missed = "missed, but not by more than llama.cpp", "MISSED"
    assert verdicts(near, near, good, good) == ["met"] * 4
    assert verdicts(near, far, good, poor) == ["met"] * 4
    assert verdicts(far, near, poor, good) == [missed] * 3 + ["met"]
    assert verdicts(far, far, poor, poor) == [as_llama] * 3 + ["met"]
    assert verdicts(near, near, agreement(100, 0.5), good)[-1] == missed
