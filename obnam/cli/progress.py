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
    from obnam.cli.display import Display

SHOWN_AFTER_S = 0.7
"""What is done by then needs no display, and none is imported."""

JSON_EVERY_S = 1.0


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
    """One line that is drawn again and again, when there is time for it."""

    out: TextIO
    clock: IReactorTime
    _counts: _Counts = field(factory=_Counts)
    _stage: str | None = None
    _began_s: float | None = None
    _soon: IDelayedCall | None = None
    _display: "Display | None" = None

    def stage(self, name: str) -> None:
        """See `IProgress`. With the first of them it begins."""
        if self._stage is None:
            self._soon = self.clock.callLater(SHOWN_AFTER_S, self._show)
        self._stage = name
        if self._display is not None:
            self._display.stage(name)

    def expect(self, size_bytes: int) -> None:
        """See `IProgress`."""
        if self._began_s is None:
            self._began_s = self.clock.seconds()
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
        line = f"obnam: warning: {message}"
        if self._display is None:
            print(line, file=self.out, flush=True)
        else:
            self._display.print(line)

    def close(self) -> None:
        """See `IProgress`."""
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        if self._display is not None:
            self._display.close()
            self._display = None

    def _elapsed_s(self) -> float:
        return 0.0 if self._began_s is None else self.clock.seconds() - self._began_s

    def _show(self) -> None:
        from obnam.cli.display import Display

        self._soon = None
        self._display = Display(self.out, self._stage or "", self._elapsed_s)
        self._update()

    def _update(self) -> None:
        if self._display is not None:
            counts = self._counts
            self._display.update(counts.done_files, counts.done_bytes, counts.total_bytes)
