"""The Arm cores that we emulate: QEMU's names for them, and the rung of the ladder that each must select."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Core:
    """`name` is QEMU's; `servers` run on it, or on a core with the same instructions; `rung` is the best it can run."""

    name: str
    servers: str
    rung: str


CORES = (
    Core("neoverse-n1", "Graviton2, Ampere Altra", "neon_dotprod"),
    Core("neoverse-v1", "Graviton3", "sve_i8mm"),
    Core("neoverse-n2", "Cobalt 100, Axion N, and for V2 cores: Graviton4, Grace", "neon_i8mm"),
)
