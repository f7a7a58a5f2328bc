"""`python -m tools.peer.serving`: gemmule serve beside llama-server under the same load, as a table, also in README.md.

Both run all the time, on the same file, threads and batch; `python -m loadtest compare` asks them in turn. With --write
the table between the markers of README.md is replaced, with the CPU and the command that made it.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kernels.cpu import detect_cpu
from service.errors import GemmuleError
from service.pull import DEFAULT_MODEL, resolve_model
from tools.peer.llamacpp import PeerError, quantised_purely
from tools.peer.servers import Serving, free_port, running

README = Path(__file__).resolve().parents[2] / "README.md"
BEGIN, END = "<!-- begin: make compare -->\n", "<!-- end: make compare -->\n"
OURS, PEER = "gemmule", "llama-server"
FIGURES = {
    "output_throughput": "output tokens/s",
    "p50_ttft_ms": "TTFT p50, ms",
    "p95_ttft_ms": "TTFT p95, ms",
    "p95_itl_ms": "inter-token p95, ms",
}


def compared(serving: Serving, load: Sequence[str]) -> list[dict[str, Any]]:
    """What `loadtest compare --json` says of the two: one entry a load."""
    ports = free_port(), free_port()
    with (
        running(OURS, serving.ours(ports[0]), ports[0]) as ours,
        running(PEER, serving.peer(ports[1]), ports[1]) as peer,
    ):
        command = [sys.executable, "-m", "loadtest", "compare", ours, peer, "--names", OURS, PEER, "--json", *load]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if not done.stdout.strip():
        raise PeerError(f"loadtest compare ended with status {done.returncode} and no figures")
    if done.returncode:
        print(f"compare: loadtest ended with status {done.returncode}", file=sys.stderr)
    made = json.loads(done.stdout)
    return made if isinstance(made, list) else [made]


def table(comparisons: Sequence[Mapping[str, Any]]) -> str:
    """Markdown; ratios are ours by theirs, so of the first figure more is better and of the others less."""
    lines = [f"| callers | | Gemmule | {PEER} | ratio | 95 % interval |", "|--:|---|--:|--:|--:|---|"]
    for comparison in comparisons:
        for key, words in FIGURES.items():
            found = comparison["figures"].get(key)
            if found is None:  # no request was answered, or by one side alone
                lines.append(f"| {comparison['max_concurrency']} | {words} | - | - | - | - |")
                continue
            span = "-" if found["ratio_low"] is None else f"{found['ratio_low']:.2f}-{found['ratio_high']:.2f}"
            values = f"{found['a']:.1f} | {found['b']:.1f} | {found['ratio']:.2f}"
            lines.append(f"| {comparison['max_concurrency']} | {words} | {values} | {span} |")
    return "\n".join(lines) + "\n"


def paragraph(comparisons: Sequence[Mapping[str, Any]], serving: Serving, words: Sequence[str]) -> str:
    """The CPU and the command, then the table."""
    arguments = f' ARGS="{" ".join(words)}"' if words else ""
    rounds = comparisons[0]["num_rounds"]
    failed = ", ".join(_failures(comparisons, side, name) for side, name in (("a", "Gemmule"), ("b", PEER)))
    head = (
        f"`make compare{arguments}` on {cpu_name()}, {serving.num_threads} threads each, {serving.model.name}, "
        f"medians of {rounds} interleaved rounds; failed requests: {failed}\n"
    )
    return f"{head}\n{table(comparisons)}"


def _failures(comparisons: Sequence[Mapping[str, Any]], side: str, name: str) -> str:
    """How many requests of all loads failed, and of what."""
    reasons: Counter[str] = Counter()
    for comparison in comparisons:
        for of_round in comparison["rounds"]:
            reasons.update(of_round[side]["failures"])
    why = f" ({', '.join(sorted(reasons))})" if reasons else ""
    return f"{name} {reasons.total()}{why}"


def cpu_name() -> str:
    """The kernel's name of the CPU, with the features' of LLVM where it has none (Arm)."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return f"{line.partition(':')[2].strip()} ({detect_cpu().name}, {os.cpu_count()} CPUs)"
    return f"{detect_cpu().name} ({platform.machine()}, {os.cpu_count()} CPUs)"


def replaced(readme: str, text: str) -> str:
    """README with `text` between the markers. Raises PeerError where they are not."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise PeerError(f"README.md has no lines {BEGIN.strip()} and {END.strip()}")
    return f"{before}{BEGIN}{text}{END}{after}"


def load_words(options: argparse.Namespace) -> list[str]:
    """The load, in loadtest's own words: distinct prompts of random tokens, answers of one length."""
    words = ["--input-len", str(options.n_prompt), "--output-len", str(options.n_gen), "--rounds", str(options.rounds)]
    words += ["--concurrency", options.concurrency, "-n", str(options.num_prompts), "--num-warmups", "4"]
    return words + [word for objective in options.slo for word in ("--slo", objective)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.peer.serving", description="gemmule beside llama-server")
    parser.add_argument("model", nargs="?", type=Path, help="a GGUF file (default: the demo model as pure Q4_0)")
    parser.add_argument("-c", "--concurrency", default="1,16,32", help="callers (default: 1,16,32)")
    parser.add_argument("-n", "--num-prompts", type=int, default=64, help="of a round and load (default: 64)")
    parser.add_argument("-p", "--n-prompt", type=int, default=128, help="tokens of a prompt (default: 128)")
    parser.add_argument("-g", "--n-gen", type=int, default=64, help="tokens of an answer (default: 64)")
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("-r", "--rounds", type=int, default=3)
    parser.add_argument("--max-batch", type=int, default=32, help="of gemmule (default: 32, its own)")
    parser.add_argument("--slots", type=int, default=16, help="of llama-server, its -np (default: 16)")
    parser.add_argument("--slo", action="append", default=[], metavar="KEY<=BOUND", help="of a ratio; repeatable")
    parser.add_argument("--write", action="store_true", help="replace the table of README.md")
    parser.add_argument("--json", action="store_true", help="all rounds, instead of the table")
    options = parser.parse_args()
    try:
        model = options.model or quantised_purely(resolve_model(DEFAULT_MODEL), "Q4_0")
        ctx = options.n_prompt + options.n_gen + 64
        serving = Serving(model, options.threads, options.max_batch, options.slots, ctx)
        comparisons = compared(serving, load_words(options))
        text = paragraph(comparisons, serving, [word for word in sys.argv[1:] if word not in ("--write", "--json")])
        if options.write:
            README.write_text(replaced(README.read_text(), text))
    except (PeerError, GemmuleError, OSError) as error:
        sys.exit(f"compare: {error}")
    print(json.dumps(comparisons, indent=2) if options.json else text)


if __name__ == "__main__":
    main()
