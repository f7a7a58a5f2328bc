"""What the server of known delays promises, and the verdict on a figure; the check itself is `make loadtest-check`."""

import asyncio

import numpy as np
import pytest

from loadtest.conversation import Ask, Turn
from loadtest.http_client import HttpClient
from tools.loadcheck.__main__ import Figure, table
from tools.loadcheck.known_server import NUM_STEPS, Delays, KnownServer
from tools.loadcheck.second import METRICS, figures


def test_delays_are_spread_evenly() -> None:
    delays = Delays(0.4, 0.05)
    found = [delays.ttft_of(number) for number in range(2 * NUM_STEPS)]
    assert found[:NUM_STEPS] == found[NUM_STEPS:]
    assert (found[0], found[NUM_STEPS - 1]) == pytest.approx((0.4, 0.8))
    assert np.diff(found[:NUM_STEPS]) == pytest.approx(0.4 / (NUM_STEPS - 1))


def test_two_per_cent_either_way() -> None:
    assert Figure("x", 1.0199, 1.0).is_met
    assert not Figure("x", 1.021, 1.0).is_met
    assert not Figure("x", 0.979, 1.0).is_met
    assert table([Figure("x", 2.0, 1.0)]).row_count == 1


@pytest.mark.parametrize("chat", [False, True])
async def test_it_streams_what_was_asked_for(chat: bool) -> None:
    server = await asyncio.start_server(KnownServer(Delays(0.0, 0.0)).connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        client = HttpClient(f"http://127.0.0.1:{port}", clock=asyncio.get_running_loop().time, chat=chat)
        assert await client.ready(5.0) == "known"
        reply = await client.ask(Ask(Turn("three words here", 5)))
        await client.close()
    assert (len(reply.chunk_s), reply.output_tokens, reply.text) == (5, 5, " t" * 5)


def test_the_other_tool_s_words_are_ours() -> None:
    """Its request latency is in seconds; its inter-token latency is our TPOT, its TPOT our NTPOT."""
    percentiles = {"p50": 2.0, "p90": 3.0, "p95": 4.0}
    theirs = {name: {"mean": 1.0, "percentiles": percentiles} for name in METRICS}
    names = {"ttft": 1.0, "tpot": 1.0, "ntpot": 1.0, "e2el": 1000.0}
    ours = {f"mean_{name}_ms": unit for name, unit in names.items()}
    ours |= {f"p{p}_{name}_ms": unit * percentiles[f"p{p}"] for name, unit in names.items() for p in (50, 90, 95)}
    assert all(figure.is_met for figure in figures(theirs, ours))
    ours["mean_tpot_ms"] = 1.06
    assert [figure.name for figure in figures(theirs, ours) if not figure.is_met] == ["tpot mean, ms"]
