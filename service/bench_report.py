"""Rows of a benchmark as a table, or as JSON under llama-bench's keys. Knows nothing of how they were measured."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, slots=True)
class BenchRow:
    """One test repeated: a prompt of `n_prompt` tokens, or `n_gen` tokens generated. The names are llama-bench's."""

    model_filename: str
    model_type: str
    model_size: int
    """Bytes of the weights."""
    model_n_params: int
    n_threads: int
    n_prompt: int
    n_gen: int
    samples_ns: tuple[int, ...]
    """One duration a repetition."""

    def __post_init__(self) -> None:
        assert self.samples_ns, "a row has at least one sample"
        assert (self.n_prompt > 0) != (self.n_gen > 0), "a row measures a prompt or a generation"

    @property
    def test(self) -> str:
        return f"pp{self.n_prompt}" if self.n_prompt else f"tg{self.n_gen}"

    @property
    def samples_ts(self) -> tuple[float, ...]:
        """Tokens per second, one a repetition."""
        return tuple((self.n_prompt + self.n_gen) * 1e9 / ns for ns in self.samples_ns)

    @property
    def avg_ts(self) -> float:
        return fmean(self.samples_ts)

    @property
    def stddev_ts(self) -> float:
        return _deviation(self.samples_ts)


def as_json(rows: Sequence[BenchRow]) -> str:
    return json.dumps([_keys(row) for row in rows], indent=2)


def _keys(row: BenchRow) -> dict[str, object]:
    return {
        "model_filename": row.model_filename,
        "model_type": row.model_type,
        "model_size": row.model_size,
        "model_n_params": row.model_n_params,
        "n_threads": row.n_threads,
        "n_prompt": row.n_prompt,
        "n_gen": row.n_gen,
        "avg_ns": round(fmean(row.samples_ns)),
        "stddev_ns": round(_deviation(row.samples_ns)),
        "avg_ts": row.avg_ts,
        "stddev_ts": row.stddev_ts,
        "samples_ns": list(row.samples_ns),
        "samples_ts": list(row.samples_ts),
    }


def as_table(rows: Sequence[BenchRow]) -> "Table":
    from rich.box import MARKDOWN
    from rich.table import Table

    table = Table(box=MARKDOWN)
    for name in ("model", "size", "params", "threads", "test", "t/s"):
        table.add_column(name, justify="left" if name == "model" else "right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.model_type,
            f"{row.model_size / (1 << 20):.2f} MiB",
            f"{row.model_n_params / 1e6:.2f} M",
            str(row.n_threads),
            row.test,
            f"{row.avg_ts:.2f} ± {row.stddev_ts:.2f}",
        )
    return table


def _deviation(samples: Sequence[float]) -> float:
    """The sample standard deviation, as llama-bench's: 0 for one sample."""
    return stdev(samples) if len(samples) > 1 else 0.0
