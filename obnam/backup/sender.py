"""What is named is asked about: the server says which pieces it lacks, and those are sent."""

from collections.abc import Callable, Sequence
from functools import partial

from attrs import define, field
from twisted.internet.defer import Deferred

from obnam.backup.meter import Meter
from obnam.backup.record import Recorder
from obnam.backup.uploads import Uploads
from obnam.model.ids import ChunkId, SessionId
from obnam.pool.named import Piece
from obnam.pool.rack import SlabRack
from obnam.pool.slabs import Slab
from obnam.pool.thread import OwnThread
from obnam.pool.together import all_fired
from obnam.wire.interfaces import IChunks
from obnam.wire.limits import MISSING_IDS_MAX


@define
class Sender:
    """Asks the server which pieces it lacks, and sends those.

    It is not asked while it has nothing but what it was sent by us (``asks``); or by another
    client since we began, and then has some chunks twice, which is harmless.
    """

    _repository: IChunks
    _thread: OwnThread
    _recorder: Recorder
    _plaintext: SlabRack
    _uploads: Uploads
    _asks: bool
    _under_way: set[ChunkId] = field(factory=set)

    async def send(
        self, slab: Slab, pieces: Sequence[Piece], meter: Meter, record: Callable[[], object]
    ) -> None:
        """Send all pieces that the server lacks, and ``record`` what is made of them.

        They are on the server after `all_stored`. The slab is put back as soon as it can be.
        ``record`` is called on the generation's thread.
        """
        # In this order: what is recorded is known.
        unknown = self._thread.call(self._recorder.unknown, pieces)
        recorded: Deferred[object] = self._thread.call(record)
        sent: Deferred[object] = Deferred.fromCoroutine(
            self._send_missing(slab, pieces, meter, unknown)
        )
        await all_fired([sent, recorded])

    async def _send_missing(
        self,
        slab: Slab,
        pieces: Sequence[Piece],
        meter: Meter,
        unknown: "Deferred[list[ChunkId]]",
    ) -> None:
        try:
            # What another batch is sending is stored before anything is committed.
            fresh = [chunk_id for chunk_id in await unknown if chunk_id not in self._under_way]
            self._under_way.update(fresh)
            missing = await self._missing(fresh)
            if self._asks:
                self._under_way.difference_update(set(fresh) - missing)
            first = {piece.id: piece for piece in reversed(pieces)}
            wanted = sorted(first[chunk_id] for chunk_id in missing)
            wanted_bytes = sum(piece.length for piece in wanted)
            meter.known(sum(piece.length for piece in pieces) - wanted_bytes)
            if wanted:
                meter.on_its_way(wanted_bytes)
                stored = partial(self._stored, missing, meter, wanted_bytes)
                await self._uploads.add(slab, wanted, stored)
        finally:
            self._plaintext.put_back(slab)

    def _stored(self, ids: set[ChunkId], meter: Meter, size_bytes: int) -> None:
        if self._asks:
            self._under_way.difference_update(ids)
        meter.stored(size_bytes)

    async def all_stored(self) -> None:
        """Wait until all that was to be sent is durable on the server."""
        await self._uploads.all_stored()

    def go_on_in(self, session: SessionId) -> None:
        """After a checkpoint, with nothing under way."""
        self._uploads.session = session
        self._asks = True
        self._under_way.clear()

    async def stop(self) -> None:
        """Give up what is under way."""
        await self._uploads.stop()

    async def _missing(self, ids: Sequence[ChunkId]) -> set[ChunkId]:
        if not self._asks:
            return set(ids)
        missing: set[ChunkId] = set()
        for at in range(0, len(ids), MISSING_IDS_MAX):
            part = ids[at : at + MISSING_IDS_MAX]
            answers = await self._repository.missing(self._uploads.session, part)
            missing.update(chunk_id for chunk_id, lacks in zip(part, answers, strict=True) if lacks)
        return missing
