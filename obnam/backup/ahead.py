"""Lets the scan run ahead of the lanes, so that they need not wait for it.

Directories of tiny files keep the scan busier than the workers, and large files keep it waiting:
what it finds in the meantime is work for when it falls behind. One batch is asked for at a time,
because records are written on the same thread, and the chunks of the first batches asked for:
those come in between.
"""

from collections import deque
from collections.abc import Iterator

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from obnam.backup.batches import Batch
from obnam.pool.thread import OwnThread

AHEAD = 32
"""Batches that may lie ready. Each is the names of 2,048 files at most: some 200 kB."""


@define(eq=False)
class ScanAhead:
    """The batches of a scan, which runs on ``thread``; some of them before they are wanted."""

    _thread: OwnThread
    _batches: Iterator[Batch]
    _ready: deque[Batch] = field(factory=deque)
    _waiting: "deque[Deferred[Batch | None]]" = field(factory=deque)
    _is_scanning: bool = False
    _is_paused: bool = False
    _has_ended: bool = False
    _failure: Failure | None = None

    def next(self) -> "Deferred[Batch | None]":
        """The next batch, or ``None`` at the end of the scan; fails as the scan does."""
        self._is_paused = False
        wanted: Deferred[Batch | None]
        if self._ready:
            wanted = succeed(self._ready.popleft())
        elif self._failure is not None:
            wanted = fail(self._failure)
        elif self._has_ended:
            wanted = succeed(None)
        else:
            wanted = Deferred(self._waiting.remove)
            self._waiting.append(wanted)
        self._scan()
        return wanted

    async def pause(self) -> None:
        """Let the scan do nothing until `next` is called again; fires when it has stopped."""
        self._is_paused = True
        await self._thread.call(_nothing)  # which comes behind the last that was asked for

    def _scan(self) -> None:
        enough = len(self._ready) >= AHEAD
        if self._is_scanning or self._is_paused or self._has_ended or enough:
            return
        self._is_scanning = True
        self._thread.call(next, self._batches, None).addCallbacks(self._found, self._failed)

    def _found(self, batch: Batch | None) -> None:
        self._is_scanning = False
        if batch is None:
            self._has_ended = True
            while self._waiting:
                self._waiting.popleft().callback(None)
        elif self._waiting:
            self._waiting.popleft().callback(batch)
        else:
            self._ready.append(batch)
        self._scan()

    def _failed(self, failure: Failure) -> None:
        self._is_scanning, self._has_ended, self._failure = False, True, failure
        while self._waiting:  # whoever is told may stop the others, which then wait no more
            self._waiting.popleft().errback(failure)


def _nothing() -> None:
    """Done in the thread, it tells that what was asked for before is done."""
