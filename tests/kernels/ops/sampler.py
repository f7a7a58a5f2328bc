"""The sampling ops as a function of logits and rows, to be held beside their twin."""

from typing import Any

import numpy as np
import pytest

from kernels.ops.sampling import SampleOp
from kernels.ops.sampling.reference import RowSampled, RowSampling
from kernels.runtime.abi import SAMPLING
from kernels.runtime.program import ProgramBuilder
from tests.kernels.ops.steps import HandStep

GREEDY = RowSampling(temperature=0.0)


def records_of(rows: list[RowSampling]) -> tuple[np.ndarray, list[np.ndarray]]:
    """SAMPLING[R] and what its addresses need kept."""
    records, kept = np.zeros(len(rows), SAMPLING), []
    for record, row in zip(records, rows, strict=True):
        for name in (
            "temperature", "top_k", "top_p", "min_p", "num_top", "position",
            "typical_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
            "xtc_probability", "xtc_threshold", "dry_allowed_length", "dry_multiplier", "dry_base",
        ):  # fmt: skip
            record[name] = getattr(row, name)
        if row.mirostat_mu is not None:
            record["is_mirostat"], record["mirostat_mu"] = 1, row.mirostat_mu
        if row.history:
            history = np.array(row.history, np.int32)
            record["num_history"], record["history"] = len(history), history.ctypes.data
            kept.append(history)
        if row.seen:
            seen, counts = (np.array(column, np.int32) for column in zip(*row.seen, strict=True))
            record["num_seen"], record["seen_ids"], record["seen_counts"] = (
                len(seen),
                seen.ctypes.data,
                counts.ctypes.data,
            )
            kept += [seen, counts]
        record["seed"] = np.uint64(row.seed).astype(np.int64)
        if row.bias:
            ids = np.array([token for token, _ in row.bias], np.int32)
            values = np.array([bias for _, bias in row.bias], np.float32)
            record["num_bias"], record["bias_ids"], record["bias_values"] = (
                len(ids),
                ids.ctypes.data,
                values.ctypes.data,
            )
            kept += [ids, values]
        if row.allowed is not None:
            mask = np.zeros(5000, np.uint32)
            for token in row.allowed:
                mask[token // 32] |= np.uint32(1 << token % 32)
            record["mask"] = mask.ctypes.data
            kept.append(mask)
    return records, kept


def run_sampler(logits: np.ndarray, rows: list[RowSampling], num_threads: int = 1) -> tuple[list[RowSampled], Any]:
    """Also returns the SAMPLED records; asserts that the logits are left alone."""
    builder = ProgramBuilder()
    buffer = builder.buffer("logits", np.float32, logits.shape)
    SampleOp("sample", buffer).add(builder)
    program = builder.build()
    program.view(buffer)[:] = logits
    records, kept = records_of(rows)
    step = HandStep(len(rows), sampling=records)
    step.run(program, num_threads)
    del kept
    np.testing.assert_array_equal(program.view(buffer), logits)
    found = [
        RowSampled(
            int(row["token"]),
            float(row["logprob"]),
            tuple(zip(row["top_ids"].tolist(), row["top_logprobs"].tolist(), strict=True))[: row["num_top"]],
            float(row["surprise"]),
        )
        for row in step.sampled
    ]
    return found, step.sampled


def assert_same(found: RowSampled, expected: RowSampled) -> None:
    assert found.token == expected.token
    assert found.logprob == pytest.approx(expected.logprob, abs=2e-5)
    assert [token for token, _ in found.top] == [token for token, _ in expected.top]
    np.testing.assert_allclose([p for _, p in found.top], [p for _, p in expected.top], atol=2e-5)
    assert found.surprise == pytest.approx(expected.surprise, abs=1e-4)


def normal_logits(num_rows: int, vocab: int, spread: float = 3.0, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((num_rows, vocab)) * spread + 5).astype(np.float32)
