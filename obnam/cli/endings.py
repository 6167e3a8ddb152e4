"""How a command ends: the one place where errors become text and an exit code.

0: fine. 1: failed. 2: wrong usage. 3: done, with warnings. 128 and a signal's number: ended by it.
"""

import atexit
import errno
import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from threading import Timer
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, TextIO

import click

from obnam import open_files
from obnam.errors import FAILED, WRONG_USAGE, ObnamError

if TYPE_CHECKING:
    from twisted.internet.base import ReactorBase

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Those that ask a command to end."""

LEAVE_S = 5.0
"""How long what runs at the end of the process may take."""

_PLEA = (
    "obnam: this should not have happened. Please report it, with the lines above and what you "
    "did; nothing that was committed is lost"
)

_WAYS_OUT = {
    errno.EMFILE: "raise the limit on open files (`ulimit -n`)",
    errno.ENOMEM: "free some, or raise the limit on it (`ulimit -v`)",
    errno.EAGAIN: "raise the limit on processes (`ulimit -u`)",
    errno.EFBIG: "raise the limit on the size of files (`ulimit -f`)",
}
"""What to do when the system refuses something and it is not plain what."""

_NO_THREAD = "can't start new thread"
"""What `threading` says; it has no error of its own for that."""


class Interrupted(BaseException):
    """A signal asked the program to end. Not an error of the command's.

    ``done``: what was asked for was done, and its result printed, by then.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.done = False


@contextmanager
def raising_signals() -> Iterator[None]:
    """Signals raise `Interrupted` where the program is: while no reactor runs.

    One that is ignored stays so: ``nohup`` asks for that.
    """

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise Interrupted(number)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    heard = [number for number in SIGNALS if before[number] is not signal.SIG_IGN]
    for number in heard:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])


def run(arguments: Sequence[str], reactor: "Callable[[], ReactorBase]") -> int:
    """Run a command line; its exit code."""
    from obnam.cli.commands import Options, cli

    options = Options(reactor)
    # One that is closed (`>&-`) is as if it led to nowhere; and no other file gets its number.
    _take_standard_numbers()
    sys.stdout = sys.stdout or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    sys.stderr = sys.stderr or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A terminal that cannot show a character shows its number.
            stream.reconfigure(errors="backslashreplace")
    try:
        open_files.require()
        # Not `cli.main`: that has its own way of ending when there is nobody to print to.
        with raising_signals(), cli.make_context("obnam", list(arguments), obj=options) as context:
            code = cli.invoke(context)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except BaseException as error:
        if isinstance(error, BrokenPipeError) and (_is_gone(sys.stdout) or _is_gone(sys.stderr)):
            # Whoever read our output has left, such as `head`: not worth a word.
            _point_at_nothing(sys.stdout)
            return 128 + signal.SIGPIPE
        # A command line that makes no sense was not read to its end.
        as_json = options.as_json or "--json" in arguments
        return tell_ending(error, as_json, options.verbose)


def leave(code: int) -> NoReturn:
    """Exit. What is printed and not yet written goes out first."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        _point_at_nothing(sys.stdout)
        _point_at_nothing(sys.stderr)
    # What asked to be told of the end (multiprocessing: its workers and semaphores) is told. What
    # is left out is the taking apart of some 600 modules: a tenth of a second, and of no use.
    # Where that hangs, on a worker that waits for a broken disk, we end all the same.
    watch = Timer(LEAVE_S, os._exit, (code,))
    watch.daemon = True
    with suppress(RuntimeError):  # The limit on threads is reached: so there are no workers.
        watch.start()
    atexit._run_exitfuncs()
    os._exit(code)


def tell_ending(error: BaseException, as_json: bool, verbose: bool) -> int:
    """Print what went wrong; the exit code."""
    match error:
        case Interrupted():
            name = signal.Signals(error.number).name
            kept = "the command itself was done" if error.done else "what was done so far is kept"
            _say(f"ended by {name}; {kept}", "Interrupted", as_json)
            return 128 + error.number
        case click.exceptions.Exit():
            return error.exit_code
        case click.exceptions.NoArgsIsHelpError() if not as_json:
            print(error.format_message(), file=sys.stderr)
            return WRONG_USAGE
        case click.exceptions.NoArgsIsHelpError():
            _say(f"name a command; see `{error.ctx.command_path} --help`", "UsageError", as_json)
            return WRONG_USAGE
        case click.UsageError():
            command = error.ctx.command_path if error.ctx is not None else "obnam"
            message = error.format_message().removesuffix(".")
            _say(f"{message}; see `{command} --help`", "UsageError", as_json)
            return WRONG_USAGE
        case click.ClickException():
            _say(error.format_message(), "UsageError", as_json)
            return WRONG_USAGE
        case ObnamError():
            _explain(error, verbose)
            _say(str(error), type(error).__name__, as_json, temporary=error.temporary)
            return error.exit_code
        case OSError() if error.strerror is not None and _is_stuck(sys.stdout):
            _explain(error, verbose)
            _point_at_nothing(sys.stdout)
            _say(f"what is to be printed cannot be: {error.strerror}", "SystemError", as_json)
            return FAILED
        case MemoryError():
            _say(f"memory is short; {_WAYS_OUT[errno.ENOMEM]}", "SystemError", as_json)
            return FAILED
        case UnicodeEncodeError() if sys.getfilesystemencoding() != "utf-8":
            # Names in the configuration are UTF-8, whatever those on the disk are.
            _say(
                f"{error.object!a} has no name in your locale's character set "
                f"({sys.getfilesystemencoding()}); set LC_ALL=C.UTF-8",
                "SystemError",
                as_json,
            )
            return FAILED
        case RuntimeError() if str(error) == _NO_THREAD:
            way_out = "raise the limit on processes (`ulimit -u`), or on memory (`ulimit -v`)"
            _say(f"no thread can be started; {way_out}", "SystemError", as_json)
            return FAILED
        case OSError() if error.strerror is not None:
            # A full disk, a directory that may not be written: foreseen, and not ours to mend.
            _explain(error, verbose)
            where = f"{os.fsdecode(error.filename)}: " if error.filename is not None else ""
            _say(f"{where}{_with_way_out(error)}", "SystemError", as_json)
            return FAILED
        case Exception() if type(error).__module__ == "sqlite3":
            _explain(error, verbose)
            where = "a database in the cache, or one in the directory of temporary files,"
            _say(f"{where} cannot be used: {error}", "SystemError", as_json)
            return FAILED
        case _:
            traceback.print_exception(error, file=sys.stderr)
            print(_PLEA, file=sys.stderr)
            return FAILED


def _say(message: str, name: str, as_json: bool, *, temporary: bool = False) -> None:
    """The last line: for people, or for programs."""
    # What a server or a file name puts into a message must not reach the terminal as it is.
    line = "".join(c if c.isprintable() else "?" for c in " ".join(message.splitlines()))
    if as_json:
        line = json.dumps({"error": name, "message": line, "temporary": temporary})
    else:
        line = f"obnam: {line}"
    # With nobody to tell, be it that the disk that it goes to is full, the exit code still says it.
    with suppress(OSError):
        print(line, file=sys.stderr)


def _with_way_out(error: OSError) -> str:
    """What the system says, and what to do. Errors that we make have both in them."""
    number = error.errno or 0
    if number in _WAYS_OUT and error.strerror == os.strerror(number):
        return f"{error.strerror}; {_WAYS_OUT[number]}"
    return str(error.strerror)


def _explain(error: BaseException, verbose: bool) -> None:
    """What lay behind an error, one line each, for who wants to know more."""
    if verbose:
        for cause in _causes(error):
            text = " ".join(str(cause).split())
            print(f"obnam: because of {type(cause).__name__}: {text}", file=sys.stderr)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen = {id(error)}
    cause = error.__cause__
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__


def _is_gone(stream: TextIO) -> bool:
    """Whether nobody reads what is written there."""
    try:
        polled = select.poll()
        polled.register(stream.fileno(), select.POLLOUT)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in polled.poll(0))
    except (OSError, ValueError):
        return True  # It is closed, or was never a file.


def _is_stuck(stream: TextIO) -> bool:
    """Whether what was printed there cannot be written, since its disk is full, say."""
    try:
        stream.flush()
    except (OSError, ValueError):
        return True
    return False


def _take_standard_numbers() -> None:
    """Open what is closed of the numbers 0 to 2, or the next file would be taken for it."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)


def _point_at_nothing(stream: TextIO) -> None:
    """What is still to be written there is dropped, without another error."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, stream.fileno())
    os.close(nothing)
