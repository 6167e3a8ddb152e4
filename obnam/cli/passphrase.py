"""Secrets that a command is given: from a file, or from somebody at a terminal. Never kept.

Not as an argument, which other users of the computer can see, and which a shell writes down.
"""

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from obnam.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    from obnam.repository.slots import Passphrases

LENGTH_MAX = 4096
"""Characters; a longer first line is not a passphrase."""

TRIES = 3


def passphrases(file: Path | None, *, none: bool = False) -> "Passphrases":
    """Where passphrases come from: the first line of ``file``, nowhere, or a terminal."""
    if file is not None:
        return _Given(first_line(file, "the passphrase"))
    return _Given(None) if none else _asked


@frozen(repr=False)
class _Given:
    passphrase: str | None

    def __call__(self, *, new: bool) -> str | None:
        return self.passphrase


def _asked(*, new: bool) -> str | None:
    """Ask at the terminal; a new one twice, since nobody sees what is typed."""
    if sys.stdin is None or not sys.stdin.isatty():  # None: it is closed, `<&-`
        raise UsageError(
            "a passphrase is needed, and there is no terminal to ask at; use --passphrase-file"
        )
    if not new:
        return _typed("Passphrase of the repository: ")
    for _ in range(TRIES):
        first = _typed("New passphrase: ")
        if first and first == _typed("The same again: "):
            return first
        print("They differ." if first else "It must not be empty.", file=sys.stderr)
    raise UsageError("no passphrase was given")


def _typed(prompt: str) -> str:
    """A line that somebody types, unseen. `UsageError`: there is none, be it by Ctrl-D."""
    from obnam.cli.endings import raising_signals

    try:
        with raising_signals():
            return getpass.getpass(prompt)
    except BaseException as error:
        print(file=sys.stderr)  # What comes next does not stand behind the prompt.
        if isinstance(error, EOFError):
            raise UsageError("nothing was typed, and the input has ended; try again") from error
        raise


def read_invitation(file: Path | None) -> str:
    """The first line of ``file``; ``None``: of standard input, asked for if it is a terminal.

    Raises `ConfigurationError`, `UsageError`.
    """
    if file is not None:
        return first_line(file, "the invitation")
    if sys.stdin is None:
        raise UsageError("an invitation is needed, and standard input is closed")
    if not sys.stdin.isatty():
        return _checked("standard input", sys.stdin.readline(LENGTH_MAX + 2), "the invitation")
    return _typed("Invitation (it is not shown): ")


def first_line(path: Path, what: str) -> str:
    """What the first line of a file has. Raises `ConfigurationError`."""
    try:
        with path.open(encoding="utf-8", errors="surrogateescape") as file:
            line = file.readline(LENGTH_MAX + 2)
    except OSError as error:
        raise ConfigurationError(str(path), f"cannot be read: {error.strerror}") from error
    return _checked(str(path), line, what)


def _checked(place: str, line: str, what: str) -> str:
    found = line.rstrip("\r\n")
    if not found:
        raise ConfigurationError(place, f"its first line, {what}, is empty")
    if len(found) > LENGTH_MAX:
        raise ConfigurationError(place, f"its first line is longer than {LENGTH_MAX}")
    return found
