"""Writes down what was read and named. Blocking, on the thread that owns the generation.

The chunks may still be on their way then: a commit waits for them.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from obnam.backup.entry_rows import error_row
from obnam.generation.nascent import NascentGeneration
from obnam.generation.rows import EntryRow, ExtentRow, WholeFile
from obnam.model.entry import Reason
from obnam.model.ids import ChunkId
from obnam.pool.named import NamedFiles, Piece, Trouble

_ROW_MARK, _WHOLE_MARK = slice(3, 5), slice(2, 4)
"""Where reason and sequence number stand in an `EntryRow` and in a `WholeFile`."""


class Recorder:
    """Turns named files into rows.

    ``asks_all``: do not take it for granted that the server still has what it had.
    """

    def __init__(self, nascent: NascentGeneration, *, asks_all: bool = False) -> None:
        self._nascent = nascent
        self._asks_all = asks_all
        self._first_sequence = nascent.sequence

    def unknown(self, pieces: Sequence[Piece]) -> list[ChunkId]:
        """Ids of pieces that the server is to be asked about, each once.

        Those that the generation does not have yet; or all.
        """
        ids = list(dict.fromkeys(piece.id for piece in pieces))
        if self._asks_all:
            return ids
        known = self._nascent.find_chunks(ids)
        return [chunk_id for chunk_id in ids if chunk_id not in known]

    def record(self, named: NamedFiles) -> None:
        """Write the rows of files, with their chunks."""
        nascent = self._nascent
        numbers = self._numbers(named.pieces)
        self._release(named.whole, _WHOLE_MARK)
        self._release(named.rows, _ROW_MARK)
        nascent.put_whole(self._dated_whole(named.whole), numbers)
        rows: list[EntryRow] = []
        for index, row in enumerate(self._dated(named.rows)):
            if row.chunk is not None:
                rows.append(row._replace(chunk=numbers[row.chunk]))
            elif index in named.extents:
                number = nascent.new_file()
                nascent.put_extents(number, _numbered(named.extents[index], numbers))
                rows.append(row._replace(number=number))
            else:
                rows.append(row)
        nascent.put(rows)
        nascent.count_uses(Counter(row.chunk for row in rows if row.chunk is not None))

    def begin_large(self) -> int:
        """A number for a file that is recorded part by part."""
        return self._nascent.new_file()

    def record_part(
        self, number: int, pieces: Sequence[Piece], extents: Sequence[ExtentRow]
    ) -> None:
        """Write extents of a large file; it is in the generation once its row is."""
        self._nascent.put_extents(number, _numbered(extents, self._numbers(pieces)))

    def end_large(self, number: int, row: EntryRow, checksum: bytes) -> None:
        """Write the row of a large file, whose extents are all there."""
        self._release([row], _ROW_MARK)
        row = row._replace(number=number, checksum=checksum)
        self._nascent.put(self._dated([row]))

    def give_up_large(self, number: int) -> None:
        """Take back the extents of a file that could not be read to its end."""
        self._nascent.release_file(number)

    def trouble(self, trouble: Trouble) -> bool:
        """Mark a file that could not be read; whether an earlier content is kept."""
        if self._nascent.mark_error(trouble.directory, trouble.name):
            return True
        self._nascent.put([error_row(trouble.directory, trouble.name, self._nascent.sequence)])
        return False

    def vanished(self, directory: int, name: bytes) -> None:
        """Take out a file that is not there any more."""
        self._nascent.drop(directory, [name])

    def _dated(self, rows: Sequence[EntryRow]) -> Sequence[EntryRow]:
        """Rows as of this generation, when a checkpoint came since their files were scanned."""
        sequence, first = self._nascent.sequence, self._first_sequence
        if sequence == first:
            return rows
        return [row._replace(since=sequence) if row.since >= first else row for row in rows]

    def _dated_whole(self, files: Sequence[WholeFile]) -> Sequence[WholeFile]:
        sequence, first = self._nascent.sequence, self._first_sequence
        if sequence == first:
            return files
        return [(*f[:3], sequence, *f[4:]) if f[3] >= first else f for f in files]

    def _numbers(self, pieces: Sequence[Piece]) -> list[int]:
        by_id = self._nascent.add_chunks((piece.id, piece.length) for piece in pieces)
        return [by_id[piece.id] for piece in pieces]

    def _release(self, rows: Sequence[tuple[Any, ...]], mark: slice) -> None:
        """Let go of what the rows replace. ``mark``: where their reason and sequence number are."""
        fresh = (Reason.NEW.value, self._nascent.sequence)
        by_directory: dict[int, list[bytes]] = {}
        for row in rows:
            if row[mark] != fresh:
                by_directory.setdefault(row[0], []).append(row[1])
        for directory, names in by_directory.items():
            self._nascent.release(directory, names)


def _numbered(extents: Sequence[ExtentRow], numbers: Sequence[int]) -> list[ExtentRow]:
    return [
        ExtentRow(position, numbers[piece], start, length)
        for position, piece, start, length in extents
    ]
