"""What a terminal shows of two scrapes: rates of what grew, kernels by share, and one clear line if nobody answers."""

import io

import pytest
from rich.console import Console

from service.errors import StartupError
from service.top import Change, Scrape, scrapes, view

SCRAPE = """
gemmule_generation_tokens_total {tokens}
gemmule_requests_running 3.0
gemmule_requests_waiting 1.0
gemmule_kv_usage_ratio 0.25
gemmule_time_to_first_token_seconds_sum {first}
gemmule_time_to_first_token_seconds_count {count}
gemmule_step_part_seconds_total{{part="kernels"}} {kernels}
gemmule_step_part_seconds_total{{part="idle"}} 1.0
gemmule_kernel_wall_seconds_total{{kernel="gemm",op="ffn",phase="prefill"}} {kernels}
gemmule_kernel_calls_total{{kernel="gemm",op="ffn",phase="prefill"}} {tokens}
gemmule_kernel_bytes_total{{kernel="gemm",op="ffn",phase="prefill"}} {bytes}
gemmule_kernel_wall_seconds_total{{kernel="gemv",op="ffn",phase="decode"}} 0.5
gemmule_build_info{{model="smol",cpu="neoverse-n1",threads="4"}} 1.0
"""


def change() -> Change:
    before = Scrape.of(SCRAPE.format(tokens=100, first=1.0, count=10, kernels=0.5, bytes=0), 10.0)
    after = Scrape.of(SCRAPE.format(tokens=300, first=1.5, count=20, kernels=1.5, bytes=2e9), 12.0)
    return Change(before, after)


def test_rates_means_and_kernels() -> None:
    grown = change()
    assert grown.rate("gemmule_generation_tokens_total") == 100
    assert grown.mean("gemmule_time_to_first_token_seconds") == 0.05
    assert grown.mean("gemmule_inter_token_latency_seconds") is None
    (row,) = grown.kernels()  # the other one did not run
    assert (row.kernel, row.share, row.calls_per_s, row.bytes_per_s) == ("gemm", 1.0, 100.0, 2e9)
    assert row.call_s == pytest.approx(1.0 / 200)


def test_the_view() -> None:
    out = io.StringIO()
    Console(file=out, width=140).print(view(change(), "http://here:8080"))
    shown = out.getvalue()
    for part in ("100.0 tokens/s", "running 3", "waiting 1", "KV 25%", "first token 50.0 ms", "between tokens -"):
        assert part in shown, part
    for part in ("smol on neoverse-n1, 4 threads", "kernels 50%", "gemm", "100.0%", "GB/s", "2.0"):
        assert part in shown, part


def test_nobody_answers() -> None:
    with pytest.raises(StartupError, match=r"no metrics at http://127\.0\.0\.1:1"):
        next(iter(scrapes("127.0.0.1:1", 1.0)))
