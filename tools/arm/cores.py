"""The Arm cores that we emulate: QEMU's names for them, and the rung of the ladder that each must select."""

from dataclasses import dataclass

MATMUL = "tests/kernels/families/test_matmul.py"
OTHER_KERNELS = ("tests/kernels", "--ignore=tests/kernels/families")
OF_THE_CORE = (
    *("tests/kernels/cpu", "tests/kernels/jit", "tests/kernels/peaks", "tests/kernels/ops/test_lhs_pack.py"),
    *("tests/kernels/test_ladder.py", "tests/kernels/test_matmul_op.py", "tests/kernels/test_self_test.py"),
)
COMPLETION = ("tests/arm",)
LONGEST = 64  # bytes of a streaming vector


@dataclass(frozen=True, slots=True)
class Core:
    """`name` is QEMU's; `servers` run on it, or on a core with the same instructions; `rung` is the best it can run.

    suites: pytest's arguments, a job each: what this core runs that no core before it has run. A micro-kernel is tested
    on the first core that has its instructions. The ops that numba compiles, and attention, are the same machine code
    on every Arm core (kernels.jit.numba_target); what asks which core it is on runs again wherever the answer differs.
    tested: of the whole matrix (tests/kernels/families/matrix.py), what no core before it has run: pytest's -k.
    """

    name: str
    servers: str
    rung: str
    suites: tuple[tuple[str, ...], ...]
    tested: str


def _streaming(vector_bytes: int) -> Core:
    """A core with SME2 whose streaming vectors are that long; none is in servers yet."""
    name = f"max,sve-default-vector-length=16,sme-default-vector-length={vector_bytes}"
    servers = f"none yet: SME2, streaming vectors of {8 * vector_bytes} bits"
    completion = (COMPLETION,) if vector_bytes == LONGEST else ()
    return Core(name, servers, "sme2", ((MATMUL, "-k", "sme2:"), *completion), tested="sme2:")


CORES = (
    Core(
        "neoverse-n1",
        "Graviton2, Ampere Altra",
        "neon_dotprod",
        (OTHER_KERNELS, ("tests/kernels/families",), COMPLETION),  # the longest job first
        tested="neon_dotprod: or neon: or scalar:",
    ),
    Core(
        "neoverse-v1",
        "Graviton3",
        "sve_i8mm",
        ((MATMUL, "-k", "sve_i8mm:"), OF_THE_CORE, COMPLETION),
        tested="sve_i8mm:",
    ),
    Core(
        "neoverse-n2",
        "Cobalt 100, Axion N, and for V2 cores: Graviton4, Grace",
        "neon_i8mm",
        ((MATMUL, "-k", "neon_i8mm:"), COMPLETION),
        tested="neon_i8mm:",
    ),
    *(_streaming(vector_bytes) for vector_bytes in (16, 32, LONGEST)),
)
