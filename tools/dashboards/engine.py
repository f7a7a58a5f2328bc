"""Engine: batching, the KV cache, prefixes, scheduling, and where a step's time goes."""

from tools.dashboards.panel import Dashboard, Panel, Query
from tools.dashboards.service import HERE, INSTANCE, latency, quantile, total_rate


def mean(histogram: str, by: str) -> str:
    return (
        f"sum by ({by}) (rate({histogram}_sum{{{HERE}}}[$__rate_interval])) / "
        f"sum by ({by}) (rate({histogram}_count{{{HERE}}}[$__rate_interval]))"
    )


ENGINE = Dashboard(
    "gemmule-engine",
    "Gemmule / Engine",
    "Batching, KV cache, prefixes, scheduling; where the engine thread's time goes.",
    (
        (
            "Batching",
            (
                Panel(
                    "Sequences in a step, mean",
                    [Query(mean("gemmule_step_sequences", "phase"), "{{phase}}")],
                    "The batch size.",
                ),
                Panel(
                    "Sequences in a step",
                    [Query(f"sum by (le) (increase(gemmule_step_sequences_bucket{{{HERE}}}[$__rate_interval]))")],
                    "How often each batch size was.",
                    kind="heatmap",
                ),
                Panel(
                    "Tokens in a step, mean",
                    [Query(mean("gemmule_step_tokens", "phase"), "{{phase}}")],
                    "Prefill chunks and decode together.",
                ),
                Panel(
                    "Steps/s",
                    [Query(total_rate("gemmule_step_duration_seconds_count", "phase"), "{{phase}}")],
                    "By what they are made of.",
                    is_stacked=True,
                ),
                Panel(
                    "Step time, p50",
                    [Query(quantile(0.5, "gemmule_step_duration_seconds", "le, phase"), "{{phase}}")],
                    "Plan, run and commit.",
                    unit="s",
                ),
                Panel(
                    "Step time, p99",
                    [Query(quantile(0.99, "gemmule_step_duration_seconds", "le, phase"), "{{phase}}")],
                    "Plan, run and commit.",
                    unit="s",
                ),
            ),
        ),
        (
            "Where the time goes",
            (
                Panel(
                    "The engine thread, by part",
                    [Query(f"sum by (part) (gemmule:step_part:ratio5m{{{HERE}}})", "{{part}}")],
                    "All parts together are the wall time. kernels and sample: own work; barrier: waiting for the "
                    "other threads; turn: for other models; gil_wait: the native step is over, Python does not run.",
                    unit="percentunit",
                    is_stacked=True,
                    width=12,
                ),
                Panel(
                    "Waiting for the GIL",
                    [Query(f"gemmule:gil_wait:ratio5m{{{HERE}}}", "{{instance}}")],
                    "Share of the time in steps. Above 2 % the event loop holds the engine up.",
                    unit="percentunit",
                    width=6,
                ),
                Panel(
                    "Imbalance of the team",
                    [Query(f"gemmule:thread_imbalance:ratio5m{{{HERE}}}", "{{instance}}")],
                    "How much less the laziest thread works than the busiest.",
                    unit="percentunit",
                    width=6,
                ),
                Panel(
                    "Threads: own work",
                    [Query(total_rate("gemmule_thread_seconds_total", "thread", ',part="work"'), "{{thread}}")],
                    "Seconds of work per second.",
                    unit="percentunit",
                ),
                Panel(
                    "Threads: barriers",
                    [Query(total_rate("gemmule_thread_seconds_total", "thread", ',part="barrier"'), "{{thread}}")],
                    "Seconds of waiting for each other per second.",
                    unit="percentunit",
                ),
                Panel(
                    "Threads: dispatch",
                    [Query(total_rate("gemmule_thread_seconds_total", "thread", ',part="dispatch"'), "{{thread}}")],
                    "From the start of a step until the thread is there: a worker may have to wake up.",
                    unit="percentunit",
                ),
            ),
        ),
        (
            "KV cache and prefixes",
            (
                Panel(
                    "KV cache in use",
                    [Query(f"gemmule_kv_usage_ratio{{{HERE}}}", "{{instance}}")],
                    "Share of the blocks that sequences hold.",
                    unit="percentunit",
                    is_share=True,
                ),
                Panel(
                    "KV blocks",
                    [
                        Query(f"sum(gemmule_kv_blocks_used{{{HERE}}})", "held"),
                        Query(f"sum(gemmule_kv_blocks_cached{{{HERE}}})", "free, can be found again"),
                        Query(f"sum(gemmule_kv_blocks_capacity{{{HERE}}})", "all"),
                    ],
                    "Blocks of 32 tokens.",
                ),
                Panel(
                    "Prompt tokens found in the cache",
                    [Query(f"gemmule:prefix_hit:ratio5m{{{HERE}}}", "{{instance}}")],
                    "Share of the prompt tokens that were looked up.",
                    unit="percentunit",
                    is_share=True,
                ),
                Panel(
                    "Prefix tokens/s",
                    [
                        Query(total_rate("gemmule_prefix_cache_queries_total"), "looked up"),
                        Query(total_rate("gemmule_prefix_cache_hits_total"), "found"),
                    ],
                    "Prompt tokens.",
                ),
                Panel(
                    "Preemptions/s",
                    [Query(total_rate("gemmule_preemptions_total", "instance"), "{{instance}}")],
                    "Sequences that gave their blocks back and are computed again: the KV cache is too small.",
                ),
                Panel(
                    "Failed steps/s",
                    [Query(total_rate("gemmule_step_failures_total", "instance"), "{{instance}}")],
                    "With each, all of its requests failed.",
                ),
            ),
        ),
        (
            "Speculation",
            (
                Panel(
                    "Guessed tokens/s",
                    [
                        Query(total_rate("gemmule_draft_tokens_total", "drafter"), "{{drafter}}: verified"),
                        Query(total_rate("gemmule_draft_tokens_accepted_total", "drafter"), "{{drafter}}: right"),
                    ],
                    "Tokens guessed, from the sequence's own text or by a draft model, and verified in one step.",
                    width=12,
                ),
                Panel(
                    "Guesses that were right",
                    [Query(f"gemmule:draft_tokens_accepted:ratio5m{{{HERE}}}", "{{instance}}: {{drafter}}")],
                    "Share of the guessed tokens.",
                    unit="percentunit",
                    width=12,
                    is_share=True,
                ),
            ),
        ),
        (
            "Scheduling",
            (
                latency("Queue", "request_queue_time", "From arrival to the first step that computes any of it."),
                latency("Prefill", "request_prefill_time", "From that step to the first token."),
                latency("Decode", "request_decode_time", "From the first token to the last."),
                Panel(
                    "Heartbeat",
                    [Query(f"gemmule_engine_heartbeat_age_seconds{{{HERE}}}", "{{instance}}")],
                    "Since the engine thread last came round.",
                    unit="s",
                ),
                Panel(
                    "Alive",
                    [Query(f"gemmule_engine_alive{{{HERE}}}", "{{instance}}")],
                    "The engine thread runs.",
                ),
                Panel(
                    "Python's garbage collector",
                    [Query(total_rate("python_gc_collections_total", "generation"), "generation {{generation}}")],
                    "Collections per second: what was made at load is frozen.",
                ),
            ),
        ),
    ),
    (INSTANCE,),
)
