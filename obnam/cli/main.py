"""The ``obnam`` command: the process's beginning and end.

Worker processes import this module again, since it is what the program was started from: so it
imports nothing of weight, and does nothing, until `main` is called.
"""

import gc
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn, cast

if TYPE_CHECKING:
    from twisted.internet.base import ReactorBase


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line, and exit. ``arguments``: those of the process, unless given."""
    # Ctrl-C while we import ends the process without a word. `endings.run` has one for it.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Importing makes many objects and no garbage: looking for some is a tenth of the start's time.
    gc.disable()
    from obnam.cli import endings

    endings.leave(endings.run(sys.argv[1:] if arguments is None else list(arguments), _reactor))


def _reactor() -> "ReactorBase":
    """The global reactor: for commands that talk to a server, and got only by them."""
    from twisted.internet import reactor

    return cast("ReactorBase", reactor)
