"""What of the engine's progress is shown, and when."""

import io
import json

from zope.interface.verify import verifyObject

from obnam.cli.progress import (
    JSON_EVERY_S,
    SHOWN_AFTER_S,
    JsonProgress,
    LineProgress,
    TerminalProgress,
)
from obnam.progress import IProgress


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_they_are_listeners() -> None:
    out, clock = io.StringIO(), Clock()
    for listener in (LineProgress(out), JsonProgress(out, clock), TerminalProgress(out, clock)):
        assert verifyObject(IProgress, listener)


def test_warnings_only() -> None:
    out = io.StringIO()
    progress = LineProgress(out)
    progress.stage("backup")
    progress.expect(10)
    progress.advance(1, 10)
    progress.warn("x: cannot be read")
    progress.close()
    assert out.getvalue() == "obnam: warning: x: cannot be read\n"


def test_json_lines_are_at_most_one_a_second() -> None:
    out, clock = io.StringIO(), Clock()
    progress = JsonProgress(out, clock)
    progress.stage("backup")
    progress.expect(100)
    for _ in range(5):
        progress.advance(2, 10)
    progress.estimate(80)
    clock.now_s += JSON_EVERY_S
    progress.advance(2, 10)
    progress.warn("oh")
    assert [json.loads(line) for line in out.getvalue().splitlines()] == [
        {"stage": "backup"},
        {"files": 2, "bytes": 10, "total_bytes": None},
        {"files": 12, "bytes": 60, "total_bytes": 100},
        {"warning": "oh"},
    ]


def test_a_quick_command_shows_nothing() -> None:
    out, clock = io.StringIO(), Clock()
    progress = TerminalProgress(out, clock)
    progress.stage("backup")
    progress.expect(10)
    clock.now_s += SHOWN_AFTER_S / 2
    progress.advance(1, 10)
    progress.close()
    assert out.getvalue() == ""


def test_a_slow_command_shows_what_goes_on() -> None:
    out, clock = Terminal(), Clock()
    progress = TerminalProgress(out, clock)
    progress.stage("backup")
    progress.expect(1000)
    progress.estimate(4000)
    clock.now_s += SHOWN_AFTER_S
    progress.advance(3, 1000)
    progress.warn("[red]x[/red]: not markup")
    progress.close()
    shown = out.getvalue()
    assert "backup" in shown
    assert "obnam: warning: [red]x[/red]: not markup\n" in shown
