"""What generations cost: counted at each commit, and asked for afterwards. Without any key.

All of it is set operations over chunk numbers, and the lengths of sealed bytes by number. Sizes are
those of sealed chunks; a segment has about 100 bytes more for each (its frame and its entry in
the trailer), and commits, keyring and register are segments too.
"""

from collections.abc import Collection, Mapping
from datetime import date, timedelta

from attrs import frozen
from pyroaring import BitMap64

from obnam.errors import NotFound
from obnam.model.ids import ClientName, GenerationId
from obnam_server.store.generations.sessions import Sessions
from obnam_server.store.seams.index import IIndex
from obnam_server.store.seams.values import Counted, Past

DAY_NS = 24 * 3600 * 1_000_000_000
_EPOCH = date(1970, 1, 1)


def count(index: IIndex, numbers: BitMap64, previous: GenerationId | None) -> Counted:
    """What a generation with the chunks ``numbers`` adds to the client's one before it."""
    before = None if previous is None else index.generation_set(previous)
    if before is None:
        before = BitMap64()
    added = numbers - before
    return Counted(
        added_count=len(added),
        added_bytes=index.sealed_bytes(added),
        removed_count=before.difference_cardinality(numbers),
        stored_bytes=index.used_bytes(),
    )


@frozen
class Accounting:
    """The accounts of one repository. Any thread."""

    _index: IIndex
    _sessions: Sessions

    def size_bytes(self, generation: GenerationId) -> int:
        """The sealed bytes of all chunks of a generation, whoever else needs them. `NotFound`."""
        return self._index.sealed_bytes(self._set_of(generation))

    def freed_bytes(self, generations: Collection[GenerationId]) -> int:
        """What deleting all of ``generations`` for good would free: the sealed bytes of the chunks
        that no other generation, trash included, and no running backup needs. `NotFound`.

        A backup that begins meanwhile may rely on some of them and keep them.
        """
        chosen = frozenset(generations)
        theirs = BitMap64()
        for generation in chosen:
            theirs |= self._set_of(generation)
        theirs -= self._sessions.needed()
        return self._index.sealed_bytes(self._index.without_generations(theirs, chosen))

    def alone_bytes(self) -> dict[GenerationId, int]:
        """For each generation, trash included, what deleting only this one would free.

        Reads all sets twice; the chunks that two generations have are in no figure.
        """
        once, more = BitMap64(), self._sessions.needed()
        for _, numbers in self._index.all_sets():
            more |= once & numbers
            once |= numbers
        once -= more
        alone = {generation: numbers & once for generation, numbers in self._index.all_sets()}
        return {each: self._index.sealed_bytes(numbers) for each, numbers in alone.items()}

    def history(self, client: ClientName, limit: int) -> list[Past]:
        """The newest ``limit`` generations of a client that were counted, oldest first."""
        return self._index.history(client, limit)

    def last_good(self) -> Mapping[ClientName, int]:
        """When each client's newest generation that is no checkpoint came (ns since the epoch)."""
        return self._index.last_good()

    def growth(self) -> Mapping[date, int]:
        """The repository's size in bytes on each day (UTC) with a commit, in the order of days.

        As far as those commits are still there: of days whose generations are gone, nothing is
        known any more.
        """
        stored: dict[date, int] = {}
        for received_ns, stored_bytes in self._index.stored_bytes():
            stored[_EPOCH + timedelta(days=received_ns // DAY_NS)] = stored_bytes
        return dict(sorted(stored.items()))

    def _set_of(self, generation: GenerationId) -> BitMap64:
        found = self._index.generation_set(generation)
        if found is None:
            raise NotFound(f"generation {generation}")
        return found
