"""Which angles a model's positions turn by: rope scaling as the metadata describes it. Knows no layer.

linear  positions divided by a factor                          (arXiv:2306.15595)
yarn    slow frequencies divided, fast ones as they are        (arXiv:2309.00071)
llama3  a factor for each frequency, stored as rope_freqs.weight by the converters; the metadata name no scaling
longrope  one such tensor for short contexts and one for long  (arXiv:2402.13753; Phi-3)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernels.ops.rope_table import RopeTable, Yarn
from service.errors import ModelFileError
from service.model.config import ModelConfig
from service.model.fields import ArchitectureFields

SCALINGS = ("none", "linear", "yarn", "longrope")


def rope_table(
    read: ArchitectureFields,
    config: ModelConfig,
    num_positions: int,
    *,
    split: bool,
    factors: npt.NDArray[np.float32] | None = None,
) -> RopeTable:
    """As scaled as the metadata say. `factors`: f32[rope_dim/2], frequencies are divided by them."""
    scaling = read.text("rope.scaling.type", default="linear") or "none"
    if scaling not in SCALINGS:
        raise ModelFileError(f"rope scaling {scaling!r} is not supported; supported are {', '.join(SCALINGS)}")
    old_factor = read.number("rope.scale_linear", least=0.0, most=1e6, default=0.0)
    factor = read.number("rope.scaling.factor", least=0.0, most=1e6, default=old_factor)
    if scaling == "none" or factor == 0.0:
        factor = 1.0
    amplitude = read.number("rope.scaling.attn_factor", least=1e-3, most=1e3, default=1.0)
    yarn = None
    if scaling == "yarn" and factor != 1.0:
        if factor < 1.0:
            raise ModelFileError(f"{read.prefix}rope.scaling.factor is {factor}; yarn needs at least 1")
        yarn = Yarn(
            factor,
            read.size("rope.scaling.original_context_length", default=config.context, most=1 << 24),
            read.number("rope.scaling.yarn_beta_fast", least=0.01, most=1e4, default=32.0),
            read.number("rope.scaling.yarn_beta_slow", least=0.01, most=1e4, default=1.0),
        )
    return RopeTable.make(
        num_positions,
        config.rope_dim,
        config.rope_base,
        split,
        factors,
        1.0 if yarn else 1 / factor,
        yarn,
        amplitude,
    )
