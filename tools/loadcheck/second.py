"""`python -m tools.loadcheck.second GUIDELLM`: another tool on the same server, its figures beside the load test's.

Both send as many requests at the same rate to a server of known delays that has just begun, so both meet the same
delays; the words of the two are not the same (docs/loadtest.md).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from tools.loadcheck.__main__ import Figure, known_server, loadtest, table
from tools.loadcheck.known_server import NUM_STEPS, Delays

WITHIN = 0.05
NUM_TOKENS = 32
# Its metric, in ms times this, and the key of ours.
METRICS = {
    "time_to_first_token_ms": (1.0, "ttft"),
    "inter_token_latency_ms": (1.0, "tpot"),
    "time_per_output_token_ms": (1.0, "ntpot"),
    "request_latency": (1e3, "e2el"),
}
LIMIT_S = 300.0


def guidellm(program: Path, url: str, rate: float) -> Mapping[str, Any]:
    """Its metrics of answered requests, by name."""
    with tempfile.TemporaryDirectory(prefix="loadcheck-") as folder:
        prompts, result = Path(folder) / "prompts.jsonl", Path(folder) / "result.json"
        asked = ({"prompt": f"number {index}", "output_tokens_count": NUM_TOKENS} for index in range(NUM_STEPS))
        prompts.write_text("".join(json.dumps(one) + "\n" for one in asked))
        command = [str(program), "run", "--disable-console", "--backend", f"kind=openai_http,target={url}"]
        command += ["--profile", f"kind=constant,rate={rate:g}", "--constraint", f"kind=max_requests,count={NUM_STEPS}"]
        command += ["--data", f"kind=json_file,path={prompts}", "--output", f"kind=json,path={result}"]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        subprocess.run(command, check=True, env=environment, timeout=LIMIT_S, capture_output=True)
        metrics = json.loads(result.read_text())["benchmarks"][0]["metrics"]
    return {name: metrics[name]["successful"] for name in METRICS}


def figures(found: Mapping[str, Any], ours: Mapping[str, Any]) -> list[Figure]:
    """Ours as the measured, theirs as the known."""
    made = []
    for name, (unit, key) in METRICS.items():
        made.append(Figure(f"{key} mean, ms", ours[f"mean_{key}_ms"], unit * found[name]["mean"], WITHIN))
        for percentile in (50, 90, 95):
            theirs = unit * found[name]["percentiles"][f"p{percentile}"]
            made.append(Figure(f"{key} p{percentile}, ms", ours[f"p{percentile}_{key}_ms"], theirs, WITHIN))
    return made


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.loadcheck.second", description="loadtest beside guidellm")
    parser.add_argument(
        "guidellm", type=Path, help="the program: .venv-guidellm/bin/guidellm of `make loadtest-second`"
    )
    parser.add_argument("--rate", type=float, default=5.0, help="requests/s (default: 5)")
    options = parser.parse_args()
    with known_server(Delays()) as url:
        theirs = guidellm(options.guidellm.absolute(), url, options.rate)
    with known_server(Delays()) as url:
        words = ["--rate", str(options.rate), "--burstiness", "inf", "-n", str(NUM_STEPS)]
        ours = loadtest(url, *words, "--output-len", str(NUM_TOKENS))
    found = figures(theirs, ours)
    Console(width=max(100, Console().width)).print(table(found))
    misses = [f"{one.name} differs by {one.error:+.2%}" for one in found if not one.is_met]
    for miss in misses:
        print(f"loadtest-second: {miss}", file=sys.stderr)
    return 1 if misses else 0


if __name__ == "__main__":
    sys.exit(main())
