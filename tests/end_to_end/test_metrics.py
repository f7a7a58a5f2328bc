"""What /metrics of the real service shows: micro-kernels by full name and phase, latencies, blocks, compilations."""

import asyncio
import re
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families

from kernels.registry import matmul_variants
from tests.end_to_end.requests import CHAT, COMPLETIONS, GREEDY, SEEDED, STORY, answers, others
from tests.end_to_end.server import Metrics, Server, post, served

PHASES = ("prefill", "decode", "mixed")
NUM_THREADS = 2
HISTOGRAM = "gemmule_kernel_duration_seconds"


@pytest.fixture(scope="module")
def busy(server: Server) -> tuple[Metrics, Metrics]:
    """Scrapes before and after requests of every kind."""
    before = server.metrics()
    asyncio.run(answers(server.url, [GREEDY]))
    asyncio.run(answers(server.url, [*others(15), SEEDED]))
    post(server, CHAT, {"messages": [{"role": "user", "content": STORY}], "max_tokens": 3})
    return before, server.metrics()


def test_every_kernel_has_a_histogram_in_every_phase(server: Server, busy: tuple[Metrics, Metrics]) -> None:
    after = busy[1]
    series = after.labels(f"{HISTOGRAM}_count")
    assert all(set(labels) == {"kernel", "op", "phase"} for labels in series)
    assert {labels["phase"] for labels in series} == set(PHASES)
    line = r"^op (\S+) .*?: GEMM (\S+) \(.*?\), GEMV (\S+) \("
    announced = re.findall(line, server.out.read_text(), re.MULTILINE)
    assert [op for op, _, _ in announced] == ["attn_qkv", "attn_output", "ffn_gate_up", "ffn_down", "output"]
    names = {str(variant.name) for _, variant in matmul_variants()}
    for op, gemm, gemv in announced:
        assert {gemm, gemv} <= names
        seen = {(labels["kernel"], labels["phase"]) for labels in series if labels["op"] == op}
        expected = {(gemm, "mixed"), (gemv, "decode")} | ({(gemm, "prefill")} if op != "output" else set())
        assert expected <= seen <= {(name, phase) for name in (gemm, gemv) for phase in PHASES}
    others_seen = {labels["kernel"].split("_")[0] for labels in series} - {"matmul"}
    assert {"attention", "rope", "embedding", "swiglu", "sample"} <= others_seen


def test_kernel_counters_agree_with_their_histograms(busy: tuple[Metrics, Metrics]) -> None:
    after = busy[1]
    for labels in after.labels(f"{HISTOGRAM}_count"):
        calls = after.value("gemmule_kernel_calls_total", **labels)
        count = after.value(f"{HISTOGRAM}_count", **labels)
        assert 0 < calls <= count <= NUM_THREADS * calls  # of the threads that came in time
        assert after.value(f"{HISTOGRAM}_bucket", le="+Inf", **labels) == count
        assert after.value(f"{HISTOGRAM}_sum", **labels) > 0
        assert after.value("gemmule_kernel_wall_seconds_total", **labels) > 0
        assert after.value("gemmule_kernel_bytes_total", **labels) > 0
    for phase in PHASES:
        steps = after.value("gemmule_step_duration_seconds_count", phase=phase)
        ops = [op for op in after.labels("gemmule_kernel_calls_total") if op["op"] == "embed" and op["phase"] == phase]
        assert sum(after.value("gemmule_kernel_calls_total", **op) for op in ops) in (steps, steps + 1)  # the warm-up


def test_the_parts_of_steps_and_the_threads_add_up(busy: tuple[Metrics, Metrics]) -> None:
    after = busy[1]
    parts = {labels["part"]: labels for labels in after.labels("gemmule_step_part_seconds_total")}
    seconds = {part: after.value("gemmule_step_part_seconds_total", **labels) for part, labels in parts.items()}
    assert set(seconds) == {
        "plan", "fill", "turn", "dispatch", "kernels", "sample", "barrier", "gil_wait", "commit", "idle",
    }  # fmt: skip
    assert all(value > 0 for value in seconds.values()), seconds
    stepped_s = sum(value for part, value in seconds.items() if part != "idle")
    assert stepped_s == pytest.approx(after.sum("gemmule_step_duration_seconds_sum"), rel=0.02)
    walls = [after.sum("gemmule_thread_seconds_total", thread=str(thread)) for thread in range(NUM_THREADS)]
    assert 0 < walls[1] <= 1.1 * walls[0]  # a step that is done before a worker comes has no time of it


def test_what_a_start_chose_and_measured(server: Server, busy: tuple[Metrics, Metrics]) -> None:
    after = busy[1]
    chosen = {(labels["op"], labels["kernel"]) for labels in after.labels("gemmule_kernel_info")}
    seen = {(labels["op"], labels["kernel"]) for labels in after.labels(f"{HISTOGRAM}_count")}
    assert seen <= chosen
    assert after.value("gemmule_machine_peak_bytes_per_second") > 0
    assert {labels["peak"] for labels in after.labels("gemmule_machine_peak_ops_per_second")} == {"int8", "f32"}
    (build,) = after.labels("gemmule_build_info")
    assert build["threads"] == str(NUM_THREADS)
    assert {"read", "pack", "compile"} <= {labels["stage"] for labels in after.labels("gemmule_load_seconds")}


def test_both_formats(server: Server, busy: tuple[Metrics, Metrics]) -> None:
    response = httpx.get(f"{server.url}/metrics", headers={"accept": "application/openmetrics-text"})
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    names = {sample.name for family in openmetrics_families(response.text) for sample in family.samples}
    assert {f"{HISTOGRAM}_bucket", "process_resident_memory_bytes", "python_gc_collections_total"} <= names


def test_clients_make_no_series(server: Server, busy: tuple[Metrics, Metrics]) -> None:
    def odd_requests() -> None:
        for word in ("one", "two", "three"):
            httpx.get(f"{server.url}/{word}")
            httpx.request(word.upper(), f"{server.url}/v1/models")
            headers = {"x-request-id": word, "traceparent": f"00-{word:0>32}-{word:0>16}-01"}
            body = {**GREEDY, "model": word, "user": word, "max_tokens": 2}
            httpx.post(f"{server.url}{COMPLETIONS}", json=body, headers=headers)
            httpx.post(f"{server.url}{COMPLETIONS}", json={**body, "model": None, word: 1}, headers=headers)
            post(server, COMPLETIONS, {"prompt": word, "max_tokens": 2})

    odd_requests()
    before = set(server.metrics().samples)
    odd_requests()
    new = {key for key in set(server.metrics().samples) - before if not key[0].startswith("gemmule_kernel_")}
    assert not new
    assert len(before) < 12_000


def test_no_compilation_on_the_request_path(busy: tuple[Metrics, Metrics]) -> None:
    before, after = busy
    name = "gemmule_kernel_compilations_total"
    assert (name, frozenset()) in after.samples
    assert after.value(name) == before.value(name)


async def test_the_second_start_compiles_nothing(
    server: Server, tiny_gguf_of: Callable[..., Path], tmp_path: Path
) -> None:
    with served(tiny_gguf_of(context=4096), tmp_path, "--threads", "1") as second:
        await answers(second.url, [GREEDY, SEEDED, *others(5)])
        assert second.metrics().value("gemmule_kernel_compilations_total") == 0


def test_latencies_of_tokens_and_requests(server: Server) -> None:
    before = server.metrics()
    begun_s = time.monotonic()
    post(server, COMPLETIONS, {**GREEDY, "max_tokens": 25})
    took_s = time.monotonic() - begun_s
    after = server.wait_for_metric(
        "gemmule_generation_tokens_total", before.value("gemmule_generation_tokens_total") + 25
    )

    def grown(name: str, **labels: str) -> float:
        return after.value(name, **labels) - before.value(name, **labels)

    assert grown("gemmule_time_to_first_token_seconds_count") == 1
    assert grown("gemmule_inter_token_latency_seconds_count") == 24
    assert grown("gemmule_request_queue_time_seconds_count") == 1
    assert grown("gemmule_e2e_request_latency_seconds_count", finish_reason="length") == 1
    first, gaps = (grown(f"gemmule_{name}_seconds_sum") for name in ("time_to_first_token", "inter_token_latency"))
    assert 0 < first < took_s
    assert first + gaps == pytest.approx(grown("gemmule_e2e_request_latency_seconds_sum", finish_reason="length"))
    assert first + gaps < took_s
    assert grown("gemmule_prompt_tokens_total") == post(server, COMPLETIONS, GREEDY)["usage"]["prompt_tokens"]


def test_kv_blocks_are_held_while_a_request_runs_and_no_longer(server: Server) -> None:
    body = {**GREEDY, "stream": True, "max_tokens": 4000}
    assert server.metrics().value("gemmule_kv_blocks_capacity") == 16 * 4096 / 32
    with httpx.stream("POST", f"{server.url}{COMPLETIONS}", json=body) as response:
        lines = response.iter_lines()
        for _ in range(200):
            next(lines)
        metrics = server.metrics()
        assert metrics.value("gemmule_kv_blocks_used") >= 4
        assert metrics.value("gemmule_requests_running") == 1
    server.wait_for_metric("gemmule_kv_blocks_used", 0)


def test_requests_are_counted_by_route_and_status(server: Server) -> None:
    def count(status: str) -> float:
        return server.metrics().value("gemmule_http_requests_total", endpoint=COMPLETIONS, status=status)

    good, bad = count("200"), count("400")
    post(server, COMPLETIONS, GREEDY)
    httpx.post(f"{server.url}{COMPLETIONS}", json={"prompt": ""})
    assert (count("200"), count("400")) == (good + 1, bad + 1)
