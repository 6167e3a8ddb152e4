"""What of the engine's progress is shown, and when."""

import io
import json

from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from obnam.cli.progress import (
    JSON_EVERY_S,
    SHOWN_AFTER_S,
    JsonProgress,
    LineProgress,
    TerminalProgress,
)
from obnam.progress import IProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_they_are_listeners() -> None:
    out, clock = io.StringIO(), Clock()
    listeners = (LineProgress(out), JsonProgress(out, clock.seconds), TerminalProgress(out, clock))
    for listener in listeners:
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
    progress = JsonProgress(out, clock.seconds)
    progress.stage("backup")
    progress.expect(100)
    for _ in range(5):
        progress.advance(2, 10)
    progress.estimate(80)
    clock.advance(JSON_EVERY_S)
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
    clock.advance(SHOWN_AFTER_S / 2)
    progress.advance(1, 10)
    progress.close()
    assert out.getvalue() == ""
    assert not clock.getDelayedCalls()


def test_a_command_of_which_nothing_is_heard_is_shown_too() -> None:
    """An upload takes minutes on a slow link, and so does the scan of millions of files."""
    out, clock = Terminal(), Clock()
    progress = TerminalProgress(out, clock)
    progress.stage("scan")
    clock.advance(SHOWN_AFTER_S)
    progress.close()
    assert "scan" in out.getvalue()


def test_a_slow_command_shows_what_goes_on() -> None:
    out, clock = Terminal(), Clock()
    progress = TerminalProgress(out, clock)
    progress.stage("backup")
    progress.expect(1000)
    progress.estimate(4_000_000)
    clock.advance(SHOWN_AFTER_S)
    clock.advance(120 - SHOWN_AFTER_S)
    progress.advance(3, 1_200_000)
    progress.warn("[red]x[/red]: not markup")
    progress.close()
    shown = out.getvalue()
    assert "backup" in shown
    assert "3 files" in shown
    assert "1.2/4.0 MB" in shown
    assert "10.0 kB/s" in shown
    assert "0:04:40" in shown
    assert "obnam: warning: [red]x[/red]: not markup\n" in shown
