"""A terminal's view of a running server: two scrapes of /metrics, the difference as rates. Knows no kernel."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table

from service.errors import StartupError

Labels = frozenset[tuple[str, str]]
BAR = 20


@dataclass(frozen=True, slots=True)
class Scrape:
    at_s: float
    samples: Mapping[str, Mapping[Labels, float]]

    @classmethod
    def of(cls, text: str, at_s: float) -> Scrape:
        samples: dict[str, dict[Labels, float]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if not sample.name.endswith("_bucket"):
                    samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
        return cls(at_s, samples)

    def total(self, name: str, **labels: str) -> float:
        wanted = frozenset(labels.items())
        return sum(value for own, value in self.samples.get(name, {}).items() if wanted <= own)

    def values_of(self, name: str, label: str) -> list[str]:
        return sorted({dict(labels)[label] for labels in self.samples.get(name, {}) if label in dict(labels)})


@dataclass(frozen=True, slots=True)
class KernelRow:
    kernel: str
    op: str
    share: float
    calls_per_s: float
    call_s: float
    bytes_per_s: float
    operations_per_s: float


class Change:
    """From one scrape to the next."""

    def __init__(self, before: Scrape, after: Scrape) -> None:
        self.before, self.after = before, after
        self.seconds = max(1e-9, after.at_s - before.at_s)

    def grown(self, name: str, **labels: str) -> float:
        return self.after.total(name, **labels) - self.before.total(name, **labels)

    def rate(self, name: str, **labels: str) -> float:
        return self.grown(name, **labels) / self.seconds

    def mean(self, histogram: str, **labels: str) -> float | None:
        count = self.grown(f"{histogram}_count", **labels)
        return self.grown(f"{histogram}_sum", **labels) / count if count > 0 else None

    def kernels(self) -> list[KernelRow]:
        """What ran in between, what took most first."""
        name = "gemmule_kernel_wall_seconds_total"
        keys = {(dict(labels)["kernel"], dict(labels)["op"]) for labels in self.after.samples.get(name, {})}
        all_s = self.grown(name)
        rows = []
        for kernel, op in keys:
            own = {"kernel": kernel, "op": op}
            wall_s = self.grown(name, **own)
            if wall_s > 0:
                calls = self.grown("gemmule_kernel_calls_total", **own)
                rows.append(
                    KernelRow(
                        kernel=kernel,
                        op=op,
                        share=wall_s / all_s,
                        calls_per_s=calls / self.seconds,
                        call_s=wall_s / max(1.0, calls),
                        bytes_per_s=self.grown("gemmule_kernel_bytes_total", **own) / wall_s,
                        operations_per_s=self.grown("gemmule_kernel_ops_total", **own) / wall_s,
                    )
                )
        return sorted(rows, key=lambda row: -row.share)


def view(change: Change, url: str, num_kernels: int = 12) -> RenderableType:
    return Group(_summary(change, url), _parts(change), _kernels(change, num_kernels))


def _summary(change: Change, url: str) -> RenderableType:
    after = change.after
    table = Table.grid(padding=(0, 3))
    ttft_s, gap_s = (change.mean(f"gemmule_{name}_seconds") for name in ("time_to_first_token", "inter_token_latency"))
    sequences = change.mean("gemmule_step_sequences")
    queried = change.grown("gemmule_prefix_cache_queries_total")
    hits = change.grown("gemmule_prefix_cache_hits_total") / queried if queried else None
    table.add_row(
        f"[bold]{change.rate('gemmule_generation_tokens_total'):.1f}[/] tokens/s",
        f"[bold]{change.rate('gemmule_prompt_tokens_total'):.1f}[/] prompt tokens/s",
        f"running [bold]{after.total('gemmule_requests_running'):.0f}[/]",
        f"waiting [bold]{after.total('gemmule_requests_waiting'):.0f}[/]",
        f"batch [bold]{_shown(sequences, '.1f')}[/]",
    )
    table.add_row(
        f"first token [bold]{_milliseconds(ttft_s)}[/]",
        f"between tokens [bold]{_milliseconds(gap_s)}[/]",
        f"KV [bold]{after.total('gemmule_kv_usage_ratio'):.0%}[/]",
        f"prefix hits [bold]{_shown(hits, '.0%')}[/]",
        f"refused [bold]{change.rate('gemmule_rejections_total'):.1f}[/]/s",
    )
    labels = next(iter(after.samples.get("gemmule_build_info", {})), frozenset())
    build = dict(labels)
    title = f"{url}  {build.get('model', '?')} on {build.get('cpu', '?')}, {build.get('threads', '?')} threads"
    return Panel(table, title=title, title_align="left")


def _parts(change: Change) -> RenderableType:
    name = "gemmule_step_part_seconds_total"
    table = Table.grid(padding=(0, 2))
    shares = {part: change.rate(name, part=part) for part in change.after.values_of(name, "part")}
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    table.add_row(*(f"{part} [bold]{share:.0%}[/]" for part, share in ordered))
    return Panel(table, title="engine thread", title_align="left")


def _kernels(change: Change, num_kernels: int) -> RenderableType:
    table = Table(expand=True, show_edge=False, pad_edge=False)
    table.add_column("op")
    table.add_column("micro-kernel", ratio=1, no_wrap=True, overflow="ellipsis")
    for head in ("share", "", "calls/s", "us/call", "GB/s", "GOP/s"):
        table.add_column(head, justify="right" if head else "left", no_wrap=True)
    for row in change.kernels()[:num_kernels]:
        table.add_row(
            row.op,
            row.kernel,
            f"{row.share:.1%}",
            "█" * round(BAR * row.share),
            f"{row.calls_per_s:.0f}",
            f"{1e6 * row.call_s:.1f}",
            f"{row.bytes_per_s / 1e9:.1f}",
            f"{row.operations_per_s / 1e9:.1f}",
        )
    return Panel(table, title="kernels", title_align="left")


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1e3 * seconds:.1f} ms"


def scrapes(url: str, interval_s: float, sleep: Callable[[float], None] = time.sleep) -> Iterable[Scrape]:
    """One after the other, for ever. Raises StartupError if nobody answers the first."""
    base = url.rstrip("/").removesuffix("/metrics")
    base = base if "://" in base else f"http://{base}"
    with httpx.Client(base_url=base, timeout=10.0) as client:
        while True:
            try:
                response = client.get("/metrics").raise_for_status()
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise StartupError(f"no metrics at {base}: {error}") from None
            yield Scrape.of(response.text, time.monotonic())
            sleep(interval_s)


def watch(url: str, interval_s: float, num_views: int | None = None) -> None:
    """Until it is interrupted, or `num_views` views."""
    before: Scrape | None = None
    with Live(auto_refresh=False, screen=num_views is None) as live:
        for count, after in enumerate(scrapes(url, interval_s)):
            if before is not None:
                live.update(view(Change(before, after), url), refresh=True)
            if count == num_views:
                return
            before = after
