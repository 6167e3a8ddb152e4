"""The scan runs ahead of who takes its batches: so far, in order, and not while it is paused."""

from collections.abc import AsyncIterator, Iterator
from threading import Event

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from attrs import define, field
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred

from obnam.backup.ahead import AHEAD, ScanAhead
from obnam.backup.batches import Batch, Cut
from obnam.errors import ServerFull
from obnam.pool.thread import OwnThread

ensure = pytest_twisted.ensureDeferred


@define
class Source:
    """A scan of so many batches, told apart by their sizes, and how many were pulled."""

    count: int
    error: Exception | None = None
    pulled: int = 0
    thread: OwnThread = field(factory=lambda: OwnThread(reactor, "scan"))  # type: ignore[arg-type]

    def batches(self) -> Iterator[Batch]:
        """One after another."""
        for number in range(self.count):
            self.pulled += 1
            yield Batch(Cut.EACH, (), number, 1)
        if self.error is not None:
            raise self.error

    async def settle(self) -> None:
        """Until nothing more is pulled of its own accord."""
        for _ in range(3 * self.count):
            await self.thread.call(lambda: None)


@pytest_twisted.async_yield_fixture
async def source() -> AsyncIterator[Source]:
    source = Source(3 * AHEAD)
    yield source
    source.thread.close()


async def sizes(scan: ScanAhead) -> list[int]:
    """The sizes of all batches to the end."""
    found = []
    while (batch := await scan.next()) is not None:
        found.append(batch.size_bytes)
    return found


@ensure
async def test_all_batches_come_in_their_order(source: Source) -> None:
    scan = ScanAhead(source.thread, source.batches())
    assert await sizes(scan) == list(range(3 * AHEAD))
    assert await scan.next() is None


@ensure
async def test_it_runs_ahead_up_to_a_bound(source: Source) -> None:
    scan = ScanAhead(source.thread, source.batches())
    assert source.pulled == 0  # not before somebody wants something
    await scan.next()
    await source.settle()
    assert source.pulled == AHEAD + 1


@ensure
async def test_what_else_the_thread_has_to_do_comes_in_between(source: Source) -> None:
    scan = ScanAhead(source.thread, source.batches())
    first = scan.next()
    assert await source.thread.call(lambda: source.pulled) == 1
    await first


@ensure
async def test_nothing_is_scanned_while_it_is_paused(source: Source) -> None:
    scan = ScanAhead(source.thread, source.batches())
    await scan.next()
    await scan.pause()
    pulled = source.pulled
    await source.settle()
    assert source.pulled == pulled < AHEAD
    assert await sizes(scan) == list(range(1, 3 * AHEAD))


@ensure
async def test_when_it_is_paused_nothing_is_under_way_either(source: Source) -> None:
    """A commit begins then, and reads what the scan writes."""
    begun, go_on, written = Event(), Event(), list[int]()

    def batches() -> Iterator[Batch]:
        for number, batch in enumerate(source.batches()):
            if number == 1:
                begun.set()
                assert go_on.wait(20)
            written.append(number)
            yield batch

    scan = ScanAhead(source.thread, batches())
    await scan.next()
    second = scan.next()
    assert begun.wait(20)
    pausing = Deferred.fromCoroutine(scan.pause())
    assert not pausing.called
    go_on.set()
    await pausing
    assert written == [0, 1]
    assert await second is not None


@ensure
async def test_several_wait_and_one_gives_up(source: Source) -> None:
    scan = ScanAhead(source.thread, source.batches())
    waiting = [scan.next() for _ in range(3)]
    waiting[1].cancel()
    with pytest.raises(CancelledError):
        await waiting[1]
    batches = [await waiting[0], await waiting[2]]
    assert [batch.size_bytes for batch in batches if batch is not None] == [0, 1]


@ensure
async def test_a_scan_that_fails_says_so_after_what_it_found(source: Source) -> None:
    source.count, source.error = 2, ServerFull("the disk")
    scan = ScanAhead(source.thread, source.batches())
    await scan.next()
    await source.settle()
    assert await scan.next() is not None
    for _ in range(2):
        with pytest.raises(ServerFull):
            await scan.next()


@ensure
async def test_all_who_wait_hear_of_a_failure_and_may_give_up_at_it(source: Source) -> None:
    source.count, source.error = 0, ServerFull("the disk")
    scan = ScanAhead(source.thread, source.batches())
    waiting = [scan.next() for _ in range(3)]
    waiting[0].addErrback(lambda _: waiting[1].cancel())
    await waiting[0]
    with pytest.raises(CancelledError):
        await waiting[1]
    with pytest.raises(ServerFull):
        await waiting[2]
