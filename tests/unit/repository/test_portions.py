"""Bodies over a link that drops connections. Time is moved by hand."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, cast

import pytest
from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock, deferLater

from obnam.errors import ServerUnreachable
from obnam.model.ids import ChunkId, SessionId
from obnam.repository.deferring import returns_deferred
from obnam.repository.retry import Retried, RetryingRepository
from obnam.wire.frames import FRAME_HEADER_BYTES, Frame, pack_header, split, write_header
from obnam.wire.lent import Lent
from obnam.wire.limits import MIB

SESSION = SessionId("0" * 32)
SIZES = (MIB, MIB // 2, 300_000, 2 * MIB, 1000, MIB // 2, MIB, MIB, 700_000, 5, MIB)
"""Sealed chunks, 8 MiB in all."""


@define
class Link:
    """Carries ``each_bytes`` a connection, a MiB a second; one connection, used again."""

    clock: Clock
    each_bytes: int
    stored: dict[ChunkId, bytes] = field(factory=dict)
    bodies: list[int] = field(factory=list)
    asked: list[int] = field(factory=list)
    wasted_bytes: int = 0
    at_once: int = 0
    most_at_once: int = 0
    away: int = 0
    _left: int = 0

    def connect(self, size_bytes: int) -> int:
        """How many of the next bytes it carries."""
        if self.away:
            self.away -= 1
            raise ServerUnreachable("server", "nothing listens there")
        self._left = self._left or self.each_bytes
        carried = min(size_bytes, self._left)
        self._left -= carried
        return carried

    async def _busy(self, size_bytes: int) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await cast("Deferred[None]", deferLater(self.clock, size_bytes / MIB))
        finally:
            self.at_once -= 1

    @returns_deferred
    async def store(self, session: SessionId, body: memoryview, lent: Lent | None = None) -> None:
        carried = self.connect(len(body))
        self.bodies.append(len(body))
        await self._busy(carried)
        if carried < len(body):
            self.wasted_bytes += carried
            raise ServerUnreachable("server", "lost", carried_bytes=carried)
        for frame in split(body):
            self.stored[frame.chunk_id] = bytes(body[frame.offset : frame.offset + frame.length])

    @returns_deferred
    async def fetch(self, ids: Sequence[ChunkId], into: memoryview) -> Sequence[Frame]:
        self.asked.append(len(ids))
        size_bytes = sum(FRAME_HEADER_BYTES + len(self.stored.get(each, b"")) for each in ids)
        carried = self.connect(size_bytes)
        await self._busy(carried)
        frames: list[Frame] = []
        at = 0
        for chunk_id in ids:
            sealed = self.stored.get(chunk_id, b"")
            if at + FRAME_HEADER_BYTES + len(sealed) > carried:
                self.wasted_bytes += carried - at
                raise ServerUnreachable(
                    "server", "lost", carried_bytes=carried, whole_chunks=len(frames)
                )
            at = write_header(into, at, chunk_id, len(sealed))
            into[at : at + len(sealed)] = sealed
            frames.append(Frame(chunk_id, at, len(sealed)))
            at += len(sealed)
        return frames


@define
class Scene:
    clock: Clock
    link: Link
    reports: list[Retried]
    repository: RetryingRepository

    def done(self, *asked: "Deferred[Any]") -> list[Any]:
        """Let time pass until all of them have fired."""
        found: list[Any] = []
        for each in asked:
            each.addBoth(found.append)
        for _ in range(100_000):
            if len(found) == len(asked):
                return found
            self.clock.advance(0.1)
        raise AssertionError("it takes for ever")


def scene(each_bytes: int) -> Scene:
    clock, reports = Clock(), list[Retried]()
    link = Link(clock, each_bytes)
    repository = RetryingRepository(cast(Any, link), clock, lambda: 1.0, reports.append)
    return Scene(clock, link, reports, repository)


def sealed(number: int, size: int) -> tuple[ChunkId, bytes]:
    name = b"%d" % number
    return ChunkId(b"\x01" + sha256(name).digest()), (name * size)[:size]


def chunks(first: int = 0) -> dict[ChunkId, bytes]:
    return dict(sealed(first + number, size) for number, size in enumerate(SIZES))


def body_of(wanted: dict[ChunkId, bytes]) -> memoryview:
    return memoryview(b"".join(pack_header(i, len(s)) + s for i, s in wanted.items()))


def test_bodies_go_whole_while_nothing_breaks_off() -> None:
    s = scene(1000 * MIB)
    bodies = [body_of(chunks(100 * number)) for number in range(4)]
    assert s.done(*(s.repository.store(SESSION, body) for body in bodies)) == [None] * 4
    assert s.link.bodies == [len(body) for body in bodies]
    assert s.link.most_at_once == 4


def test_the_body_itself_is_handed_on() -> None:
    """No copy of it, no part; what it is lent by goes with it."""
    given: list[Any] = []

    class Taking:
        def store(self, *arguments: Any) -> "Deferred[None]":
            given.append(arguments)
            return succeed(None)

    repository = RetryingRepository(cast(Any, Taking()), Clock(), lambda: 1.0, print)
    body, lent = body_of(chunks()), Lent(1, 2, 3)
    repository.store(SESSION, body, lent)
    ((session, passed, with_it),) = given
    assert session == SESSION
    assert passed is body
    assert with_it is lent


@pytest.mark.parametrize("each_bytes", [2 * MIB + 1000, 3 * MIB, 6 * MIB])
def test_an_upload_that_is_too_large_for_the_link(each_bytes: int) -> None:
    """Whatever one connection carries, if that is but one chunk: all of it is stored in the end."""
    s = scene(each_bytes)
    wanted = chunks()
    assert s.done(s.repository.store(SESSION, body_of(wanted))) == [None]
    assert s.link.stored == wanted


def test_a_restart_does_not_make_portions() -> None:
    s = scene(1000 * MIB)
    s.link._left = 3 * MIB
    s.link.away = 0
    body = body_of(chunks())
    asked = s.repository.store(SESSION, body)
    s.clock.advance(3.0)
    s.link.away = 5
    assert s.done(asked) == [None]
    assert s.link.bodies == [len(body)] * 2


def test_portions_go_one_at_a_time() -> None:
    """Four side by side would have a fourth of the link each."""
    s = scene(3 * MIB)
    every = [chunks(100 * number) for number in range(8)]
    first = [s.repository.store(SESSION, body_of(wanted)) for wanted in every[:4]]
    assert s.done(*first) == [None] * 4
    s.link.most_at_once = 0
    more = [s.repository.store(SESSION, body_of(wanted)) for wanted in every[4:]]
    assert s.done(*more) == [None] * 4
    assert s.link.most_at_once == 1
    assert s.link.stored == {i: each for wanted in every for i, each in wanted.items()}


def test_a_link_that_works_again_is_used_as_before() -> None:
    s = scene(3 * MIB)
    s.done(s.repository.store(SESSION, body_of(chunks())))
    s.link.each_bytes = 1_000_000 * MIB
    for number in range(1, 10):
        s.done(s.repository.store(SESSION, body_of(chunks(100 * number))))
    s.link.bodies.clear()
    body = body_of(chunks(2000))
    s.done(s.repository.store(SESSION, body))
    assert s.link.bodies == [len(body)]


def test_a_link_that_carries_no_chunk_is_given_up() -> None:
    s = scene(MIB + 1000)
    (failed,) = s.done(s.repository.store(SESSION, body_of(chunks())))
    assert failed.check(ServerUnreachable)
    assert sum(report.wait_s for report in s.reports) <= 600
    assert s.link.stored  # what went through is


def test_cancelling_gives_the_turn_to_the_next() -> None:
    s = scene(3 * MIB)
    s.done(s.repository.store(SESSION, body_of(chunks())))
    first, second, third = (
        s.repository.store(SESSION, body_of(chunks(100 * number))) for number in (1, 2, 3)
    )
    second.cancel()
    first.cancel()
    ended = s.done(first, second, third)
    assert [each and each.check(CancelledError) for each in ended] == [CancelledError] * 2 + [None]
    assert set(chunks(300)) <= set(s.link.stored)


# Downloads


@pytest.mark.parametrize("each_bytes", [2 * MIB + 1000, 3 * MIB, 1000 * MIB])
def test_a_download_goes_on_where_it_broke_off(each_bytes: int) -> None:
    s = scene(each_bytes)
    s.link.stored = wanted = chunks()
    into = memoryview(bytearray(16 * MIB))
    ids = [*wanted, sealed(99, 0)[0]]  # the last one is absent
    (frames,) = s.done(s.repository.fetch(ids, into))
    assert [frame.chunk_id for frame in frames] == ids
    found = [bytes(into[frame.offset : frame.offset + frame.length]) for frame in frames]
    assert found == [*wanted.values(), b""]
    assert list(split(into[: frames[-1].offset])) == list(frames)
    assert s.link.wasted_bytes <= len(s.link.asked) * 2 * MIB


def test_an_answer_of_any_length_ends() -> None:
    """It breaks off more often than anybody would try in vain."""
    s = scene(2 * MIB + 1000)
    s.link.stored = wanted = dict(sealed(number, 2 * MIB) for number in range(30))
    into = memoryview(bytearray(64 * MIB))
    (frames,) = s.done(s.repository.fetch(list(wanted), into))
    assert len(frames) == 30
    assert len(s.link.asked) > 15


def test_nothing_that_came_is_asked_for_again() -> None:
    s = scene(3 * MIB)
    s.link.stored = wanted = chunks()
    s.done(s.repository.fetch(list(wanted), memoryview(bytearray(16 * MIB))))
    assert s.link.asked == sorted(s.link.asked, reverse=True)
    assert len(set(s.link.asked)) == len(s.link.asked)


def test_downloads_that_bring_nothing_go_one_at_a_time() -> None:
    """The link is too slow for all of them together; by itself each goes through."""
    s = scene(MIB)
    s.link.stored = dict(sealed(number, 2 * MIB) for number in range(4))
    waiting = [
        s.repository.fetch([chunk_id], memoryview(bytearray(4 * MIB))) for chunk_id in s.link.stored
    ]
    s.clock.pump([0.5] * 20)
    assert not any(each.called for each in waiting)
    s.link.each_bytes = 5 * MIB
    s.link.most_at_once = 0
    assert [len(frames) for frames in s.done(*waiting)] == [1] * 4
    assert s.link.most_at_once == 1
