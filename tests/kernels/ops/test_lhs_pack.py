"""Producing and packing the LHS: rows against float64 twins, packed bytes against the layouts' own packing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from kernels.cpu import detect_cpu
from kernels.jit.library import KernelLibrary
from kernels.ladder import rungs_for
from kernels.ops.lhs_pack import GegluRows, LhsPackOp, LhsRows, NormedRows, PlainRows, SwigluRows
from kernels.ops.rms_norm import rms_normalise
from kernels.ops.swiglu import geglu, swiglu
from kernels.registry import FAMILIES, family_for
from kernels.runtime.abi import MIXED, STEP
from kernels.runtime.executor import Executor
from kernels.runtime.program import Buffer, ProgramBuilder
from kernels.select import MatmulChoice, choose_matmul

Floats = npt.NDArray[np.float32]
CPU = detect_cpu()
MAX_ROWS = 40
ROW_COUNTS = (1, 2, 3, 7, 8, 9, 33, 40)
CHOICES = [choose_matmul(family, CPU, rung.name) for family in FAMILIES for rung in rungs_for(CPU)]
FLOATS = choose_matmul(family_for("F32"), CPU)  # its layout is the rows themselves
EVERY_CHOICE = pytest.mark.parametrize(
    "choice", CHOICES, ids=lambda choice: f"{choice.family.source}-{choice.rung.name}"
)


@pytest.fixture(scope="module")
def library() -> KernelLibrary:
    return KernelLibrary()


class PackStep:
    """A program of one packing op over `x` (and `delta`), each MAX_ROWS rows."""

    def __init__(
        self, library: KernelLibrary, choice: MatmulChoice, x: Floats, k: int, kind: str, **options: Any
    ) -> None:
        builder = ProgramBuilder()
        self.choice, self.k = choice, k
        num_threads = options.pop("num_threads", 2)
        is_logits = options.pop("is_logits", False)
        self._x = builder.buffer("x", np.float32, (MAX_ROWS, x.shape[1]))
        self._delta = builder.buffer("delta", np.float32, (MAX_ROWS, x.shape[1]))
        num_bytes = max(v.lhs.panel_bytes(k) * -(-MAX_ROWS // v.lhs.mr) for v in (choice.gemm, choice.gemv))
        dst = builder.buffer("lhs", np.uint8, (num_bytes,))
        op = LhsPackOp("pack", choice, self._rows(kind, builder, **options), k, dst, is_logits)
        op.add(builder, library)
        self.program = builder.build()
        self.x, self.delta = self.program.view(self._x), self.program.view(self._delta)
        self.x[: x.shape[0]] = x
        self._dst = self.program.view(dst)
        self._executor = Executor(self.program, num_threads)

    def _rows(
        self,
        kind: str,
        builder: ProgramBuilder,
        weight: Floats | None = None,
        eps: float = 0,
        add: bool = False,
        bias: Floats | None = None,
        delta_norm: Floats | None = None,
    ) -> LhsRows:
        builder.keep(weight, bias, delta_norm)
        at_weight, at_bias, at_norm = (0 if a is None else int(a.ctypes.data) for a in (weight, bias, delta_norm))
        if kind == "plain":
            return PlainRows(self._x)
        if kind in ("swiglu", "geglu"):
            return (SwigluRows if kind == "swiglu" else GegluRows)(self._x, at_bias)
        delta: Buffer | None = self._delta if add else None
        return NormedRows(self._x, at_weight, eps, delta, at_bias, at_norm)

    def __enter__(self) -> PackStep:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.close()

    def run(self, num_rows: int, logit_rows: Sequence[int] = ()) -> npt.NDArray[np.uint8]:
        """The packed LHS of a step of `num_rows` tokens, or of its sampled rows."""
        self._dst[:] = 0
        sampled = np.array(logit_rows, np.int32)
        step: Any = np.zeros(1, STEP)
        step["num_tokens"], step["num_logit_rows"], step["phase"] = num_rows, len(logit_rows), MIXED
        step["logit_rows"] = sampled.ctypes.data
        self._executor.run(int(step.ctypes.data))
        count = len(logit_rows) or num_rows
        lhs = self.choice.gemv.lhs if count == 1 else self.choice.gemm.lhs
        num_bytes = -(-count // lhs.mr) * lhs.panel_bytes(self.k)
        assert not self._dst[num_bytes:].any(), "bytes past the last panel were written"
        return self._dst[:num_bytes].copy()

    def packed(self, rows: Floats) -> npt.NDArray[np.uint8]:
        """What the layout itself makes of these rows."""
        lhs = self.choice.gemv.lhs if rows.shape[0] == 1 else self.choice.gemm.lhs
        return lhs.pack(rows).reshape(-1)

    def charged(self) -> set[tuple[str, int]]:
        return {(stats.kernel, stats.units) for stats in self._executor.kernel_stats()}


def random_rows(num_rows: int, num_columns: int, seed: int = 0) -> Floats:
    """Rows of very different size, which a norm brings together."""
    random = np.random.default_rng(seed)
    rows = random.standard_normal((num_rows, num_columns)) * 10.0 ** random.integers(-3, 3, (num_rows, 1))
    return rows.astype(np.float32)


@EVERY_CHOICE
def test_plain_rows(library: KernelLibrary, choice: MatmulChoice) -> None:
    """Byte for byte as the layout packs them; rows may be the first columns of wider ones."""
    k = 3 * choice.gemm.lhs.part_elements
    x = random_rows(MAX_ROWS, k + 32)
    with PackStep(library, choice, x, k, "plain") as step:
        for num_rows in ROW_COUNTS:
            np.testing.assert_array_equal(step.run(num_rows), step.packed(np.ascontiguousarray(x[:num_rows, :k])))


@EVERY_CHOICE
@pytest.mark.parametrize("kind", ["rms_norm", "swiglu"])
def test_made_rows_are_packed_as_they_are(library: KernelLibrary, choice: MatmulChoice, kind: str) -> None:
    """The bytes that the layout makes of the rows that the float layout shows."""
    k = 2 * choice.gemm.lhs.part_elements
    x = random_rows(MAX_ROWS, 2 * k if kind == "swiglu" else k)
    options = {} if kind == "swiglu" else {"weight": random_rows(1, k, 1)[0], "eps": 1e-5}
    with PackStep(library, FLOATS, x, k, kind, **options) as shown:
        rows = shown.run(MAX_ROWS).view(np.float32).reshape(MAX_ROWS, k)
    with PackStep(library, choice, x, k, kind, **options) as step:
        for num_rows in ROW_COUNTS:
            np.testing.assert_array_equal(step.run(num_rows), step.packed(rows[:num_rows]))


@pytest.mark.parametrize("k", [32, 64, 576, 1536])
def test_rms_norm(library: KernelLibrary, k: int) -> None:
    x, weight = random_rows(MAX_ROWS, k), random_rows(1, k, 1)[0]
    x[5] = 0
    with PackStep(library, FLOATS, x, k, "rms_norm", weight=weight, eps=1e-5) as step:
        rows = step.run(MAX_ROWS).view(np.float32).reshape(MAX_ROWS, k)
        np.testing.assert_array_equal(step.x, x)
    np.testing.assert_allclose(rows, rms_normalise(x, weight, 1e-5), rtol=(k / 16 + 8) * 2.0**-24, atol=0)


def test_residual_is_added_once(library: KernelLibrary) -> None:
    k = 96
    x, delta, weight = random_rows(MAX_ROWS, k), random_rows(MAX_ROWS, k, 2), np.ones(k, np.float32)
    with PackStep(library, FLOATS, x + delta, k, "rms_norm", weight=weight, eps=1e-6) as expected:
        rows = expected.run(MAX_ROWS)
    with PackStep(library, FLOATS, x, k, "rms_norm", weight=weight, eps=1e-6, add=True) as step:
        step.delta[:] = delta
        np.testing.assert_array_equal(step.run(MAX_ROWS), rows)
        np.testing.assert_array_equal(step.x, x + delta)


@pytest.mark.parametrize("is_logits", [False, True])
def test_the_residual_has_a_bias_and_a_norm(library: KernelLibrary, is_logits: bool) -> None:
    """x + norm(delta + bias), and each without the other."""
    k = 96
    x, delta, bias = random_rows(MAX_ROWS, k), random_rows(MAX_ROWS, k, 2), random_rows(1, k, 3)[0]
    ones, delta_norm = np.ones(k, np.float32), random_rows(1, k, 4)[0]
    for with_bias, with_norm in ((True, False), (False, True), (True, True)):
        expected = delta + bias if with_bias else delta
        expected = x + (rms_normalise(expected, delta_norm, 1e-6) if with_norm else expected)
        options = {"bias": bias if with_bias else None, "delta_norm": delta_norm if with_norm else None}
        arguments = {"weight": ones, "eps": 1e-6, "add": True, "is_logits": is_logits, **options}
        with PackStep(library, FLOATS, x, k, "rms_norm", **arguments) as step:
            step.delta[:] = delta
            rows = step.run(MAX_ROWS, list(range(MAX_ROWS)) if is_logits else ()).view(np.float32)
            np.testing.assert_allclose(step.x, x if is_logits else expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(rows.reshape(-1, k), rms_normalise(expected, ones, 1e-6), rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("logit_rows", [[3], [0, 39], [7, 7, 2, 30, 31], list(range(40))])
def test_sampled_rows(library: KernelLibrary, logit_rows: list[int]) -> None:
    """Gathered in their order, with the residual added, x as it was: a row may be sampled twice."""
    k = 64
    x, delta, weight = random_rows(MAX_ROWS, k), random_rows(MAX_ROWS, k, 2), random_rows(1, k, 1)[0]
    with PackStep(library, FLOATS, x + delta, k, "rms_norm", weight=weight, eps=1e-6) as expected:
        rows = expected.run(MAX_ROWS).view(np.float32).reshape(MAX_ROWS, k)
    options = {"weight": weight, "eps": 1e-6, "add": True, "is_logits": True}
    with PackStep(library, FLOATS, x, k, "rms_norm", **options) as step:
        step.delta[:] = delta
        out = step.run(MAX_ROWS, logit_rows).view(np.float32).reshape(-1, k)
        np.testing.assert_array_equal(out, rows[logit_rows])
        np.testing.assert_array_equal(step.x, x)


def test_swiglu(library: KernelLibrary) -> None:
    """Within 4 ulp of float64 where it is not tiny; large gates of either sign neither overflow nor become NaN."""
    k = 256
    x = np.random.default_rng(0).standard_normal((MAX_ROWS, 2 * k)).astype(np.float32)
    x[:, :k] *= 8
    x[3, :8] = [0, -0.0, 80, -80, 1000, -1000, 1e6, -1e6]
    with PackStep(library, FLOATS, x, k, "swiglu") as step:
        rows = step.run(MAX_ROWS).view(np.float32).reshape(MAX_ROWS, k)
    np.testing.assert_allclose(rows, swiglu(x), rtol=4 * 2.0**-23, atol=1e-30)


def test_geglu(library: KernelLibrary) -> None:
    """Near float64 with the tanh written out; large gates of either sign neither overflow nor become NaN."""
    k = 256
    x = np.random.default_rng(0).standard_normal((MAX_ROWS, 2 * k)).astype(np.float32)
    x[:, :k] *= 4
    x[3, :8] = [0, -0.0, 80, -80, 1000, -1000, 1e6, -1e6]
    with PackStep(library, FLOATS, x, k, "geglu") as step:
        rows = step.run(MAX_ROWS).view(np.float32).reshape(MAX_ROWS, k)
    # The exponent's rounding grows with it, and where it is large the result is next to nothing.
    np.testing.assert_allclose(rows, geglu(x), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize(("kind", "twin"), [("swiglu", swiglu), ("geglu", geglu)])
def test_gates_have_a_bias(library: KernelLibrary, kind: str, twin: Callable[[Floats], Floats]) -> None:
    k = 64
    x, bias = np.random.default_rng(5).standard_normal((2, MAX_ROWS, 2 * k)).astype(np.float32)
    with PackStep(library, FLOATS, x, k, kind, bias=bias[0]) as step:
        rows = step.run(MAX_ROWS).view(np.float32).reshape(MAX_ROWS, k)
    np.testing.assert_allclose(rows, twin(x + bias[0]), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("kind", ["plain", "rms_norm", "swiglu"])
def test_threads_and_company_change_no_bit(library: KernelLibrary, kind: str) -> None:
    """A row alone, among others, and by teams of 1, 2 and 3 threads."""
    k = 64
    x = random_rows(MAX_ROWS, 2 * k if kind == "swiglu" else k)
    options = {"weight": np.ones(k, np.float32), "eps": 1e-5} if kind == "rms_norm" else {}
    choice = choose_matmul(family_for("Q4_0"), CPU)
    with PackStep(library, choice, x, k, kind, num_threads=1, **options) as alone:
        expected = {num_rows: alone.run(num_rows) for num_rows in ROW_COUNTS}
    for num_threads in (2, 3):
        with PackStep(library, choice, x, k, kind, num_threads=num_threads, **options) as team:
            for num_rows in ROW_COUNTS:
                np.testing.assert_array_equal(team.run(num_rows), expected[num_rows])


def test_what_is_charged(library: KernelLibrary) -> None:
    """A single row is charged to the GEMV's packing, more to the GEMM's; a unit is a row."""
    choice = choose_matmul(family_for("Q4_0"), CPU)
    with PackStep(library, choice, random_rows(MAX_ROWS, 128), 64, "swiglu") as step:
        step.run(1)
        step.run(9)
        units: dict[str, int] = {}
        for variant, count in ((choice.gemv, 1), (choice.gemm, 9)):
            name = f"swiglu_{variant.lhs_pack.name}"
            units[name] = units.get(name, 0) + count
        assert step.charged() == set(units.items())


@pytest.mark.parametrize("kind", ["plain", "swiglu", "geglu"])
@pytest.mark.parametrize(
    "choice",
    {choice.gemm.lhs.pack_name: choice for choice in CHOICES}.values(),
    ids=lambda choice: choice.gemm.lhs.pack_name,
)
def test_parts_along_k_are_the_bytes_of_the_whole(library: KernelLibrary, choice: MatmulChoice, kind: str) -> None:
    """Of every layout, once."""
    k = 256 * 5
    x, bias = random_rows(9, 2 * k), random_rows(1, 2 * k, seed=1)[0]
    options: dict[str, Any] = {} if kind == "plain" else {"bias": bias}
    for num_rows in (1, 2, 9):
        made = []
        for num_threads in (1, 4):
            with PackStep(library, choice, x, k, kind, num_threads=num_threads, **options) as step:
                made.append(step.run(num_rows))
        assert (made[0] == made[1]).all()
