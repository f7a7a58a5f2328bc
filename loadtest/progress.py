"""Live progress on standard error: what ended, how fast, how many failed. Knows no server."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from loadtest.load import Load
from loadtest.record import Record


class LiveProgress:
    """A line that follows a run. On what is no terminal, or when told to be quiet, it says nothing."""

    def __init__(self, title: str, load: Load, *, quiet: bool = False) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[said]}"),
            console=console,
            disable=quiet or not console.is_terminal,
            transient=True,
        )
        # A run of a duration, and one of conversations of several turns, do not know their number of requests.
        total = load.num_conversations if load.duration_s is None else None
        self._task = self._progress.add_task(title, total=total, said="")
        self._tokens = self._failed = self._seen = 0
        self._ttft_s = 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, record: Record) -> None:
        self._seen += 1
        self._tokens += record.output_tokens
        self._failed += not record.is_complete
        if record.is_complete:
            self._ttft_s = 0.9 * self._ttft_s + 0.1 * record.ttft_s if self._ttft_s else record.ttft_s
        speed = self._tokens / record.end_s if record.end_s > 0 else 0.0
        said = f"{speed:.0f} tokens/s, TTFT {self._ttft_s * 1e3:.0f} ms"
        if self._failed:
            said += f", {self._failed} failed"
        self._progress.update(self._task, advance=record.turn == 0, said=said)
