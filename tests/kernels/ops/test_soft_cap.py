"""The soft cap of the logits against its twin, for any width and division of work."""

import numpy as np
import numpy.typing as npt
import pytest

from kernels.ops.soft_cap import SoftCapOp, soft_cap
from kernels.runtime.program import ProgramBuilder
from tests.kernels.ops.steps import HandStep


def capped(logits: npt.NDArray[np.float32], cap: float, num_threads: int = 2) -> npt.NDArray[np.float32]:
    builder = ProgramBuilder()
    buffer = builder.buffer("logits", np.float32, (logits.shape[0] + 1, logits.shape[1]))
    SoftCapOp("soft_cap", buffer, cap).add(builder)
    program = builder.build()
    view = program.view(buffer)
    view[:-1], view[-1] = logits, 99
    HandStep(1, logit_rows=np.zeros(len(logits))).run(program, num_threads)
    assert (view[-1] == 99).all(), "a row that nobody samples was written"
    return view[:-1].copy()


@pytest.mark.parametrize("width", [1, 16, 379, 4096, 9001])
def test_against_the_twin(width: int) -> None:
    logits = (60 * np.random.default_rng(width).standard_normal((3, width))).astype(np.float32)
    logits.flat[0] = 1e6
    logits.flat[-1] = -1e6
    for num_threads in (1, 3):
        out = capped(logits, 30.0, num_threads)
        np.testing.assert_allclose(out, soft_cap(logits, 30.0), rtol=0, atol=30 * 4 * 2.0**-24)


def test_what_is_not_finite_stays_so() -> None:
    """The sampler has to see it to refuse the row."""
    logits = np.array([[1.0, np.nan, 2.0] * 8, [np.inf, -np.inf, 3.0] * 8], np.float32)
    assert np.isnan(capped(logits, 30.0)).sum() == 8 + 16
