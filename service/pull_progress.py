"""Shows how far a download is: a bar on a terminal, a line per stage elsewhere. Knows no files."""

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn


class PullProgress:
    """One stage at a time, on the error output: the standard output is for the result."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(file=sys.stderr)
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._bar = Progress(*columns, console=self._console, transient=True)
        self._task: TaskID | None = None

    def __enter__(self) -> "PullProgress":
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def begin(self, stage: str, num_bytes: int) -> None:
        if not self._console.is_terminal:
            self._console.print(f"{stage} ({num_bytes / 1e6:.0f} MB)", highlight=False)
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(stage, total=num_bytes)

    def update(self, num_bytes: int) -> None:
        """So many bytes of the stage are done."""
        if self._task is not None:
            self._bar.update(self._task, completed=num_bytes)

    def advance(self, num_bytes: int) -> None:
        """So many more."""
        if self._task is not None:
            self._bar.advance(self._task, num_bytes)
