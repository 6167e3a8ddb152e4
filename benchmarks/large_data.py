"""A data directory as a server has it after years: one repository, and many of everything.

Its history is played through in memory: each client has made a first backup, and then replaced 1 %
of its chunks, picked at random, in each generation. The newest `Shape.generations` of each client
stand, the `TRASHED` before those are in the trash, the `EXPUNGED` before those are gone, and have
left dead chunks behind; of one more client nothing is left but those. What comes of it is written
into the index by the index itself, but for the rows of chunks and segments, which are put into its
tables in the order of their keys.

Segments exist as sparse files of the right size, so that opening the repository finds them. They
hold zeros: only the newest commits of the clients that `Made.probes` names, and what `fill` is
asked for, are such as a server has written.
"""

import hashlib
import sqlite3
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import xxhash
from attrs import frozen
from pyroaring import BitMap64

from benchmarks.large_history import EXPUNGED, HOUR_NS, History, Shape, SimulatedClient
from obnam.model.ids import ChunkId, ClientName, RepositoryName
from obnam_server.store.disk import layout
from obnam_server.store.disk.files import LOCAL_FILES
from obnam_server.store.generations.register import Register, RegisterStore
from obnam_server.store.index.sqlite import SqliteIndex
from obnam_server.store.seams.values import ChunkNumber, SegmentNumber
from obnam_server.store.segments.format import Entry, Footer, SegmentKind, pack_header, pack_trailer
from obnam_server.store.segments.local import LocalSegmentStore, path_of
from obnam_server.store.segments.numbers import Numbers
from obnam_server.store.segments.parts import RepositoryHome
from obnam_server.store.store import INDEX_NAME, Store
from obnam_server.upkeep.retain import SEEN, TIME

REPOSITORY = RepositoryName("large")

CHUNK_ROWS_AT_ONCE = 200_000


def home_in(data: Path) -> Path:
    """The repository's directory in a data directory."""
    return layout.repositories_of(data) / REPOSITORY


@frozen
class Made:
    """What was made. ``probes``: clients whose newest manifest can be read."""

    data: Path
    shape: Shape
    probes: Sequence[ClientName]


def token_of(client: ClientName) -> str:
    """The token that a client has been given."""
    return hashlib.sha256(b"token of " + client.encode()).hexdigest()


def make(data: Path, shape: Shape, probes: int) -> Made:
    """Make the data directory, which must not be there yet.

    ``probes``: so many clients can read their newest manifest.
    """
    store = Store.open(data, time.time_ns)
    store.create_repository(REPOSITORY)
    store.close()
    names = [ClientName(f"client-{number:05}") for number in range(shape.clients)]
    made = Made(data, shape, names[:probes])
    _enrol(made, names)
    home = _home_of(made)
    history = History(
        shape,
        home,
        SqliteIndex(home_in(made.data) / INDEX_NAME),
        frozenset(made.probes),
        time.time_ns(),
    )
    history.play([SimulatedClient(name) for name in names])
    history.index.close(clean=True)
    _load(made, history)
    _make_files(made, history)
    _decide(home, made, history)
    return made


def _home_of(made: Made) -> RepositoryHome:
    segments = LocalSegmentStore(layout.repositories_of(made.data), LOCAL_FILES)
    return RepositoryHome(REPOSITORY, layout.repository_id(made.data, REPOSITORY), segments)


def _enrol(made: Made, names: Sequence[ClientName]) -> None:
    with sqlite3.connect(made.data / "server.sqlite") as connection:
        connection.executemany(
            "INSERT INTO clients (name, repository, scopes, created, token) VALUES (?, ?, ?, ?, ?)",
            [
                (
                    *(name, REPOSITORY, "backup restore", time.time_ns()),
                    hashlib.sha256(token_of(name).encode()).digest(),
                )
                for name in names
            ],
        )
    connection.close()


def _load(made: Made, history: History) -> None:
    """Chunks and segments, past the index's own ways: those take rows as they come."""
    connection = sqlite3.connect(home_in(made.data) / INDEX_NAME, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -200000")
    indices = connection.execute(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'chunks' "
        "AND sql IS NOT NULL"
    ).fetchall()
    for name, _ in indices:
        connection.execute(f"DROP INDEX {name}")
    rows = (
        (
            history.shape.chunk_id(number),
            number,
            history.segment_of[number],
            history.offset_of[number],
            history.length_of[number],
        )
        for number in history.shape.in_order_of_ids(len(history.segment_of))
    )
    while some := list(islice(rows, CHUNK_ROWS_AT_ONCE)):
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO chunks (id, number, segment, offset, length) VALUES (?, ?, ?, ?, ?)", some
        )
        connection.execute("COMMIT")
    for _, sql in indices:
        connection.execute(sql)
    connection.execute("BEGIN")
    connection.executemany(
        "INSERT INTO segments (number, kind, size, created) VALUES (?, ?, ?, ?)", history.segments
    )
    connection.executemany(
        "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)",
        [
            ("next_segment", len(history.segments) + 1),
            ("next_chunk", len(history.segment_of)),
            ("used_bytes", sum(size_bytes for _, _, size_bytes, _ in history.segments)),
        ],
    )
    connection.execute("COMMIT")
    connection.close()


def _make_files(made: Made, history: History) -> None:
    segments = home_in(made.data) / "segments"
    for number, _, size_bytes, _ in history.segments:
        path = path_of(segments, SegmentNumber(number))
        if path.exists():
            continue
        path.parent.mkdir(exist_ok=True)
        with path.open("xb") as file:
            file.truncate(size_bytes)


def _decide(home: RepositoryHome, made: Made, history: History) -> None:
    """What stands in the register: trash, what is gone for good, the policy."""
    index = SqliteIndex(home_in(made.data) / INDEX_NAME)
    register = Register(
        trash=history.trash,
        expunged=BitMap64(range(1, made.shape.clients * EXPUNGED + 1)),
        policy=made.shape.policy,
    )
    RegisterStore(home, index, Numbers(index, *index.next_numbers())).put(register, history.now_ns)
    with index.transaction(durable=True):
        seen_ns = history.now_ns - HOUR_NS
        index.put_times({SEEN: seen_ns, TIME: seen_ns})
    index.close(clean=True)


def fill(data: Path, segments: Sequence[SegmentNumber]) -> None:
    """Let segments of chunks be such as a server has written, with zeros for their chunks."""
    wanted = set(segments)
    connection = sqlite3.connect(home_in(data) / INDEX_NAME)
    entries: dict[int, list[Entry]] = {segment: [] for segment in segments}
    rows = connection.execute("SELECT id, number, segment, offset, length FROM chunks")
    for chunk_id, number, segment, offset, length in rows:
        if segment in wanted:
            digest = xxhash.xxh3_128_digest(bytes(length))
            entries[segment].append(
                Entry(ChunkId(chunk_id), ChunkNumber(number), offset, length, digest)
            )
    known = dict(connection.execute("SELECT number, created FROM segments"))
    connection.close()
    repository_id = layout.repository_id(data, REPOSITORY)
    for segment in segments:
        mine = sorted(entries[segment], key=lambda entry: entry.offset)
        body_end = mine[-1].offset + mine[-1].length
        footer = Footer(
            SegmentKind.CHUNKS, repository_id, segment, known[segment], body_end, len(mine)
        )
        with path_of(home_in(data) / "segments", segment).open("r+b") as file:
            file.write(pack_header(SegmentKind.CHUNKS, repository_id))
            file.seek(body_end)
            file.write(pack_trailer(footer, mine))
