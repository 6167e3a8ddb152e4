"""Where worker processes come from: a fork server, which can be started before there is work.

Slow to import, and of no use to a backup that finds nothing to read.
"""

import multiprocessing
import os
import tempfile
from multiprocessing import forkserver
from multiprocessing.context import BaseContext

from obnam.wire.limits import SOCKET_PATH_MAX

JOBS = "obnam.pool.jobs"
"""What the fork server imports, once for all workers."""

_FORK_SERVER_NAME = len("/pymp-12345678/listener-12345678")


def start_method(temporary: str) -> str:
    """How workers are started; ``temporary`` is the directory of temporary files.

    Never by a plain fork: the client has threads and a running reactor. A fork server imports
    the jobs once, and workers are forked from it and share that memory; but it listens on a
    socket in the temporary directory, whose path may be too long for that.
    """
    fits = len(os.fsencode(temporary)) + _FORK_SERVER_NAME <= SOCKET_PATH_MAX
    return "forkserver" if fits else "spawn"


def context() -> BaseContext:
    """What makes workers, in the way that is possible here."""
    made = multiprocessing.get_context(start_method(tempfile.gettempdir()))
    made.set_forkserver_preload([JOBS])
    return made


def get_ready() -> None:
    """Start the fork server now, if there is to be one.

    It imports for 0.15 s, on another core: while the client imports what it needs itself.
    """
    if context().get_start_method() == "forkserver":
        forkserver.ensure_running()
