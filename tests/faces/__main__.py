"""`python -m tests.faces fuzz|schemas|streams|hostile`: each starts its own server; status 1 if its bar is not met."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.end_to_end.server import served
from tests.faces import schemas, streams
from tests.faces.hostile import NUM_CONNECTIONS, Hostility
from tests.tiny_gguf import write_tiny_gguf

DEMO = "smollm2-135m-instruct"
MIN_CASES = 2000


def fuzz(folder: Path, arguments: argparse.Namespace) -> bool:
    """At least 2,000 generated requests; no 5xx, no schema violation, plain and streamed."""
    from tests.faces.fuzz import Fuzz

    model = write_tiny_gguf(folder / "tiny.gguf", context=512) if arguments.model == DEMO else arguments.model
    with served(model, folder / "server", "--threads", "1") as server:
        made = Fuzz(server.url, arguments.cases, arguments.seed)
        made.run()
    for route, tally in made.tallies.items():
        statuses = ", ".join(f"{number} x {status}" for status, number in sorted(tally.statuses.items()))
        print(f"{route:45} {tally.num_cases:5} cases, {tally.num_streams:4} streams: {statuses}")
    num_cases = sum(tally.num_cases for tally in made.tallies.values())
    num_streams = sum(tally.num_streams for tally in made.tallies.values())
    print(f"{num_cases} cases, {num_streams} of them streamed: no 5xx, no schema violation")
    return num_cases >= MIN_CASES and num_streams > 0


def structured(folder: Path, arguments: argparse.Namespace) -> bool:
    """200 JSON schemas: every answer parses and validates; what cannot be compiled is a 400 with the reason."""
    with served(arguments.model, folder / "server") as server:
        study = asyncio.run(schemas.ask_all(server.url, arguments.concurrency, say))
        failures = [*study.failures, *asyncio.run(schemas.refused(server.url))]
    print("\n".join(failures))
    print(f"{study.num_valid} answers of {study.num_tokens} tokens parse and validate, {len(study.failures)} do not")
    print(f"{len(schemas.REFUSED)} schemas that cannot be compiled, each a 400 with the reason")
    return not failures


def both(folder: Path, arguments: argparse.Namespace) -> bool:
    """64 gRPC streams beside 64 HTTP streams: nothing is lost, the tokens are the same."""
    with served(arguments.model, folder / "server") as server:
        different = asyncio.run(streams.both_faces(server, arguments.streams))
    print(f"{arguments.streams} streams of each face at once: none lost, same texts, {different} different ones")
    return different > arguments.streams // 2


def hostile(folder: Path, arguments: argparse.Namespace) -> bool:
    """10,000 connections of each kind that means no good: bounded, let go of, and nobody else hangs."""
    model = write_tiny_gguf(folder / "tiny.gguf", context=512)
    bound = 512
    flags = ("--max-connections", str(bound), "--threads", "1", "--max-queue", "64")
    with served(model, folder / "server", *flags) as server:
        asyncio.run(Hostility(server, bound, say).run(arguments.connections))
    return True


def say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.faces", description=__doc__)
    studies = {"fuzz": fuzz, "schemas": structured, "streams": both, "hostile": hostile}
    parser.add_argument("study", choices=studies)
    parser.add_argument("--model", default=DEMO, help=f"default: {DEMO}, but a tiny random one to fuzz")
    parser.add_argument(
        "--cases", type=int, default=220, help="of each kind on each route that generates (default: 220)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the generated requests")
    parser.add_argument("--concurrency", type=int, default=16, help="schemas asked for at once (default: 16)")
    parser.add_argument("--streams", type=int, default=64, help="of each face (default: 64)")
    parser.add_argument("--connections", type=int, default=NUM_CONNECTIONS, help="of each kind (default: 10,000)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return 0 if studies[arguments.study](Path(folder), arguments) else 1


if __name__ == "__main__":
    sys.exit(main())
