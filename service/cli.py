"""The command line: arguments in, one clear line and a non-zero exit on failure. Knows no work itself.

Everything heavy is imported inside the commands, so that `gemmule --help` answers at once.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from kernels.errors import KernelsError
from service.errors import GemmuleError
from service.flags import settings_from
from service.kernel_commands import kernels_app
from service.observe_commands import top, trace

USAGE_ERROR = 2

Cache = Annotated[Path | None, typer.Option(help="Cache folder (default: $XDG_CACHE_HOME/gemmule, ~/.cache/gemmule).")]

app = typer.Typer(
    name="gemmule",
    help="LLM completion microservice for Arm servers, with micro-kernels generated from Python.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(kernels_app, name="kernels")
app.command()(trace)
app.command()(top)


def main() -> None:
    try:
        sys.exit(app(prog_name="gemmule", standalone_mode=False) or 0)
    except (GemmuleError, KernelsError) as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except BrokenPipeError:
        # The reader of our output has left (`gemmule kernels list | head`); nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), 1)
    except MemoryError:
        _fail("out of memory", 1)
    except Exception as error:
        # A wrong flag: typer's own error, whose base class depends on the version of typer.
        if not hasattr(error, "format_message"):
            raise
        _fail(error.format_message(), USAGE_ERROR)


def _fail(message: str, status: int) -> None:
    if message:
        print(f"gemmule: {message}", file=sys.stderr)
    sys.exit(status)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"gemmule {version('gemmule')}")
        raise typer.Exit


@app.callback()
def gemmule(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def serve(
    model: Annotated[str | None, typer.Argument(help="GGUF file, or the name of a pulled demo model.")] = None,
    served_name: Annotated[
        str | None, typer.Option(help="Model name in requests and responses (default: the file's name).")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[str | None, typer.Option(help="HTTP port; 0 takes a free one.")] = None,
    grpc_port: Annotated[
        str | None, typer.Option(help="gRPC port, or off; 0 takes a free one (default: the HTTP port + 1).")
    ] = None,
    threads: Annotated[str | None, typer.Option(help="Threads of the team (default: the usable cores).")] = None,
    ctx: Annotated[
        str | None, typer.Option(help="Tokens of context per request (default: the model's, up to 131072).")
    ] = None,
    max_batch: Annotated[str | None, typer.Option(help="Sequences in one step.")] = None,
    max_step_tokens: Annotated[
        str | None, typer.Option(help="Tokens in one step, prefill and decode together.")
    ] = None,
    inter_token_ms: Annotated[
        str | None,
        typer.Option(
            help="Milliseconds that prompts may stretch a token of running streams to (default: twice their own)."
        ),
    ] = None,
    draft_tokens: Annotated[
        str | None,
        typer.Option(
            help="Tokens that a sequence may guess from its own text, to have them verified in one step; 0: none."
        ),
    ] = None,
    kv_memory: Annotated[
        str | None, typer.Option(help="Memory of the KV cache, e.g. 512MiB (default: from the context and the batch).")
    ] = None,
    max_queue: Annotated[str | None, typer.Option(help="Requests that may wait; one more is refused with 503.")] = None,
    max_queue_tokens: Annotated[
        str | None, typer.Option(help="Prompt tokens that may wait; a request beyond is refused with 503.")
    ] = None,
    prefix_cache: Annotated[
        bool | None,
        typer.Option(
            "--prefix-cache/--no-prefix-cache",
            help="Keep the KV blocks of past prompts and answers, for those that begin alike.",
        ),
    ] = None,
    isa: Annotated[str | None, typer.Option(help="Best rung of the ISA ladder to use, e.g. neon_dotprod.")] = None,
    cache: Cache = None,
    api_key: Annotated[
        str | None, typer.Option(help="API keys, separated by commas; without any, everybody may call.")
    ] = None,
    api_key_file: Annotated[
        str | None, typer.Option(help="File of API keys, one a line: KEY [name=NAME] [max_open=NUMBER] [admin].")
    ] = None,
    tls_cert: Annotated[str | None, typer.Option(help="Certificate chain (PEM): TLS on both faces.")] = None,
    tls_key: Annotated[str | None, typer.Option(help="Its private key (PEM).")] = None,
    max_connections: Annotated[
        str | None, typer.Option(help="HTTP connections, and gRPC calls, at the same time.")
    ] = None,
    max_body: Annotated[str | None, typer.Option(help="Largest request body, e.g. 4MiB.")] = None,
    keep_alive_s: Annotated[str | None, typer.Option(help="Seconds an idle HTTP connection stays open.")] = None,
    drain_s: Annotated[str | None, typer.Option(help="Seconds that running requests get to end at shutdown.")] = None,
    otlp_endpoint: Annotated[
        str | None,
        typer.Option(help="Send spans of requests there over OTLP, e.g. http://127.0.0.1:4318 (needs the extra otlp)."),
    ] = None,
    vllm_metrics: Annotated[
        bool | None,
        typer.Option(
            "--vllm-metrics",
            help="Also give the metrics vLLM's names, for dashboards and gateways that know those.",
        ),
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="Least level of a log line.")] = None,
    log_format: Annotated[str | None, typer.Option(help="Log lines for people or for machines.")] = None,
    perf_map: Annotated[
        bool | None,
        typer.Option("--perf-map", help="Write the micro-kernels' names to /tmp/perf-PID.map, for perf record -p PID."),
    ] = None,
) -> int:
    """Serve a model over HTTP and gRPC. Every flag is also a GEMMULE_* variable; flags win."""
    flags = dict(locals())
    settings = settings_from(flags)
    from service.app import serve as run

    return run(settings)


@app.command()
def config() -> None:
    """The settings that `serve` would have, and whence: a variable, the file $GEMMULE_CONFIG (TOML) or the default."""
    from service.settings import load_with_origins

    settings, origins = load_with_origins({}, os.environ)
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        print(f"{name:<18} {'-' if value is None else value!s:<28} {origins.get(name, 'default')}")


@app.command()
def pull(
    name: Annotated[str | None, typer.Argument(help="Demo model (default: smollm2-135m-instruct).")] = None,
    cache: Cache = None,
) -> None:
    """Fetch a demo model into the cache folder, checksummed."""
    from service.pull import DEFAULT_MODEL
    from service.pull import pull as fetch

    print(fetch(name or DEFAULT_MODEL, settings_from({"cache": cache}).cache))


@app.command()
def bench(
    model: Annotated[str, typer.Argument(help="GGUF file, or the name of a pulled demo model.")],
    prompts: Annotated[str, typer.Option("-p", "--n-prompt", help="Prompt lengths to prefill; 0 for none.")] = "512",
    gens: Annotated[str, typer.Option("-n", "--n-gen", help="Numbers of tokens to decode; 0 for none.")] = "128",
    threads: Annotated[str | None, typer.Option("-t", "--threads", help="Numbers of threads.")] = None,
    repetitions: Annotated[int, typer.Option("-r", "--repetitions", min=1, help="Samples per row.")] = 5,
    isa: Annotated[str | None, typer.Option(help="Best rung of the ISA ladder to use, e.g. neon_dotprod.")] = None,
    cache: Cache = None,
    json: Annotated[bool, typer.Option("--json", help="A list of rows with llama-bench's keys.")] = False,
) -> None:
    """Prefill and decode tokens/s, as llama-bench reports them. Lists are comma-separated: -p 64,512 -t 1,2."""
    prompt_lengths = _numbers("-p", prompts)
    gen_lengths = _numbers("-n", gens)
    thread_counts = _numbers("-t", threads) if threads is not None else None
    if thread_counts == ():
        raise typer.BadParameter("-t wants at least one number above 0")

    from service.pull import resolve_model

    settings = settings_from({"isa": isa, "cache": cache})
    path = resolve_model(model, settings.cache)
    if thread_counts is None and settings.threads is not None:
        thread_counts = (settings.threads,)

    from service.bench import run_bench
    from service.bench_report import as_json, as_table

    rows = list(
        run_bench(
            path,
            prompts=prompt_lengths,
            gens=gen_lengths,
            threads=thread_counts,
            repetitions=repetitions,
            isa=settings.isa,
        )
    )
    if json:
        print(as_json(rows))
    else:
        from rich.console import Console

        Console().print(as_table(rows))


@app.command("eval")
def evaluate(
    model: Annotated[str, typer.Argument(help="GGUF file, or the name of a pulled demo model.")],
    text: Annotated[Path, typer.Option(help="UTF-8 text to predict.")],
    ctx: Annotated[int, typer.Option(help="Tokens of a window; the second half of each is scored.")] = 512,
    windows: Annotated[int | None, typer.Option(min=1, help="Windows at most (default: all whole ones).")] = None,
    reference: Annotated[str | None, typer.Option(help="A model to compare with, e.g. the same in F16.")] = None,
    logits: Annotated[Path | None, typer.Option(help="Saved logits to compare with.")] = None,
    save: Annotated[Path | None, typer.Option(help="Save the logits here, 4 bytes each.")] = None,
    threads: Annotated[str | None, typer.Option("-t", "--threads", help="Threads of the team.")] = None,
    isa: Annotated[str | None, typer.Option(help="Best rung of the ISA ladder to use, e.g. neon_dotprod.")] = None,
    cache: Cache = None,
    json: Annotated[bool, typer.Option("--json", help="All numbers.")] = False,
) -> None:
    """Perplexity of a text, as llama-perplexity measures it; with a reference also the mean KL divergence of the
    token distributions and how often the best token is the same.
    """
    settings = settings_from({"threads": threads, "isa": isa, "cache": cache})
    from service.pull import resolve_model

    path = resolve_model(model, settings.cache)
    other = None if reference is None else resolve_model(reference, settings.cache)

    from service.count_progress import CountProgress
    from service.quality.evaluate import Wishes, evaluate
    from service.quality.report import as_json, as_lines

    wishes = Wishes(text, ctx, windows, other, logits, save)
    with CountProgress("windows") as progress:
        found = evaluate(path, wishes, settings, progress.show)
    print(as_json(found) if json else "\n".join(as_lines(found)))


@app.command()
def quantize(
    source: Annotated[str, typer.Argument(help="GGUF file, or the name of a pulled demo model.")],
    target: Annotated[Path, typer.Argument(help="GGUF file to write.")],
    kind: Annotated[str, typer.Option("--type", help="q4_0, q4_1, q5_0, q5_1, q8_0, f16, bf16 or f32.")],
    outer: Annotated[
        str | None, typer.Option("--output-type", help="Another type for the embedding and the output.")
    ] = None,
    cache: Cache = None,
) -> None:
    """Write a GGUF model with its matrices in another type. The file appears when it is whole."""
    settings = settings_from({"cache": cache})
    from service.pull import resolve_model

    path = resolve_model(source, settings.cache)

    from service.count_progress import CountProgress
    from service.quantise import Wish, quantise

    with CountProgress("tensors") as progress:
        num_bytes = quantise(path, target, Wish(kind, outer), lambda _, done, tensors: progress.show(done, tensors))
    print(f"{target}: {num_bytes / (1 << 20):.1f} MiB")


def _numbers(flag: str, text: str) -> tuple[int, ...]:
    """ "64,512" -> (64, 512); zeros, which stand for "none", are left out."""
    numbers = []
    for part in text.split(","):
        if not part.strip().isdecimal() or int(part) > 1 << 20:
            raise typer.BadParameter(f"{flag} wants numbers from 0 to {1 << 20}, like 64,512; not {text!r}")
        numbers.append(int(part))
    return tuple(number for number in numbers if number)


if __name__ == "__main__":
    main()
