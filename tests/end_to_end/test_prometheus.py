"""A real Prometheus scrapes the service under load: every query of every panel and rule finds data."""

import asyncio
import contextlib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.metrics.exposition import series
from tests.end_to_end.requests import CHAT, COMPLETIONS, GREEDY, SEEDED, STORY, answers, others
from tests.end_to_end.server import Server, post, served
from tests.end_to_end.vllm_panels import core_panels
from tools.dashboards.__main__ import DASHBOARDS
from tools.dashboards.prometheus import JOB, RULES, Prometheus, is_installed, scraping
from tools.dashboards.queries import panel_queries, rule_queries

pytestmark = pytest.mark.skipif(not is_installed(), reason="no prometheus here: tools/env/require prometheus")

INTERVAL = "1m"
WAIT_S = 90.0
NO_GUESSES = {"Gemmule / Engine: Guesses that were right", "gemmule_engine: gemmule:draft_tokens_accepted:ratio5m"}
"""A tiny random model repeats nothing, so that nothing is guessed and there is no share."""
ONLY_WHEN_BROKEN = {"gemmule_alerts: GemmuleKernelReplaced"}
"""Its series come with a fault; promtool's own test of the rules has one."""


@pytest.fixture(scope="module")
def server(tiny_gguf_of: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Which also says everything by vLLM's names."""
    flags = ("--max-batch", "16", "--threads", "2", "--vllm-metrics")
    with served(tiny_gguf_of(context=4096), tmp_path_factory.mktemp("server"), *flags) as running:
        yield running


@pytest.fixture(scope="module")
def prometheus(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """With a day-old past of the kernels' times."""
    load(server)
    host, port = server.host_and_port
    target = f"{host}:{port}"
    kernels = server.metrics().labels("gemmule_kernel_duration_seconds_count")
    yesterday = [
        (series("gemmule:kernel_call_seconds:mean5m", {"job": JOB, "instance": target, **labels}), 1e-5)
        for labels in kernels
    ]
    stop = threading.Event()

    def go_on() -> None:
        while not stop.wait(2.0):
            with contextlib.suppress(httpx.HTTPError):  # a busy machine: the next one will do
                load(server)

    loading = threading.Thread(target=go_on)
    loading.start()
    try:
        with scraping(target, tmp_path_factory.mktemp("prometheus") / "run", "500ms", yesterday) as running:
            yield running
    finally:
        stop.set()
        loading.join()


def load(server: Server) -> None:
    """Requests of every kind, over both faces; some are refused."""
    asyncio.run(answers(server.url, [GREEDY, *others(7), SEEDED]))
    post(server, CHAT, {"messages": [{"role": "user", "content": STORY}], "max_tokens": 3})
    httpx.post(f"{server.url}{COMPLETIONS}", json={"prompt": ""})
    (address,) = (
        line.removeprefix("gRPC on ") for line in server.out.read_text().splitlines() if line.startswith("gRPC on ")
    )
    with grpc.insecure_channel(address) as channel:
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())  # type: ignore[no-untyped-call]


QUERIES = [
    *core_panels(INTERVAL),
    *(query for dashboard in DASHBOARDS for query in panel_queries(dashboard, INTERVAL)),
    *rule_queries(RULES),
]


def test_every_query_of_every_panel_and_rule_finds_data(prometheus: Prometheus) -> None:
    left = dict.fromkeys(query for query in QUERIES if query[0] not in ONLY_WHEN_BROKEN | NO_GUESSES)
    give_up_s = time.monotonic() + WAIT_S
    while left and time.monotonic() < give_up_s:
        left = dict.fromkeys(query for query in left if not has_data(prometheus, query[1]))
        time.sleep(1.0)
    assert not left, "\n".join(f"{what}: {expr}" for what, expr in left)
    assert len(QUERIES) > 100


def has_data(prometheus: Prometheus, expr: str) -> bool:
    return any(sample["value"][1] != "NaN" for sample in prometheus.query(expr))


def test_the_recorded_parts_are_all_of_the_time(prometheus: Prometheus) -> None:
    (total,) = prometheus.query("sum(gemmule:step_part:ratio5m)")
    assert float(total["value"][1]) == pytest.approx(1.0)


def test_promtool_likes_the_scrape(server: Server) -> None:
    lines = httpx.get(f"{server.url}/metrics").text.splitlines(keepends=True)
    # vLLM's names have a colon, which a metric that is no rule's should not have: not ours to say.
    text = "".join(line for line in lines if "vllm:" not in line)
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_promtool_likes_the_rules_and_they_say_what_they_should(tmp_path: Path) -> None:
    for command in (
        ["check", "rules", *map(str, sorted(RULES.glob("*.yml")))],
        ["check", "config", str(RULES.parent / "prometheus.yml")],
        ["test", "rules", *map(str, sorted((RULES.parents[2] / "tests/prometheus").glob("*_test.yml")))],
    ):
        done = subprocess.run(["promtool", *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
