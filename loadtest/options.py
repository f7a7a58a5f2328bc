"""The command line's arguments, and what they mean: a source of prompts, a load, objectives. Sends nothing."""

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from loadtest.arrivals import Arrivals, Ramp
from loadtest.client import Client
from loadtest.errors import BadLoad, BadPrompts
from loadtest.grpc_client import SCHEME, GrpcClient
from loadtest.http_client import HttpClient
from loadtest.load import Load
from loadtest.prompts import Lengths, Source, Synthetic, prompt_file, sharegpt_file
from loadtest.slo import Goodput, Objective
from loadtest.summary import PERCENTILES

TOKEN_IDS = (1000, 30000)
"""Of most vocabularies ordinary pieces of text: behind the control tokens, before the end."""


def load_arguments() -> argparse.ArgumentParser:
    """What `python -m loadtest URL` and `compare A B` have in common."""
    parser = argparse.ArgumentParser(add_help=False)
    load = parser.add_argument_group("load (closed loop; with a rate, open loop)")
    load.add_argument("--concurrency", "--max-concurrency", type=_numbers, metavar="N[,N...]",
                      help="callers of a closed loop, or the most requests of an open loop at a time; "
                      "a list is a sweep (default: 1 without a rate)")  # fmt: skip
    load.add_argument("--rate", "--request-rate", type=_rates, metavar="R[,R...]",
                      help="requests per second of an open loop; inf sends all at once; a list is a sweep")  # fmt: skip
    load.add_argument("--burstiness", type=float, default=1.0, metavar="B",
                      help="1 Poisson, below in bursts, above more even, inf a metronome")  # fmt: skip
    load.add_argument("--ramp", "--ramp-up-strategy", choices=("linear", "exponential"))
    load.add_argument("--ramp-from", "--ramp-up-start-rps", type=float, metavar="R")
    load.add_argument("--ramp-to", "--ramp-up-end-rps", type=float, metavar="R")
    load.add_argument("-n", "--num-prompts", type=int, default=100, help="conversations to send (default: 100)")
    load.add_argument("--duration", type=float, metavar="S", help="send for so long instead of a number")
    load.add_argument("--think", type=float, default=0.0, metavar="S", help="between the turns of a conversation")
    load.add_argument("--num-warmups", type=int, default=2, help="requests before, not counted (default: 2)")
    load.add_argument("--seed", type=int, default=0)

    prompts = parser.add_argument_group("prompts (random token ids; with --chat, --turns or --words random words)")
    prompts.add_argument("--input-len", type=int, default=128, metavar="TOKENS")
    prompts.add_argument("--output-len", type=int, metavar="TOKENS", help="default: 64; ShareGPT's own lengths")
    prompts.add_argument("--range-ratio", type=float, default=0.0, metavar="R", help="lengths vary by so much, 0 to 1")
    prompts.add_argument("--prefix-len", type=int, default=0, metavar="TOKENS", help="shared at the front of prompts")
    prompts.add_argument("--num-prefixes", type=int, default=1, metavar="N", help="different shared prefixes")
    prompts.add_argument("--turns", type=int, default=1, metavar="N", help="of a conversation; more than 1 is a chat")
    prompts.add_argument("--words", action="store_true", help="words, about a token each, instead of token ids")
    prompts.add_argument("--token-ids", type=_pair, default=TOKEN_IDS, metavar="FIRST:BEHIND", help="to draw from")
    prompts.add_argument("--prompts", type=Path, metavar="FILE", help="a prompt a line; .jsonl: prompts or messages")
    prompts.add_argument("--sharegpt", type=Path, metavar="FILE", help="conversations in ShareGPT's JSON")

    request = parser.add_argument_group("requests")
    request.add_argument("--chat", action="store_true", help="/v1/chat/completions instead of /v1/completions")
    request.add_argument("--model", help="default: the first of /v1/models")
    request.add_argument("--temperature", type=float, default=0.0)
    request.add_argument("--stop-at-eos", action="store_true", help="let the model end its answers (no ignore_eos)")
    request.add_argument("--body", type=_object, default={}, metavar="JSON", help="more fields for every request")
    request.add_argument("--header", action="append", type=_header, default=[], metavar="NAME:VALUE")
    request.add_argument("--timeout", type=float, default=600.0, metavar="S", help="of a request (default: 600)")
    request.add_argument("--ready-timeout", type=float, default=60.0, metavar="S", help="until the server answers")

    result = parser.add_argument_group("results")
    result.add_argument("--goodput", nargs="+", metavar="METRIC:MS", help="limits of a good request: ttft tpot e2el")
    result.add_argument("--slo", action="append", type=Objective.parse, default=[], metavar="KEY<=BOUND",
                        help="exit with 1 when a figure misses it, e.g. p99_ttft_ms<=500; repeatable")  # fmt: skip
    result.add_argument("--metric-percentiles", type=_percentiles, default=PERCENTILES, metavar="P[,P...]")
    result.add_argument("--json", action="store_true", help="the figures as JSON, with vllm bench serve's keys")
    result.add_argument("--report", action="append", type=Path, default=[], metavar="FILE",
                        help="also a .json with every request, .csv, .html, .png or .svg; repeatable")  # fmt: skip
    result.add_argument("--quiet", action="store_true", help="no progress")
    return parser


def source_of(options: argparse.Namespace) -> Source:
    if options.prompts and options.sharegpt:
        raise BadPrompts("--prompts or --sharegpt, not both")
    output_len = options.output_len or 64
    if options.prompts:
        return prompt_file(options.prompts, output_len)
    if options.sharegpt:
        return sharegpt_file(options.sharegpt, options.output_len, options.turns)
    return Synthetic(
        Lengths(options.input_len, output_len, options.range_ratio),
        token_ids=None if options.words or is_chat(options) else options.token_ids,
        prefix_len=options.prefix_len,
        num_prefixes=options.num_prefixes,
        num_turns=options.turns,
    )


def is_chat(options: argparse.Namespace) -> bool:
    return bool(options.chat or options.turns > 1)


def loads_of(options: argparse.Namespace) -> list[Load]:
    """One, or one for each point of a sweep."""
    concurrencies: Sequence[int | None] = options.concurrency or [None]
    rates: Sequence[float | None] = options.rate or [None]
    if len(concurrencies) > 1 and len(rates) > 1:
        raise BadLoad("sweep --concurrency or --rate, not both")
    if (options.ramp is None) != (options.ramp_from is None) or (options.ramp is None) != (options.ramp_to is None):
        raise BadLoad("a ramp wants --ramp, --ramp-from and --ramp-to")
    if options.ramp is not None and options.rate is not None:
        raise BadLoad("--rate or --ramp, not both")
    base = Load(options.num_prompts, concurrency=1, duration_s=options.duration, think_s=options.think)
    if options.ramp is not None:
        ramp = Ramp(options.ramp, options.ramp_from, options.ramp_to)
        arrivals = Arrivals(max(ramp.start_rps, ramp.end_rps), options.burstiness, ramp)
        return [replace(base, concurrency=number, arrivals=arrivals) for number in concurrencies]
    if options.rate is not None:
        return [
            replace(base, concurrency=number, arrivals=Arrivals(rate, options.burstiness))
            for rate in options.rate
            for number in concurrencies
        ]
    return [replace(base, concurrency=1 if number is None else number) for number in concurrencies]


def client_of(options: argparse.Namespace, url: str, clock: Callable[[], float]) -> Client:
    body = {"temperature": options.temperature, **({} if options.stop_at_eos else {"ignore_eos": True}), **options.body}
    if url.startswith(SCHEME):
        return GrpcClient(
            url,
            clock=clock,
            chat=is_chat(options),
            model=options.model,
            options=body,
            headers=dict(options.header),
            timeout_s=options.timeout,
        )
    return HttpClient(
        url if "://" in url else f"http://{url}",
        clock=clock,
        chat=is_chat(options),
        model=options.model,
        body=body,
        headers=dict(options.header),
        timeout_s=options.timeout,
    )


def goodput_of(options: argparse.Namespace) -> Goodput | None:
    return Goodput.parse(options.goodput) if options.goodput else None


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _rates(text: str) -> list[float]:
    rates = [float(part) for part in text.split(",")]
    if not all(rate > 0 and not math.isnan(rate) for rate in rates):
        raise ValueError(text)
    return rates


def _percentiles(text: str) -> tuple[float, ...]:
    percentiles = tuple(float(part) for part in text.split(","))
    if not all(0 <= percentile <= 100 for percentile in percentiles):
        raise ValueError(text)
    return percentiles


def _pair(text: str) -> tuple[int, int]:
    first, behind = text.split(":")
    return int(first), int(behind)


def _object(text: str) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(text)
    return found


def _header(text: str) -> tuple[str, str]:
    name, value = text.split(":", 1)
    return name.strip(), value.strip()
