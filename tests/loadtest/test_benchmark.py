"""What is measured on a server of known delays, in virtual time: the arithmetic is exact, whatever the machine does."""

import asyncio
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from loadtest.arrivals import Arrivals, Ramp
from loadtest.benchmark import Plan, Result, measure
from loadtest.errors import Unreachable
from loadtest.http_client import HttpClient
from loadtest.load import Load
from loadtest.prompts import Lengths, Source, Synthetic
from loadtest.slo import Goodput
from tests.loadtest.mock_server import Delays
from tests.loadtest.virtual_time import run_virtually

EXACT = 1e-6
TOKEN_IDS = Synthetic(Lengths(100, 11), token_ids=(0, 50))


def measured(server: Delays, load: Load, source: Source = TOKEN_IDS, **of_plan: Any) -> Result:
    """One run on the mock server, without a warm-up unless asked for."""

    async def work() -> Result:
        clock = asyncio.get_running_loop().time
        chat = isinstance(source, Synthetic) and source.token_ids is None
        client = HttpClient("http://mock", clock=clock, chat=chat, transport=server, timeout_s=60.0)
        try:
            return await measure(client, Plan(source, **({"num_warmups": 0} | of_plan)), load, clock=clock)
        finally:
            await client.close()

    return run_virtually(work())


def test_latencies_are_those_of_the_server() -> None:
    figures = measured(Delays(), Load(20, concurrency=4)).summary
    for name, wanted_ms in {"ttft": 250, "tpot": 20, "itl": 20, "e2el": 450, "ntpot": 450 / 11}.items():
        for key in (f"mean_{name}_ms", f"median_{name}_ms", f"p99_{name}_ms"):
            assert figures[key] == pytest.approx(wanted_ms, rel=EXACT), key
        assert figures[f"std_{name}_ms"] == pytest.approx(0, abs=1e-6)


def test_throughputs_of_a_closed_loop() -> None:
    """20 requests by 4 callers are 5 in a row of 0.45 s."""
    figures = measured(Delays(), Load(20, concurrency=4)).summary
    assert figures["duration"] == pytest.approx(5 * 0.45, rel=EXACT)
    assert figures["request_throughput"] == pytest.approx(20 / 2.25, rel=EXACT)
    assert figures["output_throughput"] == pytest.approx(220 / 2.25, rel=EXACT)
    assert figures["total_token_throughput"] == pytest.approx((220 + 2000) / 2.25, rel=EXACT)
    assert (figures["completed"], figures["failed"], figures["max_concurrent_requests"]) == (20, 0, 4)
    assert (figures["total_input_tokens"], figures["total_output_tokens"]) == (2000, 220)
    assert figures["total_cached_tokens"] == 60


def test_percentiles_interpolate_as_numpy_does() -> None:
    server = Delays(ttft_s=lambda number: 0.010 * (number + 1))
    figures = measured(server, Load(50, concurrency=1)).summary
    values = [10.0 * (number + 1) for number in range(50)]
    for percentile in (50, 90, 95, 99):
        assert figures[f"p{percentile}_ttft_ms"] == pytest.approx(np.percentile(values, percentile), rel=EXACT)
    assert figures["mean_ttft_ms"] == pytest.approx(255.0, rel=EXACT)
    assert figures["std_ttft_ms"] == pytest.approx(np.std(values), rel=EXACT)


@pytest.mark.parametrize("burstiness", [0.3, 1.0, 4.0, float("inf")])
def test_an_open_loop_offers_the_rate(burstiness: float) -> None:
    """However slow the server: 1 s an answer, 20 requests per second, nobody waits for anybody."""
    server = Delays(ttft_s=lambda number: 0.8)
    result = measured(server, Load(201, arrivals=Arrivals(20.0, burstiness)))
    starts = [record.start_s for record in result.records]
    assert starts[-1] - starts[0] == pytest.approx(200 / 20.0, rel=EXACT)
    assert result.summary["p99_lateness_ms"] == pytest.approx(0, abs=1e-6)
    assert result.summary["mean_e2el_ms"] == pytest.approx(1000, rel=EXACT)


def test_an_open_loop_with_a_limit_waits_for_a_place() -> None:
    """2 places of 0.45 s carry 4.4 requests per second, not 100: the rest is late, and the lateness says so."""
    figures = measured(Delays(), Load(20, concurrency=2, arrivals=Arrivals(100.0, float("inf")))).summary
    assert figures["max_concurrent_requests"] == 2
    assert figures["request_throughput"] == pytest.approx(
        20 / (10 * 0.45 + 0.01), rel=EXACT
    )  # the second place is taken 0.01 s later
    assert figures["p99_lateness_ms"] > 1000


def test_an_infinite_rate_sends_all_at_once() -> None:
    result = measured(Delays(), Load(30, arrivals=Arrivals(float("inf"))))
    assert {record.start_s for record in result.records} == {0.0}
    assert result.summary["max_concurrent_requests"] == 30
    assert result.summary["request_rate"] == "inf"


def test_a_ramp_ends_faster_than_it_begins() -> None:
    ramp = Ramp("linear", 2.0, 20.0)
    result = measured(Delays(), Load(100, arrivals=Arrivals(20.0, float("inf"), ramp)))
    starts = [record.start_s for record in result.records]
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] == pytest.approx(1 / 20.0, rel=EXACT)


def test_a_duration_ends_the_sending_not_the_answers() -> None:
    result = measured(Delays(), Load(1, concurrency=3, duration_s=1.0))
    assert len(result.records) == 9  # begun at 0, 0.45 and 0.9 s
    assert all(record.is_complete for record in result.records)
    assert result.summary["duration"] == pytest.approx(1.35, rel=EXACT)
    opened = measured(Delays(), Load(1, arrivals=Arrivals(10.0, float("inf")), duration_s=2.0))
    assert len(opened.records) in (20, 21)  # a tenth has no exact float


def test_turns_carry_what_was_said_and_answered() -> None:
    server = Delays()
    source = Synthetic(Lengths(5, 3), num_turns=3)
    result = measured(server, Load(2, concurrency=1, think_s=10.0), source)
    assert [len(body["messages"]) for body in server.seen] == [1, 3, 5, 1, 3, 5]
    first, last = server.seen[0]["messages"], server.seen[2]["messages"]
    assert last[0] == first[0]
    assert last[1] == {"role": "assistant", "content": " t0 t1 t2"}
    assert [record.turn for record in result.records] == [0, 1, 2] * 2
    gaps = [later.start_s - earlier.end_s for earlier, later in pairwise(result.records)]
    assert gaps == pytest.approx([10, 10, 0, 10, 10], rel=EXACT)
    assert result.summary["mean_e2el_ms"] == pytest.approx(290, rel=EXACT)


def test_failures_are_counted_by_cause_and_lower_no_latency() -> None:
    server = Delays(refuses=lambda number: 503 if number % 4 == 0 else 200)
    result = measured(server, Load(20, concurrency=1), goodput=Goodput.parse(["ttft:300"]))
    figures = result.summary
    assert (figures["completed"], figures["failed"]) == (15, 5)
    assert figures["failures"] == {"HTTP 503": 5}
    assert figures["mean_ttft_ms"] == pytest.approx(250, rel=EXACT)
    assert figures["goodput_ratio"] == pytest.approx(0.75), "a request that failed was not good"
    assert result.records[0].error == "HTTP 503: the queue is full"


def test_a_stream_that_is_cut_off_has_failed() -> None:
    figures = measured(Delays(cut_after=4), Load(2, concurrency=1)).summary
    assert figures["failures"] == {"cut off": 2}
    assert figures["mean_ttft_ms"] is None


def test_a_request_that_takes_too_long_has_failed() -> None:
    figures = measured(Delays(ttft_s=lambda number: 100.0), Load(1, concurrency=1)).summary
    assert figures["failures"] == {"timeout": 1}


def test_chunks_are_counted_where_the_server_does_not_count() -> None:
    figures = measured(Delays(sends_usage=False), Load(4, concurrency=1)).summary
    assert figures["total_output_tokens"] == 44


def test_goodput_is_of_every_limit() -> None:
    server = Delays(ttft_s=lambda number: 0.1 * (1 + number % 4), itl_s=lambda number: 0.01 * (1 + number % 2))
    figures = measured(server, Load(40, concurrency=1), goodput=Goodput.parse(["ttft:350", "tpot:15"])).summary
    assert figures["goodput_ratio"] == pytest.approx(0.5)  # numbers 0 and 2 of 4
    assert figures["request_goodput"] == pytest.approx(20 / figures["duration"])


def test_a_warm_up_is_sent_and_not_counted() -> None:
    server = Delays()
    assert measured(server, Load(5, concurrency=1), num_warmups=3).summary["completed"] == 5
    assert len(server.seen) == 8
    assert server.seen[0]["prompt"] != server.seen[3]["prompt"]


def test_it_waits_until_the_server_is_ready() -> None:
    assert measured(Delays(not_ready=5), Load(1, concurrency=1)).summary["model_id"] == "mock"
    with pytest.raises(Unreachable, match="not ready after 2 s"):
        measured(Delays(not_ready=10_000), Load(1, concurrency=1), ready_s=2.0)


def test_the_same_seed_sends_the_same() -> None:
    one, same, other = Delays(), Delays(), Delays()
    load = Load(10, arrivals=Arrivals(5.0))
    starts = [
        [record.start_s for record in measured(server, load, seed=seed).records]
        for server, seed in ((one, 1), (same, 1), (other, 2))
    ]
    assert one.seen == same.seen
    assert starts[0] == starts[1] != starts[2]
    assert one.seen != other.seen


def test_two_hundred_streams_at_once() -> None:
    figures = measured(Delays(), Load(400, concurrency=200)).summary
    assert figures["max_concurrent_requests"] == 200
    assert figures["duration"] == pytest.approx(0.9, rel=EXACT)
    assert figures["p99_ttft_ms"] == pytest.approx(250, rel=EXACT)
