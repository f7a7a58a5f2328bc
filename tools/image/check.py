"""`python -m tools.image.check`: the image of both platforms, built without an engine, started and asked.

The amd64 image runs on this machine's CPU, the arm64 image on emulated cores, each on its own part of the network's
ports. Wanted of each: a streamed completion over HTTP and over gRPC, nothing compiled since the start, status 0 after
SIGTERM; of each image: at most 600 MB, no root, no compiler, a root that nobody may write.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from tools.arm.cores import CORES
from tools.arm.debian import DebianError
from tools.image.answers import Answers, asked
from tools.image.base import PLATFORMS, ImageError, say
from tools.image.build import build
from tools.image.container import Image, mounted, started
from tools.image.emulation import EmulationError, arm_programs
from tools.image.hygiene import Hygiene, inspected

ARM_CORES = tuple(core.name for core in CORES if core.name.startswith("neoverse"))
NATIVE = "this machine"
# Small: what is checked is that it starts and answers, and emulation is slow.
ARGUMENTS = ("serve", "--ctx", "512", "--max-batch", "2", "--threads", "1", "--kv-memory", "32MiB")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One image on one core."""

    arch: str
    core: str
    hygiene: Hygiene
    answers: Answers
    status: int

    def misses(self) -> Iterator[str]:
        yield from self.hygiene.misses()
        if self.answers.num_compiled:
            yield f"compiled {self.answers.num_compiled} kernels after its start"
        if self.answers.http_chunks < 2 or self.answers.grpc_chunks < 2:
            yield f"streamed {self.answers.http_chunks} chunks over HTTP, {self.answers.grpc_chunks} over gRPC"
        if self.answers.http_text != self.answers.grpc_text:
            yield f"said {self.answers.http_text!r} over HTTP, {self.answers.grpc_text!r} over gRPC"
        if self.status:
            yield f"ended with {self.status} after SIGTERM"


def checked(arch: str, core: str, port: int, within_s: float) -> Outcome:
    image = Image.named(f"localhost/gemmule:{arch}")
    emulated = {} if core == NATIVE else {"QEMU_CPU": core}
    place = ["--host", "127.0.0.1", "--port", str(port), "--grpc-port", str(port + 1)]
    say(f"{arch} on {core}")
    with mounted(image) as root, started(image, root, [*ARGUMENTS, *place], emulated) as container:
        answers = asked(port, within_s, container.must_run)
        return Outcome(arch, core, inspected(image, root), answers, container.end())


def table(outcomes: Sequence[Outcome]) -> Table:
    made = Table("image", "core")
    for column in ("MB", "user", "setuid", "compilers", "ready, s", "HTTP", "gRPC", "compiled", "status"):
        made.add_column(column, justify="right")
    for one in outcomes:
        hygiene, answers = one.hygiene, one.answers
        found = (
            f"{hygiene.num_bytes / 1e6:.0f}",
            str(hygiene.uid),
            str(len(hygiene.setuid)),
            str(len(hygiene.unwanted)),
        )
        streamed = (f"{answers.http_chunks} chunks", f"{answers.grpc_chunks} chunks")
        made.add_row(
            one.arch, one.core, *found, f"{answers.ready_s:.1f}", *streamed, str(answers.num_compiled), str(one.status)
        )
    return made


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.image.check", description="build, start and ask the image")
    parser.add_argument("--platform", action="append", choices=PLATFORMS, help="repeatable (default: both)")
    parser.add_argument("--core", action="append", choices=ARM_CORES, help="of the arm64 image (default: all)")
    parser.add_argument("--port", type=int, default=8180, help="HTTP's; gRPC's is the next (default: 8180)")
    parser.add_argument("--without-build", action="store_true", help="take the images that are there")
    parser.add_argument("--within", type=float, default=600.0, metavar="S", help="until a server must be ready")
    options = parser.parse_args()
    outcomes = []
    try:
        with arm_programs():
            for arch in options.platform or PLATFORMS:
                if not options.without_build:
                    build(arch)
                cores = (NATIVE,) if arch == "amd64" else options.core or ARM_CORES
                outcomes += [checked(arch, core, options.port, options.within) for core in cores]
    except (ImageError, EmulationError, DebianError, OSError, TimeoutError) as error:
        print(f"image-check: {error}", file=sys.stderr)
        return 1
    Console(width=max(120, Console().width)).print(table(outcomes))
    misses = [f"{one.arch} on {one.core} {miss}" for one in outcomes for miss in one.misses()]
    for miss in misses:
        print(f"image-check: {miss}", file=sys.stderr)
    return 1 if misses else 0


if __name__ == "__main__":
    sys.exit(main())
