"""How commands end, in this process: what is printed, and the exit code."""

import json
import os
import sqlite3
from collections.abc import Callable

import click
import pytest

from obnam.cli import commands, endings
from obnam.errors import ConfigurationError, ServerUnreachable


def no_reactor() -> None:
    raise AssertionError("not needed")


@pytest.fixture
def ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Run a command that does ``what``; its exit code, and what was printed as an error."""

    def run(what: Callable[[], object], *options: str) -> tuple[int, str]:
        command = click.Command("list", callback=what)
        monkeypatch.setattr(commands.Commands, "get_command", lambda self, context, name: command)
        code = endings.run([*options, "list"], no_reactor)  # type: ignore[arg-type]
        return code, capsys.readouterr().err

    return run


def raising(error: BaseException) -> Callable[[], None]:
    def what() -> None:
        raise error

    return what


Ended = Callable[..., tuple[int, str]]


def test_the_codes_of_commands(ended: Ended) -> None:
    assert ended(lambda: None) == (0, "")
    assert ended(lambda: 3) == (3, "")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigurationError("/x", "is bad"), 2, "obnam: /x: is bad\n"),
        (ServerUnreachable("s", "why"), 1, "obnam: s cannot be reached: why\n"),
        (ServerUnreachable("s", "two\nlines"), 1, "obnam: s cannot be reached: two lines\n"),
        (OSError(28, "No space left on device", "/x"), 1, "obnam: /x: No space left on device\n"),
        (
            OSError(24, "Too many open files", "/x"),
            1,
            "obnam: /x: Too many open files; raise the limit on open files (`ulimit -n`)\n",
        ),
        (OSError(24, "ours, and what to do"), 1, "obnam: ours, and what to do\n"),
        (
            RuntimeError("can't start new thread"),
            1,
            "obnam: no thread can be started; raise the limit on processes (`ulimit -u`), or on "
            "memory (`ulimit -v`)\n",
        ),
        (
            MemoryError(),
            1,
            "obnam: memory is short; free some, or raise the limit on it (`ulimit -v`)\n",
        ),
        (ConfigurationError("/\x1b[31m", "\udcff"), 2, "obnam: /?[31m: ?\n"),
        (
            sqlite3.OperationalError("database or disk is full"),
            1,
            "obnam: a database in the cache, or one in the directory of temporary files, cannot be "
            "used: database or disk is full\n",
        ),
        (BrokenPipeError(), 141, ""),
    ],
)
def test_what_is_foreseen_is_one_line(
    ended: Ended, error: BaseException, code: int, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endings, "_point_at_nothing", lambda stream: None)
    assert ended(raising(error)) == (code, line)


def test_interrupted(ended: Ended) -> None:
    code, line = ended(raising(endings.Interrupted(15)))
    assert code == 143
    assert line.startswith("obnam: ended by SIGTERM; ")


def test_what_is_not_foreseen_is_told_whole(ended: Ended) -> None:
    code, text = ended(raising(ZeroDivisionError("oh")))
    assert code == 1
    assert "Traceback" in text
    assert "ZeroDivisionError: oh" in text
    assert "Please report it" in text.splitlines()[-1]


def test_errors_as_json(ended: Ended) -> None:
    code, line = ended(raising(ServerUnreachable("s", "why")), "--json")
    assert code == 1
    assert json.loads(line) == {
        "error": "ServerUnreachable",
        "message": "s cannot be reached: why",
        "temporary": True,
    }


def test_causes_for_who_wants_them(ended: Ended) -> None:
    error = ServerUnreachable("s", "why")
    error.__cause__ = ValueError("first\ncause")
    assert "cause" not in ended(raising(error))[1]
    text = ended(raising(error), "-v")[1]
    assert text.splitlines()[0] == "obnam: because of ValueError: first cause"


def test_wrong_usage_names_the_help() -> None:
    assert endings.run(["--nonsense"], no_reactor) == 2  # type: ignore[arg-type]


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert endings.run([], no_reactor) == 2  # type: ignore[arg-type]
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Usage: obnam [OPTIONS] COMMAND")
    assert "\n  backup " in err


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["--nonsense"], ["key"]])
def test_wrong_usage_as_json(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert endings.run(["--json", *arguments], no_reactor) == 2  # type: ignore[arg-type]
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["error"] == "UsageError"


def test_a_broken_pipe_that_is_not_our_output(
    ended: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody reads on: so it is an error like any other, and not to be kept quiet."""
    monkeypatch.setattr(endings, "_is_gone", lambda stream: False)
    error = BrokenPipeError(32, "Broken pipe")
    assert ended(raising(error)) == (1, "obnam: Broken pipe\n")


def test_whether_somebody_reads() -> None:
    reading, writing = os.pipe()
    with open(writing, "w") as pipe:
        assert not endings._is_gone(pipe)
        os.close(reading)
        assert endings._is_gone(pipe)
    assert endings._is_gone(pipe)
    with open(os.devnull, "w") as nothing:
        assert not endings._is_gone(nothing)
