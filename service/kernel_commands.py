"""`gemmule kernels ...`: arguments in, lines out. Knows no work itself; everything heavy is imported inside."""

from typing import Annotated

import typer

from service.flags import Cache, settings_from

Isa = Annotated[str | None, typer.Option(help="Best rung of the ISA ladder to use, e.g. neon_dotprod.")]
Threads = Annotated[
    str | None, typer.Option("-t", "--threads", help="Threads of the team (default: the usable cores).")
]

kernels_app = typer.Typer(help="The micro-kernels.", no_args_is_help=True)


@kernels_app.command("list")
def list_kernels(
    contains: Annotated[str, typer.Option("--filter", help="Only names that contain this.")] = "",
) -> None:
    """Every matmul micro-kernel, and whether this CPU can run it."""
    from service.kernel_list import kernel_lines

    for line in kernel_lines(contains):
        print(line)


@kernels_app.command("explain")
def explain(
    model: Annotated[str, typer.Argument(help="GGUF file, or the name of a pulled demo model.")],
    prompt: Annotated[int, typer.Option("-p", "--n-prompt", min=1, help="Tokens of the prefill step.")] = 512,
    gen: Annotated[int, typer.Option("-n", "--n-gen", min=1, help="Decode steps after it.")] = 32,
    threads: Threads = None,
    isa: Isa = None,
    cache: Cache = None,
    json: Annotated[bool, typer.Option("--json", help="A list of ops.")] = False,
) -> None:
    """A model's step op by op: how load packs its weights, the micro-kernels of prefill and decode, and their cost.

    Runs one prefill and some decodes twice; the second run is shown: time of the team in all layers of one step, its
    share of the step, bytes and operations.
    """
    from service.pull import resolve_model

    settings = settings_from({"threads": threads, "isa": isa, "cache": cache, "max_batch": 1})
    path = resolve_model(model, settings.cache)

    from dataclasses import asdict
    from json import dumps

    from service.explain import lines
    from service.explain_steps import explain_file

    ops = explain_file(path, settings, prompt, gen)
    if json:
        print(dumps([asdict(op) for op in ops], indent=2))
    else:
        for line in lines(ops):
            print(line)


@kernels_app.command("bench")
def bench(
    contains: Annotated[str, typer.Option("--filter", help="Only names that contain this.")] = "qsi4c32",
    m: Annotated[int, typer.Option("-m", "--m", min=2, help="Rows of a GEMM; a GEMV has one.")] = 512,
    n: Annotated[int, typer.Option("-n", "--n", min=1, help="Columns.")] = 2048,
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="Inner dimension.")] = 2048,
    threads: Annotated[int, typer.Option("-t", "--threads", min=1, help="Threads of the team.")] = 1,
    rounds: Annotated[int, typer.Option("-r", "--rounds", min=1, help="Rounds; medians are shown.")] = 5,
    json: Annotated[bool, typer.Option("--json", help="A list of rows.")] = False,
) -> None:
    """Micro-kernels of this CPU: GOP/s and GB/s, what pipes and memory allow at most, and NumPy's f32 product.

    CEILING is GOP/s of the kernel's own hot loop without its loads (x86), READ is GB/s of vector loads over the
    same memory (GEMV), X NUMPY how many times faster than NumPy's BLAS. All are measured in turn. GB/S counts the
    file's own bytes of the weights; a GEMV's come from memory.
    """
    from service.kernel_bench.measure import run_bench
    from service.kernel_bench.report import as_json, lines
    from service.kernel_bench.shape import Shape

    rows = run_bench(contains, Shape(m, n, k), threads, rounds)
    if json:
        print(as_json(list(rows)))
    else:
        for line in lines(rows):
            print(line, flush=True)


@kernels_app.command("asm")
def asm(
    name: Annotated[str, typer.Argument(help="A micro-kernel's name, or a part that only one name has.")],
    cpu: Annotated[str, typer.Option(help="Core to schedule for, as LLVM names it, e.g. neoverse-v2.")] = "",
    ir: Annotated[bool, typer.Option("--ir", help="The LLVM IR as it is emitted, instead.")] = False,
) -> None:
    """The assembly of a micro-kernel, for its own architecture on whatever machine this is."""
    from service.kernel_assembly import find_kernel

    kernel = find_kernel(name)
    print(kernel.emit() if ir else kernel.assembly(cpu), end="")
