"""Kernels: what the cores are doing. Time by op, latency of each micro-kernel, roofs, rungs, yesterday."""

from tools.dashboards.panel import Dashboard, Panel, Query, Variable
from tools.dashboards.service import HERE, INSTANCE

CHOSEN = f'{HERE}, op=~"$op", phase=~"$phase"'
OP = Variable("op", "label_values(gemmule_kernel_calls_total, op)")
PHASE = Variable("phase", "label_values(gemmule_kernel_calls_total, phase)")
KERNEL = Variable("kernel", "label_values(gemmule_kernel_calls_total, kernel)")


def rate(counter: str, by: str = "kernel, op") -> str:
    return f"sum by ({by}) (rate(gemmule_kernel_{counter}_total{{{CHOSEN}}}[$__rate_interval]))"


def per(counter: str, by: str = "kernel, op") -> str:
    """By second of wall time in the kernel; a kernel that did not run has none."""
    return f"{rate(counter, by)} / ({rate('wall_seconds', by)} > 0)"


KERNELS = Dashboard(
    "gemmule-kernels",
    "Gemmule / Kernels",
    "What the cores are doing: time by op, latency of each micro-kernel, roofs, rungs, yesterday.",
    (
        (
            "Time",
            (
                Panel(
                    "Time by op",
                    [Query(rate("wall_seconds", "op"), "{{op}}")],
                    "Seconds of a step's wall time per second.",
                    unit="percentunit",
                    is_stacked=True,
                    width=12,
                ),
                Panel(
                    "Time by micro-kernel",
                    [Query(f"topk(10, {rate('wall_seconds', 'kernel')})", "{{kernel}}")],
                    "The ten that take most.",
                    unit="percentunit",
                    width=12,
                ),
                Panel(
                    "Micro-kernels",
                    [
                        Query(f"sum by (kernel, op) (gemmule:kernel_time:ratio5m{{{CHOSEN}}})"),
                        Query(f"sum by (kernel, op) (rate(gemmule_kernel_calls_total{{{CHOSEN}}}[5m]))"),
                        Query(f"avg by (kernel, op) (gemmule:kernel_call_seconds:mean5m{{{CHOSEN}}})"),
                        Query(per("bytes")),
                        Query(per("ops")),
                        Query(f"max by (kernel, op) (gemmule:kernel_roofline:ratio5m{{{CHOSEN}}})"),
                    ],
                    "Share of the time; calls/s; seconds of own work in a call; bytes/s; operations/s; share of the "
                    "nearer roof.",
                    kind="table",
                    width=24,
                    height=10,
                ),
            ),
        ),
        (
            "Latency of a micro-kernel",
            (
                Panel(
                    "Own work in a call",
                    [
                        Query(
                            "sum by (le) (increase(gemmule_kernel_duration_seconds_bucket"
                            f'{{{CHOSEN}, kernel=~"$kernel"}}[$__rate_interval]))'
                        )
                    ],
                    "Of each thread, two buckets an octave.",
                    kind="heatmap",
                    unit="s",
                    width=12,
                    height=10,
                ),
                Panel(
                    "p50 and p99 of a call",
                    [
                        Query(
                            f"histogram_quantile({share}, sum by (le, op, phase) (rate("
                            f'gemmule_kernel_duration_seconds_bucket{{{CHOSEN}, kernel=~"$kernel"}}'
                            "[$__rate_interval])))",
                            f"{{{{op}}}} {{{{phase}}}} {name}",
                        )
                        for share, name in ((0.5, "p50"), (0.99, "p99"))
                    ],
                    "Own work of a thread.",
                    unit="s",
                    width=12,
                    height=10,
                ),
            ),
        ),
        (
            "Roofs",
            (
                Panel(
                    "Share of the memory's bandwidth",
                    [
                        Query(
                            f"max by (op, phase) (gemmule:kernel_bandwidth:ratio5m{{{CHOSEN}}})",
                            "{{op}} {{phase}}",
                        )
                    ],
                    "Of what the team can read, measured at start. Above 1: from a cache.",
                    unit="percentunit",
                ),
                Panel(
                    "Share of the units' peak",
                    [Query(f"max by (op, phase) (gemmule:kernel_compute:ratio5m{{{CHOSEN}}})", "{{op}} {{phase}}")],
                    "Of what the team computes from registers with the instructions of the rung, measured at start.",
                    unit="percentunit",
                ),
                Panel(
                    "The roofs",
                    [
                        Query(f"gemmule_machine_peak_bytes_per_second{{{HERE}}}", "{{instance}} bytes/s"),
                        Query(f"gemmule_machine_peak_ops_per_second{{{HERE}}}", "{{instance}} {{rung}} {{peak}} ops/s"),
                    ],
                    "Measured at start.",
                    kind="bargauge",
                ),
                Panel(
                    "Bytes/s by op", [Query(per("bytes", "op"), "{{op}}")], "While the op runs.", unit="Bps", width=8
                ),
                Panel("Operations/s by op", [Query(per("ops", "op"), "{{op}}")], "While the op runs.", width=8),
                Panel(
                    "GEMM and GEMV",
                    [
                        Query(
                            f"sum by (use) (sum by (instance, op, kernel) (rate(gemmule_kernel_wall_seconds_total"
                            f"{{{CHOSEN}}}[$__rate_interval])) * on (instance, op, kernel) group_left (use) "
                            "max by (instance, op, kernel, use) (gemmule_kernel_info{" + HERE + "}))",
                            "{{use}}",
                        )
                    ],
                    "Several rows at a time, one row, or any number.",
                    unit="percentunit",
                    is_stacked=True,
                    width=8,
                ),
            ),
        ),
        (
            "Choice and change",
            (
                Panel(
                    "Rungs by host",
                    [Query(f"count by (instance, rung) (gemmule_kernel_info{{{HERE}}})")],
                    "Micro-kernels chosen, by rung of the ladder.",
                    kind="table",
                ),
                Panel(
                    "Builds",
                    [Query(f"gemmule_build_info{{{HERE}}}")],
                    "Version, model, CPU, threads.",
                    kind="table",
                    width=16,
                ),
                Panel(
                    "A call, beside yesterday",
                    [Query(f"gemmule:kernel_call_seconds:by_yesterday{{{CHOSEN}}}", "{{op}} {{phase}} {{kernel}}")],
                    "Seconds of own work in a call by those of a day ago; 1 is as fast.",
                    width=12,
                ),
                Panel(
                    "Waiting after an op",
                    [
                        Query(
                            f"sum by (op) (rate(gemmule_kernel_barrier_seconds_total{{{CHOSEN}}}[$__rate_interval]))",
                            "{{op}}",
                        )
                    ],
                    "Of all threads, for each other.",
                    unit="percentunit",
                    is_stacked=True,
                    width=12,
                ),
                Panel(
                    "Compiled",
                    [
                        Query(f"gemmule_kernel_compilations_total{{{HERE}}}", "compiled, {{instance}}"),
                        Query(f"gemmule_kernel_cache_hits_total{{{HERE}}}", "found in the cache, {{instance}}"),
                    ],
                    "Must not move once the service is ready.",
                ),
                Panel(
                    "The start, by stage",
                    [Query(f"gemmule_load_seconds{{{HERE}}}", "{{instance}} {{stage}}")],
                    "Packing the weights, compiling, measuring the roofs, ...",
                    kind="bargauge",
                    unit="s",
                ),
                Panel(
                    "Failed self-tests",
                    [Query(f"sum(gemmule_kernel_self_test_failures_total{{{HERE}}}) or vector(0)")],
                    "Micro-kernels that were replaced by a lower rung at start.",
                    kind="stat",
                ),
            ),
        ),
    ),
    (INSTANCE, OP, PHASE, KERNEL),
)
