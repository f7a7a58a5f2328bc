"""Records -> the figures of a run, under the keys of `vllm bench serve`. Knows no server.

Percentiles interpolate linearly between the two nearest values, as numpy and vLLM do.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from loadtest.record import Record
from loadtest.slo import Goodput

METRICS = ("ttft", "tpot", "itl", "e2el", "ntpot")
PERCENTILES = (50.0, 90.0, 95.0, 99.0)

Summary = dict[str, Any]


def summarise(
    records: Sequence[Record],
    *,
    goodput: Goodput | None = None,
    percentiles: Sequence[float] = PERCENTILES,
) -> Summary:
    """Throughputs are per second of the time from the first sending to the last answer's end."""
    complete = [record for record in records if record.is_complete]
    failed = [record for record in records if not record.is_complete]
    duration_s = span_s(records)
    output_tokens = sum(record.output_tokens for record in complete)
    input_tokens = sum(record.prompt_tokens for record in complete)
    made: Summary = {
        "duration": duration_s,
        "completed": len(complete),
        "failed": len(failed),
        "failures": dict(Counter(str(record.error).split(":")[0] for record in failed)),
        "total_input_tokens": input_tokens,
        "total_output_tokens": output_tokens,
        "total_cached_tokens": sum(record.cached_tokens for record in complete),
        "request_throughput": _per_second(len(complete), duration_s),
        "request_goodput": None,
        "goodput_ratio": None,
        "output_throughput": _per_second(output_tokens, duration_s),
        "total_token_throughput": _per_second(input_tokens + output_tokens, duration_s),
        "max_output_tokens_per_s": peak_tokens_per_s(complete),
        "max_concurrent_requests": peak_concurrency(records),
    }
    if goodput is not None:
        num_good = sum(map(goodput.is_met, complete))
        made["request_goodput"] = _per_second(num_good, duration_s)
        made["goodput_ratio"] = num_good / len(records) if records else 0.0
    for name, values in values_ms(complete).items():
        made.update(_statistics(name, values, percentiles))
    made.update(_statistics("lateness", [record.late_s * 1e3 for record in records], percentiles))
    return made


def values_ms(records: Sequence[Record]) -> dict[str, list[float]]:
    """Metric -> its values in ms: one a request, for itl one a gap."""
    return {
        "ttft": [record.ttft_s * 1e3 for record in records],
        "tpot": [tpot_s * 1e3 for record in records if (tpot_s := record.tpot_s) is not None],
        "itl": [gap_s * 1e3 for record in records for gap_s in record.itl_s],
        "e2el": [record.e2e_s * 1e3 for record in records],
        "ntpot": [ntpot_s * 1e3 for record in records if (ntpot_s := record.ntpot_s) is not None],
    }


def span_s(records: Sequence[Record]) -> float:
    if not records:
        return 0.0
    return max(record.end_s for record in records) - min(record.start_s for record in records)


def peak_concurrency(records: Sequence[Record]) -> int:
    """The most requests that were under way at one time."""
    # An end and a start at the same moment are one place, used again: ends sort first.
    changes = sorted([(record.start_s, 1) for record in records] + [(record.end_s, -1) for record in records])
    now = most = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def tokens_by_second(records: Sequence[Record]) -> Mapping[int, float]:
    """Second of the run -> output tokens that arrived in it; a chunk counts as its share of the answer's tokens."""
    made: Counter[int] = Counter()
    for record in records:
        for moment_s in record.chunk_s:
            made[math.floor(moment_s)] += record.output_tokens / len(record.chunk_s)  # type: ignore[assignment]
    return made


def peak_tokens_per_s(records: Sequence[Record]) -> float:
    return float(max(tokens_by_second(records).values(), default=0.0))


def details(records: Sequence[Record]) -> Summary:
    """A list for each fact, an entry a request: what `vllm bench serve --save-detailed` adds."""
    return {
        "input_lens": [record.prompt_tokens for record in records],
        "output_lens": [record.output_tokens for record in records],
        "start_times": [record.start_s for record in records],
        "ttfts": [record.ttft_s for record in records],
        "itls": [list(record.itl_s) for record in records],
        "generated_texts": [record.text for record in records],
        "errors": [record.error or "" for record in records],
    }


def percentile_key(percentile: float, name: str) -> str:
    return f"p{percentile:g}_{name}_ms"


def _statistics(name: str, values: Sequence[float], percentiles: Sequence[float]) -> Summary:
    """None where there is nothing to tell: a mean of no value is not 0."""
    array = np.array(values)
    made: Summary = {
        f"mean_{name}_ms": float(array.mean()) if values else None,
        f"median_{name}_ms": float(np.median(array)) if values else None,
        f"std_{name}_ms": float(array.std()) if values else None,
    }
    for percentile in percentiles:
        key = percentile_key(percentile, name)
        made[key] = float(np.percentile(array, percentile)) if values else None
    return made


def _per_second(amount: float, duration_s: float) -> float:
    return amount / duration_s if duration_s > 0 else 0.0
