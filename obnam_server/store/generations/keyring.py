"""The keyring: slots that the server keeps and cannot open. Each replacement is a segment."""

import json
from collections.abc import Callable, Sequence

import xxhash
from attrs import frozen

from obnam.model.ids import ClientName
from obnam.wire.messages import BadMessage, Keyring, KeyringSlot
from obnam_server.store.accounts.audit import RepositoryAudit
from obnam_server.store.errors import DamagedKeyring, DamagedSegment, KeyringChanged
from obnam_server.store.generations.commits import SERVER
from obnam_server.store.seams.index import IIndex
from obnam_server.store.seams.values import Location, SegmentNumber
from obnam_server.store.segments.format import Entry, SegmentKind, location_of, name_of, part_id
from obnam_server.store.segments.numbers import Numbers
from obnam_server.store.segments.parts import (
    RepositoryHome,
    known_or_gone,
    read,
    write_parts,
)

SLOTS = part_id("keyring")

NO_KEYRING = Keyring((), "0")
"""What there is before the first `put`."""


@frozen
class KeyringStore:
    """The keyring of one repository."""

    _home: RepositoryHome
    _index: IIndex
    _numbers: Numbers
    _clock: Callable[[], int]
    _audit: RepositoryAudit

    def get(self) -> Keyring:
        """All slots. `DamagedKeyring`."""
        found = self._index.get_keyring()
        if found is None:
            return NO_KEYRING
        location, _ = found
        try:
            return _parse(read(self._home, location), location.segment)[0]
        except DamagedSegment as error:
            if self._index.get_keyring() == found:
                raise DamagedKeyring(error.segment, error.problem) from error
            return self.get()  # replaced since it was looked up

    def put(
        self, slots: Sequence[KeyringSlot], etag: str, client: ClientName | None = None
    ) -> Keyring:
        """Replace all slots, for ``client``. `KeyringChanged`, `DamagedKeyring`, `StoreFull`."""
        found = self._index.get_keyring()
        if etag != self.get().etag:
            raise KeyringChanged(SERVER, "the keyring was changed meanwhile; try again")
        return self._replace(slots, found, client)

    def renew(self) -> None:
        """Write the same slots into a new segment. `DamagedKeyring`, `StoreFull`."""
        self._replace(self.get().slots, self._index.get_keyring(), None)

    def _replace(
        self,
        slots: Sequence[KeyringSlot],
        found: tuple[Location, int] | None,
        client: ClientName | None,
    ) -> Keyring:
        version = 1 if found is None else found[1] + 1
        document = {**Keyring(tuple(slots), "").to_json(), "version": version}
        content = json.dumps(document).encode("utf-8")
        now_ns = self._clock()
        written = write_parts(
            self._home,
            SegmentKind.KEYRING,
            self._numbers.new_segment(),
            now_ns,
            {SLOTS: content},
        )
        logged = self._audit.change("keyring", client, slots=len(slots))
        with known_or_gone(written), logged, self._index.transaction(durable=True):
            self._index.put_segment(written.summary, SegmentKind.KEYRING, now_ns)
            self._index.put_keyring(written.places[0], version)
            self._index.put_next_numbers(*self._numbers.next_numbers())
            if found is not None:
                self._index.forget_segment(found[0].segment)
        if found is not None:
            # A passphrase that was given up must not open anything any more.
            self._home.segments.delete(self._home.name, [found[0].segment])
        return _parse(content, written.summary.segment)[0]


def read_keyring(
    home: RepositoryHome, segment: SegmentNumber, entries: Sequence[Entry]
) -> tuple[Location, int]:
    """Where a keyring's segment has the slots, and their version. `DamagedSegment`.

    A flipped bit spoils one slot, as its passphrase will tell, and the others are good.
    """
    for entry in entries:
        if entry.chunk_id == SLOTS:
            location = location_of(segment, entry)
            _, version = _parse(read(home, location), segment)
            return location, version
    raise DamagedSegment(name_of(segment), "is no keyring")


def _parse(content: bytes, segment: SegmentNumber) -> tuple[Keyring, int]:
    try:
        document = json.loads(content)
        version = int(document["version"])
        # The version alone could come again after the server went back to an old copy.
        etag = f"{version}-{xxhash.xxh3_64_hexdigest(content)}"
        return Keyring.from_json(document, etag), version
    except (BadMessage, ValueError, KeyError, TypeError) as error:
        raise DamagedSegment(name_of(segment), f"is no keyring ({error})") from error
