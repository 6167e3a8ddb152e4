"""Where worker processes come from: a fork server, which can be started before there is work.

Slow to import, and of no use to a backup that finds nothing to read.
"""

import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import BaseContext
from typing import Any

from obnam.pool import semaphores
from obnam.pool.orphan import CLIENT
from obnam.wire.limits import SOCKET_PATH_MAX

PRELOADED = ["obnam.pool.orphan", "obnam.pool.jobs"]
"""What the fork server imports, once for all workers."""

_FORK_SERVER_NAME = len("/obnam-12345678/listener-12345678")


def start_method(temporary: str) -> str:
    """How workers are started; ``temporary`` is the directory of temporary files.

    Never by a plain fork: the client has threads and a running reactor. A fork server imports
    the jobs once, and workers are forked from it and share that memory; but it listens on a
    socket in the temporary directory, whose path may be too long for that.
    """
    fits = len(os.fsencode(temporary)) + _FORK_SERVER_NAME <= SOCKET_PATH_MAX
    return "forkserver" if fits else "spawn"


def context() -> BaseContext:
    """What makes workers, in the way that is possible here. A fork server runs from now on."""
    made = multiprocessing.get_context(start_method(tempfile.gettempdir()))
    made.set_forkserver_preload(PRELOADED)
    semaphores.remove_semaphores_left(time.time())
    semaphores.name_them()
    if made.get_start_method() == "forkserver":
        # First what it would start itself, since that ends with signals that are let through.
        with _undisturbed(), _without_warnings():
            resource_tracker.ensure_running()
        with _undisturbed(), _known(), _without_a_directory():
            forkserver.ensure_running()
    return made


def get_ready() -> None:
    """Start the fork server now, if there is to be one.

    It imports for 0.15 s, on another core: while the client imports what it needs itself.
    """
    context()


@contextmanager
def _without_a_directory() -> Iterator[None]:
    """A fork server that is started within has a socket that is in no directory any more.

    Python leaves it, and a directory of its own, where a process is killed. Who has a socket open
    finds it by that. What says where it is has no public name: without it, it is Python's way.
    """
    config: dict[str, Any] | None = getattr(multiprocessing.current_process(), "_config", None)
    if config is None:
        yield
        return
    before = config.get("tempdir")
    config["tempdir"] = own = tempfile.mkdtemp(prefix="obnam-")
    try:
        yield
        server: Any = getattr(forkserver, "_forkserver", None)
        address = getattr(server, "_forkserver_address", None)
        if address is not None and os.path.dirname(address) == own:
            descriptor = os.open(address, os.O_PATH | os.O_CLOEXEC)
            server._forkserver_address = f"/proc/self/fd/{descriptor}"
    finally:
        config["tempdir"] = before
        shutil.rmtree(own)


@contextmanager
def _known() -> Iterator[None]:
    """What is started within knows this process, see `obnam.pool.orphan`."""
    os.environ[CLIENT] = str(os.getpid())
    try:
        yield
    finally:
        del os.environ[CLIENT]


@contextmanager
def _without_warnings() -> Iterator[None]:
    """What is started within warns of nothing.

    When a client is killed, what watches over its semaphores removes them, which is all well, and
    says so on the standard error of a command that is over.
    """
    sys.warnoptions.append("ignore")
    try:
        yield
    finally:
        sys.warnoptions.remove("ignore")


@contextmanager
def _undisturbed() -> Iterator[None]:
    """What is started within is never told of Ctrl-C, nor of a terminal that is closed.

    Both go to the whole group of processes: the client decides what they mean, and the others end
    with it. Ours are not lost: they come when this is over.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGHUP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
