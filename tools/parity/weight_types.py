"""Every type of weights beside llama.cpp on the same file and text: perplexity, KL divergence, the best token.

`python -m tools.parity.weight_types [NAME ...]`; `make type-parity`. SmolLM2 in six types, Gemma 3 270M as it is
published, and random weights in the K-quants and IQ4_NL, which llama-quantize makes. 2,040 tokens of the passages in
`text` are scored. Two more rows say what a file's figures could be at best: llama.cpp a token at a time beside its own
prefill, and, with `--exact`, the file's weights in f32, with activations, keys and values that nobody rounds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from kernels.folder import cache_folder
from service.errors import GemmuleError
from service.gemmule_model import GemmuleModel
from service.loader import load_model
from service.pull import resolve_model
from service.quality.evaluate import scored_logits
from service.quality.measures import F64, log_probabilities
from service.quality.windows import Window
from service.settings import Settings
from tools.parity.peer_logits import LEAST_LOG_P, SavedLogits, divergence, losses, rows, save_logits
from tools.parity.texts import TEXT_FOLDER
from tools.peer.llamacpp import PeerError, programs, quantised_purely
from tools.peer.random_model import SHAPES, write

CONTEXT, WINDOWS = 512, 8
BATCH_ROWS = 64
PERPLEXITY, KL, SAME = 0.005, 0.002, 0.98
SLACK = 1.25
SMOLLM2 = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "F16")
RANDOM = ("Q2_K", "Q3_K_S", "Q4_K_S", "Q5_K_S", "Q6_K", "IQ4_NL")
RANDOM_SHAPE = "small"
OURS, ITSELF, EXACT = "gemmule", "llama.cpp", "exact"


@dataclass(frozen=True, slots=True)
class Nearness:
    """Of two programs on a text. `perplexity`: of the one over that of the other, less 1."""

    perplexity: float
    kl: float
    same: float
    num_scored: int

    @classmethod
    def of(cls, pairs: Iterator[tuple[Window, F64, F64]]) -> Nearness:
        """Window, log probabilities of the one and of the reference."""
        ours, theirs, kl, same = [], [], [], []
        for window, log_p, reference in pairs:
            ours.append(losses(log_p, window.next_ids))
            theirs.append(losses(reference, window.next_ids))
            kl.append(divergence(log_p, reference))
            same.append(log_p.argmax(axis=1) == reference.argmax(axis=1))
        loss = np.concatenate(ours).mean() - np.concatenate(theirs).mean()
        return cls(
            float(np.expm1(loss)),
            float(np.concatenate(kl).mean()),
            float(np.concatenate(same).mean()),
            sum(map(len, ours)),
        )

    def verdicts(self, itself: Nearness | None) -> list[str]:
        """Perplexity, KL, best token: met, peer too, MISSED."""
        met = [abs(self.perplexity) <= PERPLEXITY, self.kl <= KL, self.same >= SAME]
        no_further = [False] * 3
        if itself is not None:
            no_further = [
                abs(self.perplexity) <= SLACK * abs(itself.perplexity),
                itself.kl > KL and self.kl <= SLACK * itself.kl,
                itself.same < SAME and 1 - self.same <= SLACK * (1 - itself.same),
            ]
        return ["met" if yes else "peer too" if near else "MISSED" for yes, near in zip(met, no_further, strict=True)]


def files() -> Mapping[str, Callable[[], Path]]:
    """By name; made when they are asked for."""
    demo = "smollm2-135m-instruct"
    found: dict[str, Callable[[], Path]] = {"SmolLM2 demo": lambda: resolve_model(demo)}
    for kind in SMOLLM2:
        found[f"SmolLM2 {kind}"] = lambda kind=kind: quantised_purely(resolve_model(demo), kind)  # type: ignore[misc]
    found["Gemma 3 270M Q4_K_M"] = lambda: resolve_model("gemma-3-270m")
    for kind in RANDOM:
        found[f"random {kind}"] = lambda kind=kind: quantised_purely(_random(), kind)  # type: ignore[misc]
    return found


def _random() -> Path:
    """Random weights in F16, with a width that super-blocks of 256 divide."""
    path = cache_folder().absolute() / "peer" / f"random-{RANDOM_SHAPE}.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished")
        write(unfinished, SHAPES[RANDOM_SHAPE])
        unfinished.rename(path)
    return path


def compare(path: Path, text: Path, folder: Path, options: argparse.Namespace) -> dict[str, Nearness]:
    """Each beside llama.cpp's prefill: we; llama.cpp `step` tokens at a time; the file's model without any rounding."""
    sizes = {"context": CONTEXT, "windows": WINDOWS, "threads": options.threads}
    base = save_logits(path, text, folder / "base.kld", step=CONTEXT, **sizes)
    settings = Settings(threads=options.threads, ctx=CONTEXT, max_batch=BATCH_ROWS, max_step_tokens=CONTEXT)
    found = {OURS: _beside(base, path, settings)}
    if options.step:
        other = save_logits(path, text, folder / "other.kld", step=options.step, **sizes)
        pairs = ((window, log_p, base.log_p(index)) for index, (window, log_p) in enumerate(rows(other)))
        found[ITSELF] = Nearness.of(pairs)
    if options.exact:
        exact = folder / "exact.gguf"
        command = [sys.executable, "-m", "service.cli", "quantize", str(path), str(exact), "--type", "f32"]
        subprocess.run(command, check=True, capture_output=True)
        found[EXACT] = _beside(base, exact, settings.model_copy(update={"kv_type": "f32", "packed_cache": 0}))
        exact.unlink()
    return found


def _beside(base: SavedLogits, path: Path, settings: Settings) -> Nearness:
    with closing(load_model(path, settings)) as model:
        return Nearness.of((window, _log_p(model, window), reference) for window, reference in rows(base))


def _log_p(model: GemmuleModel, window: Window) -> F64:
    """Cut off as far below the best as the peer's file is, or unlikely tokens would cost us alone."""
    ids = window.ids.copy()
    if model.tokenizer.add_bos and model.tokenizer.bos_id is not None:
        ids[0] = model.tokenizer.bos_id
    log_p = np.concatenate([log_probabilities(logits) for _, logits in scored_logits(model, Window(ids))])
    return np.asarray(np.maximum(log_p, log_p.max(axis=1, keepdims=True) + LEAST_LOG_P))


def cells(found: Nearness) -> tuple[str, str, str]:
    return f"{found.perplexity:+.3%}", f"{found.kl:.5f}", f"{found.same:.2%}"


def main() -> None:
    """Zero when every bar is met, or missed by llama.cpp with itself too."""
    parser = argparse.ArgumentParser(prog="python -m tools.parity.weight_types", description=__doc__)
    known = files()
    parser.add_argument("name", nargs="*", help=f"part of a name (default: all): {', '.join(known)}")
    parser.add_argument("-t", "--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--step", type=int, default=1, help="of llama.cpp beside itself; 0: leave it out")
    parser.add_argument("--exact", action="store_true", help="also the file's model in f32: as near as anybody comes")
    options = parser.parse_args()
    console, failed = Console(width=120), False
    table = Table("file", title=f"beside llama.cpp's prefill, {WINDOWS} windows of {CONTEXT} tokens")
    for column in ("who", "perplexity", "mean KL", "same best", "perplexity", "KL", "best"):
        table.add_column(column)
    try:
        programs(["llama-perplexity", "llama-quantize"])
        with tempfile.TemporaryDirectory() as made:
            text = Path(made) / "text.txt"
            text.write_text("\n".join(path.read_text() for path in sorted(TEXT_FOLDER.rglob("*.txt"))))
            for name, make in known.items():
                if options.name and not any(part.lower() in name.lower() for part in options.name):
                    continue
                print(f"parity: {name}", file=sys.stderr, flush=True)
                found = compare(make(), text, Path(made), options)
                verdicts = found[OURS].verdicts(found.get(ITSELF))
                failed |= "MISSED" in verdicts
                table.add_row(name, OURS, *cells(found[OURS]), *verdicts)
                for who in (ITSELF, EXACT):
                    if who in found:
                        table.add_row("", who, *cells(found[who]))
                print(name, {who: cells(near) for who, near in found.items()}, file=sys.stderr, flush=True)
    except (PeerError, GemmuleError, OSError, subprocess.SubprocessError) as error:
        sys.exit(f"parity: {error}")
    console.print(table)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
