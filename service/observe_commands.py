"""`gemmule trace`, `gemmule top`: arguments in, lines out. Knows no work itself; the heavy is imported inside."""

from pathlib import Path
from typing import Annotated

import typer

from service.flags import Cache, settings_from


def trace(
    model: Annotated[str, typer.Argument(help="GGUF file, or the name of a pulled demo model.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The file to write.")] = Path("gemmule-trace.json"),
    steps: Annotated[int, typer.Option(min=1, max=256, help="Steps to trace.")] = 8,
    prompt: Annotated[int, typer.Option("-p", "--n-prompt", min=1, help="Tokens of the prompt.")] = 512,
    max_step_tokens: Annotated[int, typer.Option(min=8, max=65536, help="Tokens in one step.")] = 128,
    threads: Annotated[
        str | None, typer.Option("-t", "--threads", help="Threads of the team (default: the usable cores).")
    ] = None,
    isa: Annotated[str | None, typer.Option(help="Best rung of the ISA ladder to use, e.g. neon_dotprod.")] = None,
    cache: Cache = None,
) -> None:
    """What the threads do in a few steps, as a trace for ui.perfetto.dev: three sequences decode, a prompt comes in.

    Of a running server: GET /debug/trace?steps=8.
    """
    from service.pull import resolve_model

    settings = settings_from(
        {"threads": threads, "isa": isa, "cache": cache, "max_batch": 4, "max_step_tokens": max_step_tokens}
    )
    path = resolve_model(model, settings.cache)
    from service.trace_command import write_trace

    num_steps = write_trace(path, out, settings, steps, prompt)
    print(f"{num_steps} steps in {out}: open it in ui.perfetto.dev or chrome://tracing")


def top(
    url: Annotated[str, typer.Argument(help="Of a running server.")] = "http://127.0.0.1:8080",
    interval_s: Annotated[float, typer.Option("-i", "--interval-s", min=0.1, help="Seconds between two looks.")] = 2.0,
    count: Annotated[int | None, typer.Option("-n", "--count", min=1, help="Looks; without, until Ctrl-C.")] = None,
) -> None:
    """What a running server does: tokens/s, queue, batch, the engine thread, kernels by their share of the time."""
    from service.top import watch

    watch(url, interval_s, count)
