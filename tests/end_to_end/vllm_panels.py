"""What the core panels of vLLM's own Grafana dashboards ask Prometheus, by its names and labels.

examples/observability in vLLM's repository (November 2026): prometheus_grafana/grafana.json, and of dashboards/grafana
performance_statistics, query_statistics, vllm_overview and vllm_kv_cache. Left out are GPU transfers, LoRA, speculation
by position, and what only vLLM has (sleep states, KV connectors).
"""

from collections.abc import Iterator

MODEL = 'model_name=~".*"'
ENGINE = f'job=~".*",{MODEL},instance=~".*",engine=~".*"'
LATENCIES = {
    "E2E request latency": "e2e_request_latency_seconds",
    "Inter token latency": "inter_token_latency_seconds",
    "Time to first token": "time_to_first_token_seconds",
}
QUANTILES = (0.5, 0.9, 0.95, 0.99)


def core_panels(interval: str) -> Iterator[tuple[str, str]]:
    """(panel, query)"""
    for panel, name in LATENCIES.items():
        for quantile in QUANTILES:
            buckets = f"rate(vllm:{name}_bucket{{{MODEL}}}[{interval}])"
            yield f"vLLM: {panel}", f"histogram_quantile({quantile}, sum by(le) ({buckets}))"
        sums, counts = (f"rate(vllm:{name}_{part}{{{MODEL}}}[{interval}])" for part in ("sum", "count"))
        yield f"vLLM: {panel}, mean", f"{sums} / {counts}"
    for panel, name in (
        ("Token throughput", "prompt_tokens_total"),
        ("Token throughput", "generation_tokens_total"),
        ("Queue time", "request_queue_time_seconds_sum"),
        ("Prefill time", "request_prefill_time_seconds_sum"),
        ("Decode time", "request_decode_time_seconds_sum"),
        ("Max generation tokens", "request_max_num_generation_tokens_sum"),
        ("Preemptions", "num_preemptions_total"),
    ):
        yield f"vLLM: {panel}", f"rate(vllm:{name}{{{MODEL}}}[{interval}])"
    for panel, name in (("Prompt length", "request_prompt_tokens"), ("Generation length", "request_generation_tokens")):
        yield f"vLLM: {panel}", f"sum by(le) (increase(vllm:{name}_bucket{{{MODEL}}}[{interval}]))"
    successes = f"increase(vllm:request_success_total{{{MODEL}}}[{interval}])"
    yield "vLLM: Finish reason", f"sum by(finished_reason) ({successes})"
    for panel, expr in (
        ("Scheduler state, running", f"vllm:num_requests_running{{{MODEL}}}"),
        ("Scheduler state, waiting", f"vllm:num_requests_waiting{{{MODEL}}}"),
        ("Cache utilisation", f"vllm:kv_cache_usage_perc{{{MODEL}}}"),
        ("Max KV cache usage", f"max(vllm:kv_cache_usage_perc{{{ENGINE}}})"),
        ("Waiting for capacity", f'sum(vllm:num_requests_waiting_by_reason{{{ENGINE},reason="capacity"}})'),
        ("Waiting, deferred", f'sum(vllm:num_requests_waiting_by_reason{{{ENGINE},reason="deferred"}})'),
        ("KV cache configuration", f"vllm:cache_config_info{{{MODEL}}}"),
    ):
        yield f"vLLM: {panel}", expr
    for panel, part, whole in (
        ("Prefix cache hit rate", "prefix_cache_hits_total", "prefix_cache_queries_total"),
        ("Cached prompt tokens", "prompt_tokens_cached_total", "prompt_tokens_total"),
    ):
        parts, wholes = (f"sum(rate(vllm:{name}{{{ENGINE}}}[{interval}]))" for name in (part, whole))
        yield f"vLLM: {panel}", f"{parts} / ({wholes} > 0)"
    failed, answered = (
        f'sum(rate(http_requests_total{{job=~".*"{more}}}[{interval}]))' for more in (',status="5xx"', "")
    )
    yield "vLLM: 5xx ratio", f"({failed} or vector(0)) / ({answered} > 0)"
