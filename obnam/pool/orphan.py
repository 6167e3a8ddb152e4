"""What the fork server imports besides the jobs: it, and workers forked from it, die in silence.

When a client ends while a worker is being started, that reads a pipe that nobody writes to any
more, or looks for what is gone; and Python prints a traceback on the standard error of a command
that is over. Whatever goes wrong in those who start, and have nobody to start for, is no news.

To import it does that where a client has asked for it by the environment, and else nothing.
"""

import os
import select
import sys
from types import TracebackType

CLIENT = "OBNAM_CLIENT_PROCESS"
"""The client's process id. The parent's may be another one's by now."""

GONE_MS = 1000
"""How long a client may take to be gone, once its end of a pipe is closed: it is ending already."""


def watch(client: int) -> None:
    """From now on, what is raised and not caught is printed only while this process lives."""
    try:
        descriptor = os.pidfd_open(client)
    except ProcessLookupError:
        os._exit(0)

    def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        gone = select.poll()
        gone.register(descriptor, select.POLLIN)
        if not gone.poll(GONE_MS):
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = tell


if CLIENT in os.environ:
    watch(int(os.environ.pop(CLIENT)))
