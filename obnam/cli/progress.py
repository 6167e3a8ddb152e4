"""How the engine's progress is shown: on a terminal, as JSON lines, or only its warnings."""

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from obnam.cli.commands import Options
from obnam.progress import IProgress

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

SHOWN_AFTER_S = 0.7
"""What is done by then needs no display, and none is imported."""

JSON_EVERY_S = 1.0


SPEED_OVER_S = 120.0
"""The rate shown is that of so long: on a slow link, an upload a minute ends."""


def progress_for(options: Options, out: TextIO, clock: IReactorTime) -> IProgress:
    """The listener for these options; ``out`` is where people look, and not for results."""
    if options.as_json:
        return JsonProgress(out, time.monotonic, quiet=options.quiet)
    if options.quiet or not out.isatty():
        return LineProgress(out, stages=options.verbose and not options.quiet)
    return TerminalProgress(out, clock)


@implementer(IProgress)
@define
class LineProgress:
    """Warnings, a line each; with ``stages`` also what is being done."""

    out: TextIO
    stages: bool = False

    def stage(self, name: str) -> None:
        """See `IProgress`."""
        if self.stages:
            print(f"obnam: {name}", file=self.out, flush=True)

    def expect(self, size_bytes: int) -> None:
        """See `IProgress`."""

    def estimate(self, size_bytes: int) -> None:
        """See `IProgress`."""

    def advance(self, files: int, size_bytes: int) -> None:
        """See `IProgress`."""

    def warn(self, message: str) -> None:
        """See `IProgress`."""
        print(f"obnam: warning: {message}", file=self.out, flush=True)

    def close(self) -> None:
        """See `IProgress`."""


@define
class _Counts:
    expected_bytes: int = 0
    estimated_bytes: int | None = None
    done_files: int = 0
    done_bytes: int = 0

    @property
    def total_bytes(self) -> int | None:
        """What will be done in the end; ``None``: nobody knows. Never less than is known of."""
        if self.estimated_bytes is None:
            return None
        return max(self.estimated_bytes, self.expected_bytes)


@implementer(IProgress)
@define
class JsonProgress:
    """JSON lines: one for each stage and warning, and one a second while bytes go by."""

    out: TextIO
    clock: Callable[[], float]
    quiet: bool = False
    _counts: _Counts = field(factory=_Counts)
    _next_s: float = 0.0

    def stage(self, name: str) -> None:
        """See `IProgress`."""
        if not self.quiet:
            self._print({"stage": name})

    def expect(self, size_bytes: int) -> None:
        """See `IProgress`."""
        self._counts.expected_bytes += size_bytes

    def estimate(self, size_bytes: int) -> None:
        """See `IProgress`."""
        self._counts.estimated_bytes = size_bytes

    def advance(self, files: int, size_bytes: int) -> None:
        """See `IProgress`."""
        self._counts.done_files += files
        self._counts.done_bytes += size_bytes
        now = self.clock()
        if not self.quiet and now >= self._next_s:
            self._next_s = now + JSON_EVERY_S
            self._print(
                {
                    "files": self._counts.done_files,
                    "bytes": self._counts.done_bytes,
                    "total_bytes": self._counts.total_bytes,
                }
            )

    def warn(self, message: str) -> None:
        """See `IProgress`."""
        self._print({"warning": message})

    def close(self) -> None:
        """See `IProgress`."""

    def _print(self, value: dict[str, Any]) -> None:
        print(json.dumps(value), file=self.out, flush=True)


@implementer(IProgress)
@define
class TerminalProgress:
    """One line that is drawn again and again: what is done, how fast, and how long it will take."""

    out: TextIO
    clock: IReactorTime
    _counts: _Counts = field(factory=_Counts)
    _stage: str | None = None
    _soon: IDelayedCall | None = None
    _shown: "tuple[Progress, TaskID] | None" = None

    def stage(self, name: str) -> None:
        """See `IProgress`. With the first of them it begins."""
        if self._stage is None:
            self._soon = self.clock.callLater(SHOWN_AFTER_S, self._show)
        self._stage = name
        if self._shown is not None:
            display, task = self._shown
            display.update(task, description=name)

    def expect(self, size_bytes: int) -> None:
        """See `IProgress`."""
        self._counts.expected_bytes += size_bytes
        self._update()

    def estimate(self, size_bytes: int) -> None:
        """See `IProgress`."""
        self._counts.estimated_bytes = size_bytes
        self._update()

    def advance(self, files: int, size_bytes: int) -> None:
        """See `IProgress`."""
        self._counts.done_files += files
        self._counts.done_bytes += size_bytes
        self._update()

    def warn(self, message: str) -> None:
        """See `IProgress`."""
        if self._shown is None:
            print(f"obnam: warning: {message}", file=self.out, flush=True)
        else:
            self._shown[0].console.print(
                f"obnam: warning: {message}", markup=False, highlight=False, soft_wrap=True
            )

    def close(self) -> None:
        """See `IProgress`."""
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        if self._shown is not None:
            self._shown[0].stop()
            self._shown = None

    def _show(self) -> None:
        self._soon = None
        self._shown = _display(self.out, self._stage or "")
        self._update()

    def _update(self) -> None:
        if self._shown is None:
            return
        display, task = self._shown
        display.update(
            task,
            completed=self._counts.done_bytes,
            total=self._counts.total_bytes,
            files=f"{self._counts.done_files:,} files",
        )


def _display(out: TextIO, stage: str) -> "tuple[Progress, TaskID]":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    display = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[files]}"),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(file=out),
        transient=True,
        refresh_per_second=4,
        speed_estimate_period=SPEED_OVER_S,
    )
    task = display.add_task(stage, total=None, files="")
    display.start()
    return display, task
