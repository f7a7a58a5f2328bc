"""The Arm cores that we emulate: QEMU's names for them, and the rung of the ladder that each must select."""

from dataclasses import dataclass

MATMUL = "tests/kernels/families/test_matmul.py"
OTHER_KERNELS = ("tests/kernels", "--ignore=tests/kernels/families")
COMPLETION = ("tests/arm",)


@dataclass(frozen=True, slots=True)
class Core:
    """`name` is QEMU's; `servers` run on it, or on a core with the same instructions; `rung` is the best it can run.

    suites: pytest's arguments, a job each: what this core runs that no core before it has run. A micro-kernel is tested
    on the first core that has its instructions; the ops that numba compiles for each core, whose instructions LLVM
    chooses, are tested wherever it may choose others.
    """

    name: str
    servers: str
    rung: str
    suites: tuple[tuple[str, ...], ...]


def _streaming(vector_bytes: int) -> Core:
    """A core with SME2 whose streaming vectors are that long; none is in servers yet."""
    name = f"max,sve-default-vector-length=16,sme-default-vector-length={vector_bytes}"
    suite = (MATMUL, "-k", "sme2_mopa or sme2_sdot")
    return Core(name, f"none yet: SME2, streaming vectors of {8 * vector_bytes} bits", "sme2", (suite,))


CORES = (
    Core(
        "neoverse-n1",
        "Graviton2, Ampere Altra",
        "neon_dotprod",
        (("tests/kernels/families",), OTHER_KERNELS, COMPLETION),
    ),
    Core("neoverse-v1", "Graviton3", "sve_i8mm", (OTHER_KERNELS, (MATMUL, "-k", "sve_i8mm"), COMPLETION)),
    Core(
        "neoverse-n2",
        "Cobalt 100, Axion N, and for V2 cores: Graviton4, Grace",
        "neon_i8mm",
        ((MATMUL, "-k", "neon_i8mm"), COMPLETION),
    ),
    *(_streaming(vector_bytes) for vector_bytes in (16, 32, 64)),
)
