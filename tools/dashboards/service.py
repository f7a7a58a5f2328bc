"""Service: what callers feel. Objectives, traffic, errors, saturation."""

from tools.dashboards.panel import Dashboard, Panel, Query, Variable

HERE = 'instance=~"$instance"'
INSTANCE = Variable("instance", "label_values(gemmule_build_info, instance)")


def quantile(share: float, histogram: str, by: str = "le") -> str:
    return f"histogram_quantile({share}, sum by ({by}) (rate({histogram}_bucket{{{HERE}}}[$__rate_interval])))"


def quantiles(histogram: str) -> list[Query]:
    return [Query(quantile(share, histogram), f"p{round(100 * share)}") for share in (0.5, 0.95, 0.99)]


def total_rate(counter: str, by: str = "", more: str = "") -> str:
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({counter}{{{HERE}{more}}}[$__rate_interval]))"


def latency(title: str, name: str, about: str, width: int = 8) -> Panel:
    return Panel(title, quantiles(f"gemmule_{name}_seconds"), about, unit="s", width=width)


SERVICE = Dashboard(
    "gemmule-service",
    "Gemmule / Service",
    "What callers feel: objectives, traffic, errors, saturation.",
    (
        (
            "Now",
            (
                Panel(
                    "Tokens/s",
                    [Query(total_rate("gemmule_generation_tokens_total"))],
                    "Tokens generated.",
                    kind="stat",
                    width=4,
                    height=4,
                ),
                Panel(
                    "Requests/s",
                    [Query(total_rate("gemmule_e2e_request_latency_seconds_count"))],
                    "Requests that the engine ended.",
                    kind="stat",
                    unit="reqps",
                    width=4,
                    height=4,
                ),
                Panel(
                    "First token, p95",
                    [Query("max(gemmule:time_to_first_token_seconds:p95_5m{" + HERE + "})")],
                    "From arrival to the first token.",
                    kind="stat",
                    unit="s",
                    width=4,
                    height=4,
                ),
                Panel(
                    "Between tokens, p95",
                    [Query("max(gemmule:inter_token_latency_seconds:p95_5m{" + HERE + "})")],
                    "What a reader of the stream waits.",
                    kind="stat",
                    unit="s",
                    width=4,
                    height=4,
                ),
                Panel(
                    "Server errors",
                    [Query("max(gemmule:http_errors:ratio5m{" + HERE + "})")],
                    "Share of responses with a status of 5xx.",
                    kind="stat",
                    unit="percentunit",
                    width=4,
                    height=4,
                ),
                Panel(
                    "In flight",
                    [Query(f"sum(gemmule_http_requests_in_flight{{{HERE}}})")],
                    "HTTP requests being answered.",
                    kind="stat",
                    width=4,
                    height=4,
                ),
            ),
        ),
        (
            "Latency",
            (
                latency("Time to first token", "time_to_first_token", "From arrival to the first token."),
                latency("Between tokens", "inter_token_latency", "Between two tokens of a request."),
                latency("End to end", "e2e_request_latency", "From arrival to the end."),
                Panel(
                    "Time to first token, all of it",
                    [
                        Query(
                            f"sum by (le) (increase(gemmule_time_to_first_token_seconds_bucket{{{HERE}}}"
                            "[$__rate_interval]))"
                        )
                    ],
                    "How many requests waited how long.",
                    kind="heatmap",
                    unit="s",
                    width=12,
                ),
                latency(
                    "Per output token",
                    "request_time_per_output_token",
                    "Decode time of a request by its tokens.",
                    width=6,
                ),
                Panel(
                    "Objectives",
                    [
                        Query(f"min(gemmule:time_to_first_token_within_1s:ratio5m{{{HERE}}})", "first token in 1 s"),
                        Query(f"min(gemmule:inter_token_within_100ms:ratio5m{{{HERE}}})", "next one in 100 ms"),
                    ],
                    "Share of requests and of tokens that are in time.",
                    unit="percentunit",
                    width=6,
                    is_share=True,
                ),
            ),
        ),
        (
            "Traffic",
            (
                Panel(
                    "Tokens/s",
                    [
                        Query(total_rate("gemmule_generation_tokens_total", "instance"), "generated, {{instance}}"),
                        Query(total_rate("gemmule_prompt_tokens_total", "instance"), "prompts, {{instance}}"),
                    ],
                    "Tokens generated, and prompt tokens of requests that have ended.",
                ),
                Panel(
                    "Ends by reason",
                    [
                        Query(
                            total_rate("gemmule_e2e_request_latency_seconds_count", "finish_reason"),
                            "{{finish_reason}}",
                        )
                    ],
                    "Why requests end: abort is a client that left.",
                    unit="reqps",
                    is_stacked=True,
                ),
                Panel(
                    "Sizes, mean",
                    [
                        Query(
                            f"sum(rate(gemmule_request_{what}_tokens_sum{{{HERE}}}[$__rate_interval])) / "
                            f"sum(rate(gemmule_request_{what}_tokens_count{{{HERE}}}[$__rate_interval]))",
                            what,
                        )
                        for what in ("prompt", "generation")
                    ],
                    "Tokens of a request.",
                ),
            ),
        ),
        (
            "Errors",
            (
                Panel(
                    "HTTP by status",
                    [Query(total_rate("gemmule_http_requests_total", "endpoint, status"), "{{endpoint}} {{status}}")],
                    "499: the client left before the end.",
                    unit="reqps",
                ),
                Panel(
                    "gRPC by code",
                    [Query(total_rate("gemmule_grpc_requests_total", "method, code"), "{{method}} {{code}}")],
                    "CANCELLED: the client left, or its deadline passed.",
                    unit="reqps",
                ),
                Panel(
                    "Refused, by reason",
                    [Query(total_rate("gemmule_rejections_total", "reason"), "{{reason}}")],
                    "The code that the client was given.",
                    unit="reqps",
                ),
            ),
        ),
        (
            "Saturation",
            (
                Panel(
                    "Running and waiting",
                    [
                        Query(f"sum(gemmule_requests_running{{{HERE}}})", "running"),
                        Query(f"sum(gemmule_requests_waiting{{{HERE}}})", "waiting"),
                    ],
                    "Requests that take part in steps, and the queue.",
                ),
                Panel(
                    "Cores busy",
                    [
                        Query(f"rate(process_cpu_seconds_total{{{HERE}}}[$__rate_interval])", "{{instance}}"),
                    ],
                    "CPU seconds per second: more than the team's threads is Python beside it.",
                ),
                Panel(
                    "Memory",
                    [
                        Query(f"process_resident_memory_bytes{{{HERE}}}", "resident, {{instance}}"),
                        Query(f"gemmule_weights_bytes{{{HERE}}}", "weights, {{instance}}"),
                        Query(f"gemmule_kv_capacity_bytes{{{HERE}}}", "KV cache, {{instance}}"),
                    ],
                    "The KV cache is touched as it fills.",
                    unit="bytes",
                ),
            ),
        ),
    ),
    (INSTANCE,),
)
