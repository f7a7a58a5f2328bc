"""Mirostat's mu, beside the native draw that follows it."""

import numpy as np
import pytest

from kernels.ops.sampling.reference import RowSampling
from service.engine.mirostat import Mirostat
from service.engine.request import MirostatParams
from tests.kernels.ops.sampler import normal_logits, run_sampler


def test_mu_begins_at_twice_tau_and_follows() -> None:
    mirostat = Mirostat(MirostatParams(tau=3.0, eta=0.5))
    assert mirostat.mu == 6.0
    mirostat.observe(5.0)
    assert mirostat.mu == 5.0
    mirostat.observe(1.0)
    assert mirostat.mu == 6.0


@pytest.mark.parametrize("tau", [1.0, 2.5, 5.0])
def test_the_mean_surprise_becomes_tau(tau: float) -> None:
    mirostat = Mirostat(MirostatParams(tau=tau))
    surprises = []
    for position in range(400):
        logits = normal_logits(1, 500, spread=1.5, seed=position)
        row = RowSampling(mirostat_mu=mirostat.mu, seed=3, position=position)
        surprises.append(run_sampler(logits, [row])[0][0].surprise)
        mirostat.observe(surprises[-1])
    assert np.mean(surprises[100:]) == pytest.approx(tau, rel=0.1)
