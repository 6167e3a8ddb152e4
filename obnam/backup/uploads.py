"""Sealed chunks are gathered into bodies that are worth an upload.

A slab of plaintext shrinks to a third of itself, as a rule, and an upload costs client and server
some milliseconds however short it is, and the server a file. So what one batch has to send is
sealed behind what another had, until there is enough of it; or until nothing more is coming, or
another batch waits for the slab that it lies in.
"""

from collections.abc import Callable, Iterator, Sequence

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure

from obnam.model.ids import SessionId
from obnam.pool.named import Piece
from obnam.pool.pool import IPool
from obnam.pool.rack import SlabRack
from obnam.pool.seal_pieces import seal_pieces
from obnam.pool.slabs import Slab
from obnam.pool.together import stop_all
from obnam.wire.interfaces import IChunks
from obnam.wire.lent import Lent
from obnam.wire.limits import MIB, UPLOAD_BODY_MAX

ENOUGH_BYTES = 8 * MIB
"""What is worth an upload. More would wait longer for it, and gain little."""

SEALED_SLAB_BYTES = ENOUGH_BYTES + UPLOAD_BODY_MAX
"""Behind less than is enough there is room for any one batch, which is a body by itself at most."""


@define
class Sent:
    """What a pipeline has done so far: files and plaintext bytes read, chunks and bytes sealed.

    What is sealed is sent, or there is no backup.
    """

    files: int = 0
    read_bytes: int = 0
    chunks: int = 0
    sent_bytes: int = 0
    warnings: int = 0


@define(eq=False)
class _Gathered:
    """Frames in a slab, one batch behind the other; ``ends`` are where each of them ends.

    ``stored`` is to be called once they are on the server.
    """

    slab: Slab
    ends: list[int] = field(factory=list)
    stored: list[Callable[[], None]] = field(factory=list)

    @property
    def end(self) -> int:
        return self.ends[-1] if self.ends else 0

    def bodies(self) -> Iterator[tuple[memoryview, Lent]]:
        """All of it, in bodies of whole batches: one, or two where it is too much for one."""
        start = stop = 0
        for end in self.ends:
            if end - start > UPLOAD_BODY_MAX:
                yield self._body(start, stop)
                start = stop
            stop = end
        yield self._body(start, stop)

    def _body(self, start: int, stop: int) -> tuple[memoryview, Lent]:
        return self.slab.view[start:stop], Lent(self.slab.number, self.slab.descriptor, start)


@define(eq=False)
class Uploads:
    """Seals and sends. ``session``: the one that protects what is stored."""

    _repository: IChunks
    _pool: IPool
    _slabs: SlabRack
    _sent: Sent
    session: SessionId
    _at_rest: list[_Gathered] = field(factory=list)
    _sending: list[Deferred[None]] = field(factory=list)
    _failure: Failure | None = None

    async def add(
        self, plaintext: Slab, pieces: Sequence[Piece], stored: Callable[[], None]
    ) -> None:
        """Seal pieces that lie in a slab, and send them some time, after a `flush` at the latest.

        ``stored`` is called once they are on the server. Raises what an upload before failed with.
        """
        gathered = self._at_rest.pop() if self._at_rest else _Gathered(await self._slabs.take())
        try:
            self._raise_failure()
            end = await self._pool.run(
                seal_pieces, plaintext.name, pieces, gathered.slab.name, gathered.end
            )
        except BaseException:
            if gathered.ends:
                self._at_rest.append(gathered)
            else:
                self._slabs.put_back(gathered.slab)
            raise
        self._sent.chunks += len(pieces)
        self._sent.sent_bytes += end - gathered.end
        gathered.ends.append(end)
        gathered.stored.append(stored)
        if end < ENOUGH_BYTES and not self._slabs.is_wanted:
            self._at_rest.append(gathered)
        else:
            self._send(gathered)

    def flush(self) -> None:
        """Nothing more is coming for now: send what is there."""
        while self._at_rest:
            self._send(self._at_rest.pop())

    async def all_stored(self) -> None:
        """Wait until all that was added is on the server. Raises what an upload failed with."""
        self.flush()
        while self._sending:
            await DeferredList(list(self._sending))
        self._raise_failure()

    async def stop(self) -> None:
        """Send no more, and wait until nothing is under way."""
        await stop_all(list(self._sending))
        while self._at_rest:
            self._slabs.put_back(self._at_rest.pop().slab)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            self._failure.raiseException()

    def _send(self, gathered: _Gathered) -> None:
        sending = Deferred.fromCoroutine(self._upload(gathered))
        if not sending.called:
            self._sending.append(sending)
            sending.addBoth(lambda _: self._sending.remove(sending))

    async def _upload(self, gathered: _Gathered) -> None:
        """Never fails: what goes wrong is told to whoever comes next."""
        in_doubt = False
        try:
            for body, lent in gathered.bodies():
                try:
                    await self._repository.store(self.session, body, lent)
                finally:
                    in_doubt = in_doubt or lent.in_doubt
            for stored in gathered.stored:
                stored()
        except BaseException:
            if self._failure is None:
                self._failure = Failure()  # type: ignore[no-untyped-call]
        if in_doubt:
            self._slabs.replace(gathered.slab)
        else:
            self._slabs.put_back(gathered.slab)
