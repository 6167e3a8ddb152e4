"""Committing generations, and reading what was committed.

A commit is a segment of three parts: the sealed manifest, the receipt (JSON), and the chunk set.
It is written first; then the index learns of it. A crash between the two is made good when the
repository is opened.
"""

import json
from collections.abc import Callable, Sequence
from itertools import islice

from attrs import asdict, evolve, frozen
from pyroaring import BitMap64

from obnam.errors import ChunksMissing, CommitConflict, NotFound, RequestRefused
from obnam.model.chunk import SetSum
from obnam.model.ids import (
    ChunkId,
    ClientName,
    GenerationId,
    SessionId,
    parse_chunk_id,
    parse_generation_id,
)
from obnam.wire.limits import COMMIT_REFUSED_IDS_MAX
from obnam.wire.messages import (
    Commit,
    CommittedGeneration,
    GenerationSummary,
    Receipt,
)
from obnam.wire.receipts import NO_RECEIPT, Countersignature, Statement
from obnam_server.store.accounts.audit import RepositoryAudit
from obnam_server.store.accounts.server_key import ServerKey
from obnam_server.store.errors import DamagedSegment, SetDiffers
from obnam_server.store.generations.accounting import count
from obnam_server.store.generations.sessions import Session, Sessions
from obnam_server.store.seams.index import IIndex
from obnam_server.store.seams.values import (
    ChunkNumber,
    Counted,
    GenerationRecord,
    Past,
    SegmentNumber,
)
from obnam_server.store.segments.format import (
    Entry,
    Footer,
    SegmentKind,
    location_of,
    name_of,
    part_id,
)
from obnam_server.store.segments.numbers import Numbers
from obnam_server.store.segments.parts import (
    RepositoryHome,
    known_or_gone,
    read,
    read_entry,
    write_parts,
)

RECEIPT = part_id("receipt")
CHUNK_SET = part_id("chunk set")

Alarm = Callable[[ClientName, GenerationId, Past], None]
"""Looks at the figures of a generation that is about to be committed."""

SERVER = "the server"
"""Who refuses, in errors whose text a client's user may see."""


@frozen
class Generations:
    """The generations of one repository."""

    _home: RepositoryHome
    _index: IIndex
    _numbers: Numbers
    _sessions: Sessions
    _clock: Callable[[], int]
    _audit: RepositoryAudit
    _key: ServerKey
    _alarm: Alarm | None = None

    def commit(self, client: ClientName, session: SessionId, commit: Commit) -> Receipt:
        """See `obnam.wire.interfaces.IGenerations.commit`."""
        again = self._index.get_generation(commit.generation)
        if again is not None:
            self._check_same(again, client, commit)
            self._sessions.end(client, session)
            return again.summary.receipt
        live = self._sessions.get(session, client)
        self._check_previous(client, commit)
        if live.sum != commit.chunks:
            raise SetDiffers(
                SERVER,
                f"the session has {live.sum.count} chunks (XOR {live.sum.xor_hex}), "
                f"the commit says {commit.chunks.count} ({commit.chunks.xor_hex})",
            )
        self._check_stored(live.numbers)
        return self._write(live, commit)

    def _check_same(self, found: GenerationRecord, client: ClientName, commit: Commit) -> None:
        summary = found.summary
        if (summary.client, found.manifest_id, found.sum, summary.previous) != (
            client,
            commit.manifest_id,
            commit.chunks,
            commit.previous,
        ):
            raise RequestRefused(SERVER, f"there is another generation {commit.generation} already")

    def _check_previous(self, client: ClientName, commit: Commit) -> None:
        latest = self._index.latest(client)
        latest_id = None if latest is None else latest.summary.receipt.generation
        if latest_id != commit.previous:
            raise CommitConflict(expected=commit.previous, latest=latest_id)

    def _check_stored(self, numbers: BitMap64) -> None:
        lacking = numbers & self._index.absent()
        if lacking:
            first = [ChunkNumber(n) for n in islice(lacking, COMMIT_REFUSED_IDS_MAX)]
            raise ChunksMissing(len(lacking), tuple(self._index.absent_ids(first)))

    def _write(self, live: Session, commit: Commit) -> Receipt:
        newest = self._index.latest(None)
        receipt = self._countersigned(
            Receipt(
                generation=commit.generation,
                sequence=self._index.next_sequence(),
                received_ns=self._clock(),
            ),
            live.client,
            commit.manifest_id,
            newest,
        )
        summary = GenerationSummary(
            receipt, live.client, commit.previous, commit.partial, commit.chunks.count
        )
        document = {
            **summary.to_json(),
            "base": live.base,
            "xor": commit.chunks.xor_hex,
            "manifest_id": commit.manifest_id.hex(),
        }
        counted = count(self._index, live.numbers, commit.previous)
        document["counted"] = asdict(counted)
        if self._alarm is not None:
            # Before the commit: should the process die between the two, a generation that is not
            # there has an alarm, and not the other way round.
            past = Past(receipt.received_ns, summary.partial, summary.chunk_count, counted)
            self._alarm(live.client, receipt.generation, past)
        numbers = BitMap64(live.numbers)
        numbers.run_optimize()
        written = write_parts(
            self._home,
            SegmentKind.COMMIT,
            self._numbers.new_segment(),
            receipt.received_ns,
            {
                commit.manifest_id: commit.manifest,
                RECEIPT: json.dumps(document).encode("utf-8"),
                CHUNK_SET: numbers.serialize(),
            },
        )
        record = GenerationRecord(
            summary, live.base, commit.chunks, commit.manifest_id, written.places[0], counted
        )
        logged = self._audit.change(
            "commit",
            live.client,
            generation=receipt.generation,
            sequence=receipt.sequence,
            partial=commit.partial,
            chunk_count=commit.chunks.count,
            manifest_id=commit.manifest_id.hex(),
        )
        with known_or_gone(written), logged, self._index.transaction(durable=False):
            self._index.put_segment(written.summary, SegmentKind.COMMIT, receipt.received_ns)
            self._index.put_generation(record, numbers)
            self._index.end_session(live.session)
            self._index.put_next_numbers(*self._numbers.next_numbers())
        self._sessions.ended(live.session)
        return receipt

    def _countersigned(
        self,
        receipt: Receipt,
        client: ClientName,
        manifest_id: ChunkId,
        newest: GenerationRecord | None,
    ) -> Receipt:
        """Sign a receipt, behind that of ``newest``: so the server commits itself to one order."""
        before = None
        if newest is not None:
            summary = newest.summary
            before = summary.receipt.statement(self._home.repository_id, summary.client)
        statement = Statement(
            self._home.repository_id,
            receipt.sequence,
            receipt.received_ns,
            receipt.generation,
            client,
            manifest_id,
            NO_RECEIPT if before is None else before.hash(),
        )
        signature = self._key.sign(statement)
        return evolve(
            receipt, countersigned=Countersignature(statement.previous, manifest_id, signature)
        )

    def list(self, after_sequence: int, limit: int) -> list[GenerationSummary]:
        """At most ``limit`` generations with higher sequence numbers, oldest first."""
        return self._index.list_generations(after_sequence, limit)

    def get(self, generation: GenerationId) -> CommittedGeneration:
        """One generation with its manifest, empty when that is lost. `NotFound`.

        Also one from the trash: a restore that is under way shall end well.
        """
        found = self._index.get_generation(generation)
        if found is None:
            raise NotFound(f"generation {generation}")
        return self._with_manifest(found)

    def latest(self, client: ClientName) -> CommittedGeneration | None:
        """A client's newest generation with its manifest, empty when that is lost."""
        found = self._index.latest(client)
        return None if found is None else self._with_manifest(found)

    def newest(self) -> GenerationSummary | None:
        """The newest generation of any client."""
        found = self._index.latest(None)
        return None if found is None else found.summary

    def _with_manifest(self, record: GenerationRecord) -> CommittedGeneration:
        try:
            manifest = read(self._home, record.manifest)
        except DamagedSegment as error:
            generation = record.summary.receipt.generation
            if self._index.get_generation(generation) is None:
                # Expunged since it was looked up.
                raise NotFound(f"generation {generation}") from error
            # Said by an empty manifest, as by an absent chunk's length: nobody waits for it, and
            # what else there is can be asked for.
            manifest = b""
        return CommittedGeneration(record.summary, record.manifest_id, manifest)


def read_sequence(home: RepositoryHome, footer: Footer, entries: Sequence[Entry]) -> int:
    """The sequence number of the commit in a segment; 0 when it cannot be read."""
    try:
        for entry in entries:
            if entry.chunk_id == RECEIPT:
                return int(json.loads(read_entry(home, footer.segment, entry))["sequence"])
    except (DamagedSegment, ValueError, KeyError, TypeError):
        return 0  # `read_commit` says what is wrong.
    return 0


def read_commit(
    home: RepositoryHome, segment: SegmentNumber, entries: Sequence[Entry]
) -> tuple[GenerationRecord, BitMap64]:
    """What the index wants to know of a commit's segment. `DamagedSegment`."""
    parts = {entry.chunk_id: entry for entry in entries}
    try:
        document = json.loads(read_entry(home, segment, parts[RECEIPT]))
        summary = GenerationSummary.from_json(document)
        base = document["base"]
        manifest_id = parse_chunk_id(bytes.fromhex(document["manifest_id"]))
        counted = document.get("counted")
        record = GenerationRecord(
            summary=summary,
            base=None if base is None else parse_generation_id(base),
            sum=SetSum(summary.chunk_count, int(document["xor"], 16)),
            manifest_id=manifest_id,
            manifest=location_of(segment, parts[manifest_id]),
            counted=None if counted is None else Counted(**counted),
        )
        numbers = BitMap64.deserialize(read_entry(home, segment, parts[CHUNK_SET]))
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedSegment(name_of(segment), f"is no commit ({error})") from error
    return record, numbers
