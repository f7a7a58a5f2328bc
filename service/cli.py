"""The command line: arguments in, one clear line and a non-zero exit on failure. Knows no work itself.

Everything heavy is imported inside the commands, so that `gemmule --help` answers at once.
"""

import os
import sys
from typing import Annotated

import typer

from kernels.errors import KernelsError
from service.cache_commands import cache_app
from service.errors import GemmuleError
from service.flags import Cache, KVTypeOption, settings_from
from service.kernel_commands import kernels_app
from service.model_commands import bench, evaluate, quantize
from service.observe_commands import top, trace

USAGE_ERROR = 2

app = typer.Typer(
    name="gemmule",
    help="LLM completion microservice for Arm servers, with micro-kernels generated from Python.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(kernels_app, name="kernels")
app.add_typer(cache_app, name="cache")
app.command()(trace)
app.command()(top)
app.command()(bench)
app.command("eval")(evaluate)
app.command()(quantize)


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
    model: Annotated[
        list[str] | None,
        typer.Argument(help="GGUF file, or the name of a pulled demo model; several are separated by commas."),
    ] = None,
    served_name: Annotated[
        str | None,
        typer.Option(help="Model name in requests and responses (default: the file's name); one for each model."),
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
            help="Milliseconds that prompts may stretch a token of running streams to "
            "(default: twice their own, or 32 while many prompts wait)."
        ),
    ] = None,
    draft_tokens: Annotated[
        str | None,
        typer.Option(
            help="Tokens to guess for a sequence and verify in one step (default: 8 with a draft model, else 0)."
        ),
    ] = None,
    draft_model: Annotated[
        str | None,
        typer.Option(
            help="GGUF file or demo model, of the same vocabulary, that guesses tokens (default: the text does)."
        ),
    ] = None,
    kv_memory: Annotated[
        str | None, typer.Option(help="Memory of the KV cache, e.g. 512MiB (default: from the context and the batch).")
    ] = None,
    kv_type: KVTypeOption = None,
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
    autotune: Annotated[
        bool | None,
        typer.Option(
            "--autotune/--no-autotune",
            help="Measure at the first load which of a micro-kernel's tiles is the fastest here, and remember it.",
        ),
    ] = None,
    cache: Cache = None,
    packed_cache: Annotated[
        str | None,
        typer.Option(help="Most bytes of packed weights to keep in the cache folder, e.g. 20GiB; 0 keeps none."),
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="The same as --packed-cache 0.")] = False,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Use kept weights in the file that all processes share, or in a copy in huge pages of this one."
        ),
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(help="API keys, separated by commas; without any, everybody may call.")
    ] = None,
    api_key_file: Annotated[
        str | None, typer.Option(help="File of API keys, one a line: KEY [name=NAME] [max_open=NUMBER] [admin].")
    ] = None,
    cors_origins: Annotated[
        str | None,
        typer.Option(help="Origins whose pages may call from browsers, separated by commas, or * (default: none)."),
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
    """Serve one model or several over HTTP and gRPC. Every flag is also a GEMMULE_* variable; flags win.

    Several models share the threads, their steps taking turns, and the memory for KV caches; `model` in a request
    chooses, and the first is meant where there is none. One that cannot be loaded is reported, the others serve.
    """
    flags = dict(locals())
    flags["model"] = ",".join(model) if model else None
    if flags.pop("no_cache"):
        flags["packed_cache"] = 0
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


if __name__ == "__main__":
    main()
