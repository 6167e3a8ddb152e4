"""Which chunks nobody needs any more, and taking them away.

A chunk is live while a generation (one in the trash, too), a running backup, or an upload needs
it; everything else is dead. What is dead stays as it is, and comes to life again when a backup
asks for it, until its segment is compacted: then the index forgets it in the same change in which
it learns where the live ones went. So nothing that anybody was told is there is taken away under
him, and no client ever waits: see `Numbers.reliance`.
"""

from collections import Counter
from collections.abc import Callable, Sequence

from attrs import frozen
from pyroaring import BitMap64

from obnam.wire.frames import FRAME_HEADER_BYTES
from obnam_server.store.errors import CollectionWaits
from obnam_server.store.generations.sessions import Sessions
from obnam_server.store.seams.index import IIndex
from obnam_server.store.seams.values import ChunkNumber, Placed, SegmentNumber
from obnam_server.store.segments.format import ENTRY_BYTES, FOOTER_BYTES, HEADER_BYTES, SegmentKind
from obnam_server.store.segments.numbers import Numbers
from obnam_server.store.segments.parts import RepositoryHome
from obnam_server.store.upkeep.compaction import Rewrite


@frozen
class SegmentShare:
    """How much of a segment is live. Sizes in bytes, ``created_ns`` since the epoch.

    ``live_bytes``: the size that it would have with nothing but its live chunks, 0 without any.
    """

    segment: SegmentNumber
    size_bytes: int
    live_bytes: int
    created_ns: int


@frozen
class Collection:
    """Collection and compaction of one repository."""

    _home: RepositoryHome
    _index: IIndex
    _numbers: Numbers
    _sessions: Sessions
    _clock: Callable[[], int]

    def shares(self) -> list[SegmentShare]:
        """Of each segment of chunks. Any thread; reads the whole index. `CollectionWaits`."""
        # First what there is, then what is live: what comes between is not taken for dead.
        segments = self._index.chunk_segments()
        placed = self._index.placed()
        dead = self._stored() - self._live()
        count: Counter[SegmentNumber] = Counter()
        size_bytes: Counter[SegmentNumber] = Counter()
        for _, segment, length in self._index.sizes(dead):
            count[segment] += 1
            size_bytes[segment] += length
        shares = []
        for known in segments:
            segment = known.summary.segment
            there = placed.get(segment, Placed(0, 0))
            live = Placed(there.count - count[segment], there.size_bytes - size_bytes[segment])
            shares.append(
                SegmentShare(
                    segment, known.summary.size_bytes, _size_of_segment(live), known.created_ns
                )
            )
        return shares

    def forget_idle(self) -> None:
        """WRITER. Forget sessions that nobody has used for a day: they keep everything alive.

        Or, from before a restart, keep collection waiting; and no other backup may ever begin.
        """
        self._sessions.expire()

    def rewrite(self, segments: Sequence[SegmentNumber]) -> Rewrite:
        """A new segment of what is live in these; none when nothing is. Any thread.

        Take its steps, then `replace` the old ones, or abort it. `CollectionWaits`.
        """
        since = self._index.next_sequence()
        return Rewrite(
            segments,
            self._clock(),
            since,
            self._home,
            self._index,
            self._numbers,
            self._live(),
        )

    def replace(self, rewrite: Rewrite) -> bool:
        """WRITER. Let the new segment take the place of the old ones, durably.

        False: something in the old ones came to life meanwhile; nothing is changed. After that,
        and after an error: `Rewrite.abort`. `CollectionWaits`, `StoreFull`, `StoreFailed`.
        """
        with self._numbers.reliance:
            dead = self._still_there(rewrite)
            if dead & self._live(since=rewrite.since):
                return False
            with self._index.transaction(durable=True):
                self._enter(rewrite, dead)
        rewrite.replaced()
        self._home.segments.delete(self._home.name, rewrite.segments)
        return True

    def forget_damaged(self) -> int:
        """WRITER. Forget damaged chunks that nobody needs; how many. `CollectionWaits`."""
        if not self._index.damaged_count():
            return 0
        with self._numbers.reliance:
            dead = BitMap64(number for number, _ in self._index.damaged(ChunkNumber(0), -1))
            dead -= self._live()
            if dead:
                with self._index.transaction(durable=True):
                    self._index.forget_damaged(dead)
                    self._index.put_gone(self._index.gone() | dead)
            return len(dead)

    def _still_there(self, rewrite: Rewrite) -> BitMap64:
        """The numbers of what was left out; damage may have come meanwhile."""
        places = self._index.locate([chunk.chunk_id for chunk in rewrite.left_out])
        return BitMap64(
            chunk.number
            for chunk in rewrite.left_out
            if places.get(chunk.chunk_id) == chunk.location
        )

    def _enter(self, rewrite: Rewrite, dead: BitMap64) -> None:
        places = self._index.locate([old.chunk_id for old, _ in rewrite.moved])
        if rewrite.summary is not None:
            self._index.put_segment(rewrite.summary, SegmentKind.COMPACTED, rewrite.created_ns)
        self._index.move(
            [new for old, new in rewrite.moved if places.get(old.chunk_id) == old.location]
        )
        self._index.remove(dead)
        for segment in rewrite.segments:
            self._index.forget_segment(segment)
        self._index.put_next_numbers(*self._numbers.next_numbers())

    def _stored(self) -> BitMap64:
        _, below = self._index.next_numbers()
        return BitMap64(range(below)) - self._index.absent() - self._index.gone()

    def _live(self, since: int = 1) -> BitMap64:
        """What is needed by generations from the sequence number ``since`` on, and right now."""
        # Held numbers before sessions, sessions before generations: so they pass it on.
        live = self._numbers.held()
        running = self._sessions.live_set()
        if running is None:
            clients, until_ns = self._sessions.unknown()
            raise CollectionWaits(self._home.name, tuple(clients), until_ns)
        return live | running | self._index.live_set(since)


def _size_of_segment(live: Placed) -> int:
    if not live.count:
        return 0
    around = FRAME_HEADER_BYTES + ENTRY_BYTES
    return HEADER_BYTES + live.size_bytes + live.count * around + FOOTER_BYTES
