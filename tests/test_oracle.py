"""The oracle is checked where a mistake of its own would show: by properties, and by values that llama.cpp gave."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.oracle import Oracle, oracle_logits

PROMPT = [324, 311, 269, 261, 316, 40, 77]
TYPES = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]


@pytest.mark.parametrize("weight_type", TYPES)
@pytest.mark.parametrize("tied", [True, False])
def test_logits_are_alive(tiny_gguf_of: Callable[..., Path], weight_type: str, tied: bool) -> None:
    logits = oracle_logits(tiny_gguf_of(weight_type=weight_type, tied=tied), PROMPT)
    assert logits.shape == (7, 379)
    assert logits.dtype == np.float32
    assert np.all((logits.std(axis=1) > 1) & (logits.std(axis=1) < 10))
    assert len(set(logits.argmax(axis=1))) > 3


def test_a_position_sees_what_is_before_it_and_nothing_else(tiny_gguf: Path) -> None:
    logits = oracle_logits(tiny_gguf, PROMPT)
    other = oracle_logits(tiny_gguf, [*PROMPT[:4], 50, 51, 52])
    np.testing.assert_allclose(logits[:4], other[:4], rtol=0, atol=1e-5)
    assert np.abs(logits[4:] - other[4:]).max(axis=1).min() > 0.5
    first = oracle_logits(tiny_gguf, [50, *PROMPT[1:]])
    assert np.abs(logits[-1] - first[-1]).max() > 0.1


def test_the_order_of_the_past_matters(tiny_gguf: Path) -> None:
    swapped = [PROMPT[1], PROMPT[0], *PROMPT[2:]]
    assert np.abs(oracle_logits(tiny_gguf, PROMPT)[-1] - oracle_logits(tiny_gguf, swapped)[-1]).max() > 0.05


def test_rotation_depends_on_the_distance_only(tiny_gguf: Path) -> None:
    oracle = Oracle(tiny_gguf)
    random = np.random.default_rng(0)
    q, k = (random.standard_normal((1, 1, oracle.head_dim), dtype=np.float32) for _ in range(2))

    def product(query_at: int, key_at: int) -> float:
        turned = (oracle._rotated(x, np.array([at])) for x, at in ((q, query_at), (k, key_at)))
        return float(np.vdot(*turned))

    assert product(7, 3) == pytest.approx(product(104, 100), abs=1e-4)
    assert product(7, 3) != pytest.approx(product(7, 4), abs=1e-2)
