"""The line on a terminal, drawn again and again. Imported only when something is to be shown."""

from collections.abc import Callable
from typing import TextIO

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text


class _Pace(ProgressColumn):
    """A column about how fast it goes, on the whole: an upload may take a minute."""

    def __init__(self, elapsed_s: Callable[[], float]) -> None:
        super().__init__()
        self._elapsed_s = elapsed_s

    def per_second(self, task: Task) -> float:
        """Bytes; 0: not known."""
        elapsed_s = self._elapsed_s()
        return task.completed / elapsed_s if elapsed_s > 0 else 0.0


class _Rate(_Pace):
    def render(self, task: Task) -> Text:
        """Bytes in a second."""
        per_second = int(self.per_second(task))
        return Text(f"{decimal(per_second)}/s" if per_second else "", "progress.data.speed")


class _TimeLeft(_Pace):
    def render(self, task: Task) -> Text:
        """Hours, minutes and seconds, if it goes on like this."""
        per_second = self.per_second(task)
        if not per_second or task.remaining is None:
            return Text("-:--:--", "progress.remaining")
        minutes, seconds = divmod(int(task.remaining / per_second), 60)
        hours, minutes = divmod(minutes, 60)
        return Text(f"{hours}:{minutes:02}:{seconds:02}", "progress.remaining")


class Display:
    """What is done, how fast, and how long it will take.

    ``elapsed_s`` says for how long bytes have gone by.
    """

    def __init__(self, out: TextIO, stage: str, elapsed_s: Callable[[], float]) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[files]}"),
            DownloadColumn(),
            _Rate(elapsed_s),
            _TimeLeft(elapsed_s),
            console=Console(file=out),
            transient=True,
            refresh_per_second=4,
        )
        self._task = self._progress.add_task(stage, total=None, files="")
        self._progress.start()

    def stage(self, name: str) -> None:
        """Another part of the work begins."""
        self._progress.update(self._task, description=name)

    def update(self, files: int, size_bytes: int, total_bytes: int | None) -> None:
        """So much is done."""
        self._progress.update(
            self._task, completed=size_bytes, total=total_bytes, files=f"{files:,} files"
        )

    def print(self, line: str) -> None:
        """Print a line above it."""
        self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Take it away."""
        self._progress.stop()
