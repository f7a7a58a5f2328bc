"""The commands about a model file: `gemmule bench`, `eval` and `quantize`. Knows arguments, no work itself."""

from pathlib import Path
from typing import Annotated

import typer

from service.flags import Cache, KVTypeOption, settings_from

KINDS = "q4_0, q4_1, q5_0, q5_1, q8_0, f16, bf16, f32, qc8, q4cx, mixed48, 8da4w-g32, 8da4w-g64 or 8da4w-g128."


def bench(
    model: Annotated[str, typer.Argument(help="GGUF file, or the name of a pulled demo model.")],
    prompts: Annotated[str, typer.Option("-p", "--n-prompt", help="Prompt lengths to prefill; 0 for none.")] = "512",
    gens: Annotated[str, typer.Option("-n", "--n-gen", help="Numbers of tokens to decode; 0 for none.")] = "128",
    threads: Annotated[str | None, typer.Option("-t", "--threads", help="Numbers of threads.")] = None,
    repetitions: Annotated[int, typer.Option("-r", "--repetitions", min=1, help="Samples per row.")] = 5,
    isa: Annotated[str | None, typer.Option(help="Best rung of the ISA ladder to use, e.g. neon_dotprod.")] = None,
    kv_type: KVTypeOption = None,
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

    settings = settings_from({"isa": isa, "kv_type": kv_type, "cache": cache})
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
            kv_type=settings.kv_type,
        )
    )
    if json:
        print(as_json(rows))
    else:
        from rich.console import Console

        Console().print(as_table(rows))


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
    kv_type: KVTypeOption = None,
    cache: Cache = None,
    json: Annotated[bool, typer.Option("--json", help="All numbers.")] = False,
) -> None:
    """Perplexity of a text, as llama-perplexity measures it; with a reference also the mean KL divergence of the
    token distributions and how often the best token is the same. A reference keeps its keys and values as f32.
    """
    settings = settings_from({"threads": threads, "isa": isa, "kv_type": kv_type, "cache": cache})
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


def quantize(
    source: Annotated[str, typer.Argument(help="GGUF file, Hugging Face folder, or the name of a demo model.")],
    target: Annotated[Path, typer.Argument(help="GGUF file to write.")],
    kind: Annotated[str, typer.Option("--type", help=KINDS)],
    outer: Annotated[
        str | None, typer.Option("--output-type", help="Another type for the embedding and the output.")
    ] = None,
    embedding: Annotated[
        str | None, typer.Option("--embedding-type", help="Another type for the embedding alone.")
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="UTF-8 text to run the model on first: rounds q4cx, mixed48 and 8da4w by its activations."),
    ] = None,
    cache: Cache = None,
) -> None:
    """Write a GGUF model with its matrices in another type. The file appears when it is whole.

    A Hugging Face folder holds config.json, tokenizer.json and safetensors.
    """
    settings = settings_from({"cache": cache})
    from service.pull import resolve_model

    path = Path(source) if Path(source).is_dir() else resolve_model(source, settings.cache)

    from service.count_progress import CountProgress
    from service.quantise.recipe import Wish
    from service.quantise.write import quantise

    with CountProgress("tensors") as progress:
        wish = Wish(kind, outer, embedding)
        num_bytes = quantise(
            path, target, wish, lambda _, done, tensors: progress.show(done, tensors), calibration, settings
        )
    print(f"{target}: {num_bytes / (1 << 20):.1f} MiB")


def _numbers(flag: str, text: str) -> tuple[int, ...]:
    """ "64,512" -> (64, 512); zeros, which stand for "none", are left out."""
    numbers = []
    for part in text.split(","):
        if not part.strip().isdecimal() or int(part) > 1 << 20:
            raise typer.BadParameter(f"{flag} wants numbers from 0 to {1 << 20}, like 64,512; not {text!r}")
        numbers.append(int(part))
    return tuple(number for number in numbers if number)
