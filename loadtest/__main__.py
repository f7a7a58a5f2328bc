"""`python -m loadtest URL` and `python -m loadtest compare A B`: arguments in, figures and an exit code out."""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import uvloop
from rich.console import Console

from loadtest.benchmark import Plan, Result, measure
from loadtest.compare import Comparison, compare
from loadtest.errors import LoadtestError
from loadtest.load import Load
from loadtest.options import client_of, goodput_of, load_arguments, loads_of, source_of
from loadtest.progress import LiveProgress
from loadtest.report import check_report, write_report
from loadtest.slo import Objective
from loadtest.summary import Summary
from loadtest.table import figures_table, headline, sweep_table

USAGE_ERROR, MISSED = 2, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1: an objective is missed or nothing was answered; 2: a wrong argument or a server that is not there."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if words[:1] == ["compare"]:
            return _compare(words[1:])
        return _measure(words)
    except LoadtestError as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print("loadtest: interrupted", file=sys.stderr)
        return 130


def _measure(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest",
        parents=[load_arguments()],
        description="Load on a server of OpenAI's completions, and its latencies. To compare two servers: "
        "python -m loadtest compare A B",
    )
    parser.add_argument("url", metavar="URL", help="of the server, e.g. http://127.0.0.1:8080; grpc://127.0.0.1:8081")
    options = parser.parse_args(words)
    plan, loads = _plan(options), loads_of(options)
    for path in options.report:
        check_report(path)
    results = uvloop.run(_all_loads(options, plan, loads))
    summaries = [result.summary for result in results]
    for path in options.report:
        write_report(path, results)
    if options.json:
        print(json.dumps(summaries[0] if len(summaries) == 1 else summaries, indent=2))
    else:
        console = _console()
        for summary in summaries:
            console.print(headline(summary), soft_wrap=True)
            console.print(figures_table(summary, options.metric_percentiles))
        if len(summaries) > 1:
            console.print(sweep_table(summaries))
    return _verdict(options.slo, summaries)


async def _all_loads(options: argparse.Namespace, plan: Plan, loads: Sequence[Load]) -> list[Result]:
    clock = time.monotonic  # uvloop's own counts whole milliseconds
    client = client_of(options, options.url, clock)
    try:
        results = []
        for load in loads:
            with LiveProgress(client.url, load, quiet=options.quiet) as progress:
                results.append(await measure(client, plan, load, clock=clock, observer=progress))
        return results
    finally:
        await client.close()


def _compare(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest compare",
        parents=[load_arguments()],
        description="Two servers under the same load in turn: medians, ratios A/B and their 95 % intervals. "
        "--slo holds a bound against a ratio, e.g. output_throughput>=1.",
    )
    parser.add_argument("a", metavar="A", help="URL of a server")
    parser.add_argument("b", metavar="B", help="URL of the other")
    parser.add_argument("--names", nargs=2, metavar=("A", "B"), help="for the table (default: the URLs)")
    parser.add_argument("--rounds", type=int, default=5, help="each runs both servers (default: 5)")
    options = parser.parse_args(words)
    if options.rounds < 1:
        parser.error(f"at least 1 round, not {options.rounds}")
    comparisons = uvloop.run(_compare_all(options, _plan(options), loads_of(options)))
    if options.json:
        made = [comparison.as_json() for comparison in comparisons]
        print(json.dumps(made[0] if len(made) == 1 else made, indent=2))
    else:
        console = _console()
        for comparison in comparisons:
            console.print(comparison.table())
    answered = _verdict((), [summary for one in comparisons for pair in one.rounds for summary in pair])
    return max(answered, _verdict(options.slo, [comparison.ratios() for comparison in comparisons]))


async def _compare_all(options: argparse.Namespace, plan: Plan, loads: Sequence[Load]) -> list[Comparison]:
    clock = time.monotonic  # uvloop's own counts whole milliseconds
    names = tuple(options.names or (options.a, options.b))
    if names[0] == names[1]:
        names = (f"{names[0]} (A)", f"{names[1]} (B)")
    clients = {name: client_of(options, url, clock) for name, url in zip(names, (options.a, options.b), strict=True)}

    async def measured(name: str, load: Load, number: int) -> Summary:
        # Another load or round, other prompts: what a server kept of those before is no help.
        seed = plan.seed + number * len(loads) + loads.index(load)
        of_round = Plan(plan.source, plan.num_warmups, plan.ready_s, seed, plan.goodput, plan.percentiles)
        with LiveProgress(f"round {number + 1}, {name}", load, quiet=options.quiet) as progress:
            return (await measure(clients[name], of_round, load, clock=clock, observer=progress)).summary

    try:
        return await compare((names[0], names[1]), loads, options.rounds, measured)
    finally:
        for client in clients.values():
            await client.close()


def _plan(options: argparse.Namespace) -> Plan:
    return Plan(
        source_of(options),
        num_warmups=options.num_warmups,
        ready_s=options.ready_timeout,
        seed=options.seed,
        goodput=goodput_of(options),
        percentiles=options.metric_percentiles,
    )


def _verdict(objectives: Iterable[Objective], summaries: Sequence[Mapping[str, Any]]) -> int:
    status = 0
    for summary in summaries:
        if summary.get("completed") == 0:
            print(f"loadtest: no request was answered: {summary['failures']}", file=sys.stderr)
            status = MISSED
        for miss in filter(None, (objective.miss(summary) for objective in objectives)):
            print(f"loadtest: missed: {miss}", file=sys.stderr)
            status = MISSED
    return status


def _console() -> Console:
    return Console(width=max(120, Console().width))


if __name__ == "__main__":
    sys.exit(main())
