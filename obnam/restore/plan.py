"""What is fetched and written together. Pure: rows come in, work goes out, nothing is done.

Files that lie near each other share chunks, and are one `Neighbourhood`: its chunks are fetched by
one request, each once, and opened by one worker. Small files come from bundles and large ones
have chunks of their own; a neighbourhood of each sort is filled at the same time, so that the
files of a bundle stay together. A file whose chunks fit into no slab comes in parts.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import NamedTuple

from attrs import define, field

from obnam.crypto.seal import sealed_length_max
from obnam.errors import DamagedGeneration
from obnam.generation.rows import ChunkRow, EntryRow, ExtentRow
from obnam.live.read import HOLES_MAX_BYTES
from obnam.model.entry import Kind
from obnam.model.ids import ChunkId
from obnam.pool.open_chunks import Extents
from obnam.pool.write_files import EntryToMake, FileInChunk, FileToWrite, Group, with_extents
from obnam.restore.check import NO_SENSE
from obnam.restore.tree import Directory, Entries, Parts, Problem, path_of
from obnam.wire.frames import FRAME_HEADER_BYTES
from obnam.wire.limits import FETCH_IDS_MAX, SEALED_CHUNK_MAX

SLAB_BYTES = 16 << 20
"""Room for the sealed chunks of a neighbourhood or part: 5 ms of work a MiB, and few in flight."""

ENTRIES_MAX = 4096
"""Entries in a neighbourhood: a request, a task and all that comes with them cost 3 ms."""

CONTENT_MAX = 4 * SLAB_BYTES
"""Bytes of files in a neighbourhood: the same chunk many times over is work too."""

EXTENTS_MAX = 65_536
"""Extents in a part: bounds the memory of a file that is cut to pieces."""

HOLES_MAX = 2 * HOLES_MAX_BYTES
"""Bytes of a file that are holes: the zeros of more would be summed up for years. Twice what a
backup takes, since that goes by the room on disk, and some may be taken where nothing is."""

SMALL_FILE_MAX = 128 * 1024
"""Smaller files (bytes) lie in bundles, with others."""

CHUNKS_KEPT = 4096
"""Chunks that are not looked up again: neighbours share them, so each is wanted several times."""

_FILE = Kind.FILE.value
_of_file = attrgetter(*FileToWrite._fields[:-1])


class Neighbourhood(NamedTuple):
    """Entries whose chunks are fetched together."""

    chunks: list[ChunkId]
    groups: list[Group]
    size_bytes: int
    entry_count: int
    file_count: int


class Part(NamedTuple):
    """A part of a large file. The first comes first; after the ``last`` the file can be finished.

    ``problem``: the generation makes no sense from here on, and the file cannot be restored.
    """

    parts: Parts
    file: FileToWrite
    chunks: list[ChunkId]
    extents: Extents
    size_bytes: int
    first: bool
    last: bool
    problem: str | None = None


Work = Directory | Problem | Neighbourhood | Part


class _Bad(Exception):
    """Extents or chunks that no backup writes."""


@define
class _Filling:
    """Chunks, and what needs them, up to a slab full."""

    chunk: Callable[[int], ChunkRow]
    room: int = SLAB_BYTES
    size_bytes: int = 0
    entry_count: int = 0
    file_count: int = 0
    index: dict[int, int] = field(factory=dict)
    chunks: list[ChunkRow] = field(factory=list)
    groups: list[Group] = field(factory=list)

    def lacks(self, extents: Iterable[ExtentRow]) -> list[ChunkRow]:
        """The chunks that come in by these extents."""
        return [
            self.chunk(number)
            for number in dict.fromkeys(extent.chunk for extent in extents)
            if number not in self.index
        ]

    def fits(self, chunks: Iterable[ChunkRow], size_bytes: int) -> bool:
        """Whether there is room for so many more."""
        if self.entry_count >= ENTRIES_MAX:
            return False
        if self.size_bytes and self.size_bytes + size_bytes > CONTENT_MAX:
            return False
        wanted = [_cost(chunk) for chunk in chunks]
        return sum(wanted) <= self.room and len(self.chunks) + len(wanted) <= FETCH_IDS_MAX

    def take(self, chunks: Iterable[ChunkRow]) -> None:
        """Fetch these too."""
        for chunk in chunks:
            self.index[chunk.number] = len(self.chunks)
            self.chunks.append(chunk)
            self.room -= _cost(chunk)

    def placed(self, extents: Iterable[ExtentRow]) -> Extents:
        """Extents in the chunks of this filling. Raises `_Bad` for those beyond their chunk."""
        found = []
        for position, number, start, length in extents:
            chunk = self.index[number]
            if start + length > self.chunks[chunk].length:
                raise _Bad
            found.append((position, chunk, start, length))
        return tuple(found)

    def add(self, parts: Parts, row: EntryRow, extents: Iterable[ExtentRow]) -> None:
        """Take a file whose chunks are here. Raises `_Bad`."""
        size, placed = row.size or 0, self.placed(extents)
        if len(placed) == 1 and placed[0][0] == 0 and placed[0][3] == size:
            self._group(parts).in_chunk.append((*_of_file(row), *placed[0][1:3]))
        else:
            self._group(parts).files.append(_file_to_write(row, placed))
        self.size_bytes += size
        self.file_count += 1
        self.entry_count += 1

    def add_other(self, parts: Parts, entry: EntryToMake) -> None:
        """Take what has no content."""
        self._group(parts).others.append(entry)
        self.entry_count += 1

    def add_known(self, parts: Parts, rows: Sequence[EntryRow], at: int) -> int:
        """Take files from ``rows[at]`` on, as long as they are such as nearly all files are.

        Those are small and in one chunk that is here already, and there is room for them. Answers
        how far it came. Very quick.
        """
        find, chunks = self.index.get, self.chunks
        room_bytes = CONTENT_MAX - self.size_bytes
        end = min(len(rows), at + ENTRIES_MAX - self.entry_count)
        files: list[FileInChunk] | None = None
        first = at
        while at < end:
            row = rows[at]
            size, start = row.size or 0, row.start or 0
            index = None if row.chunk is None or row.kind != _FILE else find(row.chunk)
            if (
                index is None
                or not 0 < size < SMALL_FILE_MAX
                or not 0 <= start <= chunks[index].length - size
                or size > room_bytes
            ):
                break
            if files is None:
                files = self._group(parts).in_chunk
            files.append((*_of_file(row), index, start))
            room_bytes -= size
            at += 1
        self.size_bytes = CONTENT_MAX - room_bytes
        self.file_count += at - first
        self.entry_count += at - first
        return at

    def _group(self, parts: Parts) -> Group:
        if not self.groups or self.groups[-1].parts != parts:
            self.groups.append(Group(parts, [], [], []))
        return self.groups[-1]

    def empty(self) -> Iterator[Neighbourhood]:
        """What is here, if anything is; nothing is here afterwards."""
        if self.groups:
            ids = [chunk.id for chunk in self.chunks]
            yield Neighbourhood(
                ids, self.groups, self.size_bytes, self.entry_count, self.file_count
            )
        self.room = SLAB_BYTES
        self.size_bytes = self.entry_count = self.file_count = 0
        self.index, self.chunks, self.groups = {}, [], []


@define
class Plan:
    """Turns entries into work. ``extents`` and ``chunk`` look up what the entries refer to."""

    _extents: Callable[[EntryRow], Iterator[ExtentRow]]
    _chunk: Callable[[int], ChunkRow]
    _small: _Filling = field(init=False)
    _large: _Filling = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._chunk = lru_cache(CHUNKS_KEPT)(self._chunk)
        self._small, self._large = _Filling(self._chunk), _Filling(self._chunk)

    def work(self, entries: Iterable[Directory | Entries | Problem]) -> Iterator[Work]:
        """All work; a directory always before what must be put into it."""
        for each in entries:
            if not isinstance(each, Entries):
                yield each
                continue
            parts, rows = each
            at = 0
            while (at := self._small.add_known(parts, rows, at)) < len(rows):
                row = rows[at]
                try:
                    yield from self._entry(parts, row)
                except (_Bad, DamagedGeneration):
                    yield Problem(path_of((*parts, row.name)), NO_SENSE)
                at += 1
        yield from self._small.empty()
        yield from self._large.empty()

    def _entry(self, parts: Parts, row: EntryRow) -> Iterator[Work]:
        if row.kind == Kind.FILE:
            yield from self._file(parts, row)
            return
        if not self._small.fits((), 0):
            yield from self._small.empty()
        self._small.add_other(parts, _entry_to_make(row))

    def _file(self, parts: Parts, row: EntryRow) -> Iterator[Work]:
        size = row.size or 0
        extents: list[ExtentRow] = []
        if row.chunk is not None or row.number is None:
            extents.extend(_extents_of(row, self._extents))  # At most one, which fits into a slab.
        else:
            runs = _runs(_extents_of(row, self._extents), self._chunk)
            run, after = next(runs, None), next(runs, None)
            if run is not None and after is not None:
                yield from self._in_parts(parts, row, run, after, runs)
                return
            if run is not None:
                extents = run.extents
        filling = self._small if size < SMALL_FILE_MAX else self._large
        fresh = filling.lacks(extents)
        if not filling.fits(fresh, size):
            yield from filling.empty()
            fresh = filling.lacks(extents)
        filling.take(fresh)
        filling.add(parts, row, extents)

    def _in_parts(
        self, parts: Parts, row: EntryRow, run: "_Run", after: "_Run | None", runs: "Iterator[_Run]"
    ) -> Iterator[Part]:
        file = _file_to_write(row, ())
        first = True
        while True:
            yield run.part(parts, file, first=first, last=after is None)
            if after is None:
                return
            first, run = False, after
            try:
                after = next(runs, None)
            except (_Bad, DamagedGeneration):
                yield Part(parts, file, [], (), 0, first=False, last=True, problem=NO_SENSE)
                return


def find_entry(groups: Iterable[Group], index: int) -> tuple[Parts, FileToWrite | EntryToMake]:
    """The entry that a job counts as ``index``, with its directory."""
    for parts, in_chunk, files, others in groups:
        if index < len(in_chunk):
            return parts, with_extents(in_chunk[index])
        index -= len(in_chunk)
        if index < len(files):
            return parts, files[index]
        index -= len(files)
        if index < len(others):
            return parts, others[index]
        index -= len(others)
    raise IndexError(index)


@define
class _Run:
    """Extents of one file, one behind the other, and their chunks: at most a slab full."""

    filling: _Filling
    extents: list[ExtentRow] = field(factory=list)

    def take(self, extent: ExtentRow) -> bool:
        """Take one more; false when there is no room for it."""
        fresh = self.filling.lacks((extent,))
        if self.extents and not (
            self.filling.fits(fresh, extent.length) and len(self.extents) < EXTENTS_MAX
        ):
            return False
        self.filling.take(fresh)
        self.filling.size_bytes += extent.length
        self.extents.append(extent)
        return True

    def part(self, parts: Parts, file: FileToWrite, *, first: bool, last: bool) -> Part:
        """A part of the file that this is of."""
        ids = [chunk.id for chunk in self.filling.chunks]
        extents = self.filling.placed(self.extents)
        return Part(parts, file, ids, extents, self.filling.size_bytes, first, last)


def _runs(extents: Iterable[ExtentRow], chunk: Callable[[int], ChunkRow]) -> Iterator[_Run]:
    run = _Run(_Filling(chunk))
    for extent in extents:
        if not run.take(extent):
            yield run
            run = _Run(_Filling(chunk))
            run.take(extent)
    if run.extents:
        yield run


def _extents_of(
    row: EntryRow, several: Callable[[EntryRow], Iterator[ExtentRow]]
) -> Iterator[ExtentRow]:
    """The extents of a file, in order and within it. Raises `_Bad`."""
    size = row.size or 0
    if row.chunk is not None:
        extents = iter((ExtentRow(0, row.chunk, row.start or 0, size),))
    elif row.number is not None:
        extents = several(row)
    else:
        extents = iter(())
    end = holes = 0
    for extent in extents:
        position, chunk, start, length = extent
        if not (type(position) is type(chunk) is type(start) is type(length) is int):
            raise _Bad
        if position < end or start < 0 or length <= 0 or position + length > size:
            raise _Bad
        holes += position - end
        if holes > HOLES_MAX:
            raise _Bad
        yield extent
        end = position + length
    if holes + size - end > HOLES_MAX:
        raise _Bad


def _cost(chunk: ChunkRow) -> int:
    """Most bytes that a chunk takes in a slab. Raises `_Bad` for one that cannot be."""
    if type(chunk.length) is not int or chunk.length <= 0:
        raise _Bad
    sealed = sealed_length_max(chunk.length)
    if sealed > SEALED_CHUNK_MAX:
        raise _Bad
    return FRAME_HEADER_BYTES + sealed


def _file_to_write(row: EntryRow, extents: Extents) -> FileToWrite:
    """The file of a row that was checked, so that what may not be None is not."""
    return FileToWrite._make((*_of_file(row), extents))


_DEVICES = (Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE)


def _entry_to_make(row: EntryRow) -> EntryToMake:
    return EntryToMake(
        row.name,
        row.kind,
        row.mode or 0,
        row.uid or 0,
        row.gid or 0,
        row.mtime_ns or 0,
        row.attributes,
        row.device if row.device is not None and row.kind in _DEVICES else 0,
        row.target or b"",
    )
