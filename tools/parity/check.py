"""The check: both comparisons with their bars; its status says whether they are met.

Prompts: our logits and llama.cpp's, each beside those of the f32 model, as cosines. Text: the best token at fixed
positions, teacher-forced, ours beside llama.cpp's, and llama.cpp's decode beside its own prefill.

Both programs round activations to int8 (or f16, for float weights), and each rounding that falls to the other side
moves all that follows: two right answers differ by about 1 % of the logits, and where the two best tokens are nearer
than that, either comes first. What that means for a model and a text is seen by what llama.cpp itself reaches: a bar
that it misses is replaced by its own distance, and the output says so.

`python -m tools.parity.check --help`; `make parity`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import track

from service.errors import GemmuleError
from service.gemmule_model import GemmuleModel
from service.loader import load_model
from service.pull import DEFAULT_MODEL, resolve_model
from service.settings import Settings
from tests.oracle import Oracle
from tests.service.model.driver import every_position
from tools.parity.llamacpp import LlamaCpp, peer_python
from tools.parity.measure import F32, Agreement, Likeness
from tools.parity.report import F32_MODEL, OURS, PAIRS, PEER, PEER_DECODE, PromptResult, Report, TextResult, show
from tools.peer.llamacpp import PeerError

FOLDER = Path(__file__).parent
CONTEXT = 512
WINDOW = 256  # tokens of text that are seen together

Logits = Callable[[Sequence[int]], F32]


def read_prompts(model: GemmuleModel) -> list[tuple[str, list[int]]]:
    """The prompts, special tokens parsed."""
    texts = (FOLDER / "prompts.txt").read_text().removesuffix("\n").split("\n---\n")
    return [(text, model.tokenizer.encode(text, parse_special=True)) for text in texts]


def read_windows(model: GemmuleModel) -> dict[str, list[list[int]]]:
    """By kind of text, a folder each: the whole windows of its passages."""
    windows: dict[str, list[list[int]]] = {}
    for path in sorted((FOLDER / "text").glob("*/*.txt")):
        ids = model.tokenizer.encode(path.read_text())
        cuts = [ids[at : at + WINDOW] for at in range(0, len(ids) - WINDOW + 1, WINDOW)]
        windows.setdefault(path.parent.name, []).extend(cuts)
    return windows


def compare(model: GemmuleModel, peer: LlamaCpp, oracle: Oracle, console: Console) -> Report:
    """Runs everything. Deterministic for a model, a CPU and a build of the peer."""
    sources: Mapping[str, Logits] = {
        OURS: lambda ids: every_position(model, ids),
        PEER: peer.logits,
        PEER_DECODE: lambda ids: peer.logits(ids, step=1),
        F32_MODEL: oracle.logits,
    }
    prompts = []
    for text, ids in track(read_prompts(model), "prompts", console=console):
        assert 20 <= len(ids) <= 200, f"{len(ids)} tokens: {text[:40]}"
        expected = sources[F32_MODEL](ids)
        likeness = {who: Likeness.of(sources[who](ids), expected) for who in (OURS, PEER)}
        prompts.append(PromptResult(text[:24].split("\n")[0], len(ids), likeness))
    texts = []
    for kind, windows in read_windows(model).items():
        agreements = {pair: Agreement(0, ()) for pair in PAIRS}
        for number, ids in enumerate(track(windows, f"text: {kind}", console=console)):
            logits = {who: source(ids) for who, source in sources.items()}
            for who, beside in PAIRS:
                agreements[who, beside] += Agreement.of(logits[who], logits[beside], first=number * WINDOW)
        text_id = hashlib.sha256(json.dumps(windows).encode()).hexdigest()[:16]
        texts.append(TextResult(kind, text_id, agreements))
    return Report(model.name, tuple(prompts), tuple(texts))


def as_json(report: Report) -> str:
    """Every number, with all the disagreements."""
    texts = [
        {"kind": text.kind, "id": text.text_id, "who": who, "beside": beside, **asdict(found)}
        for text in report.texts
        for (who, beside), found in text.agreements.items()
    ]
    bars = [{**asdict(bar), "verdict": bar.verdict} for bar in report.bars()]
    prompts = [asdict(prompt) for prompt in report.prompts]
    return json.dumps({"model": report.model, "prompts": prompts, "texts": texts, "bars": bars}, indent=1)


def main() -> None:
    """Zero when every bar is met, or not missed by more than llama.cpp misses it."""
    parser = argparse.ArgumentParser(prog="python -m tools.parity.check", description="our logits beside others'")
    parser.add_argument("model", nargs="?", default=DEFAULT_MODEL, help="GGUF file or demo model (default: the demo)")
    parser.add_argument("-t", "--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--isa", help="best rung of the ISA ladder to use")
    parser.add_argument("--json", action="store_true", help="all numbers instead of the tables")
    options = parser.parse_args()
    console = Console(width=max(120, Console().width), stderr=options.json)
    settings = Settings(
        threads=options.threads, isa=options.isa, ctx=CONTEXT, max_batch=WINDOW, max_step_tokens=CONTEXT
    )
    try:
        path = resolve_model(options.model)
        python = peer_python()
        model = load_model(path, settings)
        with LlamaCpp(python, path, CONTEXT, options.threads) as peer:
            report = compare(model, peer, Oracle(path), console)
        model.close()
    except (PeerError, GemmuleError, OSError) as error:
        sys.exit(f"parity: {error}")
    if options.json:
        print(as_json(report))
    else:
        show(report, console, lambda token_id: model.tokenizer.decode([token_id], skip_special=False))
    for bar in report.bars():
        console.print(f"{bar.text}: {bar.verdict}", highlight=False)
    sys.exit(0 if all(bar.is_met or bar.is_floor_met for bar in report.bars()) else 1)


if __name__ == "__main__":
    main()
