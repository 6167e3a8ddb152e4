"""What a worker process is: the keys, tools made from them, and the slabs it has mapped.

A worker gets its `Tools` once, when it starts. A job is a plain function of the job modules,
called with the worker's tools and small, picklable arguments.
"""

import os
import signal
import threading
from collections.abc import Callable, Hashable
from functools import cached_property
from typing import Any, TypeVar

from attrs import field, frozen

from obnam.chunking.cutter import Cutter
from obnam.crypto.envelope import Compression
from obnam.crypto.keys import RepositoryKeys
from obnam.crypto.names import Namer
from obnam.crypto.seal import Opener, Sealer, Suite
from obnam.memory import collect_seldom, reuse_buffers
from obnam.pool.slabs import attach

T = TypeVar("T")


@frozen
class Tools:
    """What jobs work with; each tool is made when it is first needed."""

    keys: RepositoryKeys = field(repr=False)
    suite: Suite
    compression: Compression
    _slabs: dict[str, memoryview] = field(factory=dict, repr=False)
    _kept: dict[Hashable, Any] = field(factory=dict, repr=False)

    @cached_property
    def cutter(self) -> Cutter:
        """Cuts content."""
        return Cutter(self.keys.cutter_seed)

    @cached_property
    def namer(self) -> Namer:
        """Names chunks."""
        return Namer(self.keys)

    @cached_property
    def sealer(self) -> Sealer:
        """Seals chunks."""
        return Sealer(self.keys, self.suite, self.compression)

    @cached_property
    def opener(self) -> Opener:
        """Opens sealed chunks."""
        return Opener(self.keys)

    def slab(self, name: str) -> memoryview:
        """The memory of a slab; mapped at first use, then kept."""
        slab = self._slabs.get(name)
        if slab is None:
            slab = self._slabs[name] = attach(name)
        return slab

    def kept(self, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` made for ``key`` at its first use, kept until the worker ends."""
        if key not in self._kept:
            self._kept[key] = make()
        made: T = self._kept[key]
        return made


_tools: list[Tools] = []


def start(keys: RepositoryKeys, suite: Suite, compression: Compression) -> None:
    """Begin a worker's life; called in the new process, before its first job."""
    # Ctrl-C goes to the whole group of processes: the client decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    reuse_buffers()
    collect_seldom()
    try:
        threading.Thread(target=_die_with_client, name="die-with-client", daemon=True).start()
    except RuntimeError:  # The limit on processes is reached, as the client will say.
        os._exit(1)
    _tools[:] = [Tools(keys, suite, compression)]


def run(job: Callable[..., Any], *arguments: object) -> Any:
    """Do one job in this worker process."""
    return job(_tools[0], *arguments)


def nothing(_: Tools) -> None:
    """Do no job: whoever asks for it wants a worker to be there."""


def nothing_at_all() -> None:
    """Not even a job: the executor is to look up."""


def _die_with_client() -> None:
    # A client that was killed cannot end its workers, and a worker that waits for a job would
    # never notice: it holds both ends of the queue's pipe itself.
    from multiprocessing import connection, parent_process  # slow to import, and only for workers

    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
