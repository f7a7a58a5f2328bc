"""The Arm cores that we emulate: QEMU's names for them, and the rung of the ladder that each must select."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Core:
    """`name` is QEMU's; `servers` run on it, or on a core with the same instructions; `rung` is the best it can run.

    only: pytest's arguments, where a core adds no more than the kernels of its rung.
    """

    name: str
    servers: str
    rung: str
    only: tuple[str, ...] | None = None


def _streaming(vector_bytes: int) -> Core:
    """A core with SME2 whose streaming vectors are that long; none is in servers yet."""
    name = f"max,sve-default-vector-length=16,sme-default-vector-length={vector_bytes}"
    kernels = ("tests/kernels/families/test_matmul.py", "-k", "sme2_mopa or sme2_sdot")
    return Core(name, f"none yet: SME2, streaming vectors of {8 * vector_bytes} bits", "sme2", kernels)


CORES = (
    Core("neoverse-n1", "Graviton2, Ampere Altra", "neon_dotprod"),
    Core("neoverse-v1", "Graviton3", "sve_i8mm"),
    Core("neoverse-n2", "Cobalt 100, Axion N, and for V2 cores: Graviton4, Grace", "neon_i8mm"),
    *(_streaming(vector_bytes) for vector_bytes in (16, 32, 64)),
)
