"""A generation while it is being written. It can be added to, and not be read by users.

All methods block and belong to one thread. Rows of unchanged entries are never touched, so that
the pages they lie on stay as they were in the previous generation's file.
"""

import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os.path import join
from pathlib import Path

from obnam.errors import DamagedGeneration
from obnam.generation import schema
from obnam.generation.insert import insert_entries, insert_whole
from obnam.generation.rows import ChunkRow, EntryRow, ExtentRow, KnownRow, Orphan, WholeFile
from obnam.model.entry import Kind, Reason
from obnam.model.ids import ChunkId

_LOOKUP_AT_ONCE = 500

ROOT_DIRECTORY = 0
"""The number of the directory whose entries are the roots."""


class NascentGeneration:
    """The database of a generation that is being made."""

    def __init__(self, connection: sqlite3.Connection, path: Path, sequence: int) -> None:
        self.path = path
        self.sequence = sequence
        self._first_sequence = sequence
        self._connection = connection
        self._next = {
            name: self._counter(name) for name in ("next_directory", "next_file", "next_chunk")
        }
        self._first_new_chunk = self._next["next_chunk"]
        connection.execute(
            "CREATE TEMP TABLE leader (device INTEGER, inode INTEGER, directory INTEGER, name BLOB,"
            " PRIMARY KEY (device, inode)) WITHOUT ROWID"
        )
        connection.execute(
            "CREATE TEMP TABLE follower (directory INTEGER, name BLOB, reason INTEGER,"
            " since INTEGER, inode INTEGER, leader_directory INTEGER, leader_name BLOB)"
        )
        self._reads_again = False

    @classmethod
    def create(cls, path: Path, sequence: int) -> "NascentGeneration":
        """Begin with nothing at ``path``, which must not exist."""
        return cls(schema.create(path), path, sequence)

    @classmethod
    def begin_from(cls, path: Path, sequence: int) -> "NascentGeneration":
        """Begin with the file at ``path``, a private copy of the previous generation's."""
        return cls(schema.open_to_change(path), path, sequence)

    # What the previous generation knows

    def known(
        self, directory: int, after: bytes = b"", upto: bytes | None = None
    ) -> dict[bytes, KnownRow]:
        """The rows of one directory by name: of names behind ``after``, to ``upto`` (the last)."""
        rows = self._connection.execute(
            "SELECT name, kind, reason, since, size, mtime_ns, ctime_ns, inode, device, number"
            " FROM entry WHERE directory = ?1 AND name > ?2 AND (?3 IS NULL OR name <= ?3)",
            (directory, after, upto),
        )
        return {row[0]: KnownRow._make(row) for row in rows}

    def member(self, name: str) -> object:
        """What it says of itself by that name; ``None``: nothing."""
        row = self._connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else row[0]

    def read_again(self, entries: Iterable[tuple[int, bytes]]) -> None:
        """Note files, by directory and name, whose stored content is lost."""
        self._connection.execute(
            "CREATE TEMP TABLE IF NOT EXISTS lost"
            " (directory INTEGER, name BLOB, PRIMARY KEY (directory, name))"
        )
        self._reads_again = True
        self._connection.executemany("INSERT OR IGNORE INTO temp.lost VALUES (?, ?)", entries)

    def to_read_again(self, directory: int, names: Sequence[bytes]) -> frozenset[bytes]:
        """Those of ``names`` (sorted) in a directory that `read_again` was told of."""
        if not self._reads_again or not names:
            return frozenset()
        rows = self._connection.execute(
            "SELECT name FROM temp.lost WHERE directory = ? AND name BETWEEN ? AND ?",
            (directory, names[0], names[-1]),
        )
        return frozenset(name for (name,) in rows)

    def new_directory(self) -> int:
        """A number for a directory that has none yet."""
        return self._take("next_directory")

    def new_file(self) -> int:
        """A number for a file that lies in several extents."""
        return self._take("next_file")

    # Entries

    def put(self, rows: Iterable[EntryRow]) -> None:
        """Write rows of entries that have no content, or whose extents are written already."""
        insert_entries(self._connection, rows)

    def put_whole(self, files: Sequence[WholeFile], numbers: Sequence[int]) -> None:
        """Write rows of files that lie in one extent each; ``numbers`` are those of the chunks.

        The files' own ``chunk`` is an index into it. The uses of the chunks are counted.
        """
        insert_whole(self._connection, files, numbers)
        self.count_uses(Counter(numbers[file[12]] for file in files))

    def put_extents(self, file: int, extents: Sequence[ExtentRow]) -> None:
        """Write extents of a file that lies in several."""
        self._connection.executemany(
            "INSERT INTO extent VALUES (?, ?, ?, ?, ?)", [(file, *extent) for extent in extents]
        )
        self.count_uses(Counter(extent.chunk for extent in extents))

    def count_uses(self, uses: Mapping[int, int]) -> None:
        """Note that so many extents more (or fewer) refer to each of the chunks."""
        self._connection.executemany(
            "UPDATE chunk SET uses = uses + ? WHERE number = ?",
            [(count, number) for number, count in uses.items()],
        )

    def release(self, directory: int, names: Iterable[bytes]) -> None:
        """Let go of the content of files whose rows are about to be replaced."""
        uses: Counter[int] = Counter()
        for name in names:
            row = self._connection.execute(
                "SELECT kind, chunk, number FROM entry WHERE directory = ? AND name = ?",
                (directory, name),
            ).fetchone()
            if row is not None:
                kind, chunk, number = row
                self._release_row(kind, chunk, number, uses)
        self.count_uses(uses)

    def release_file(self, number: int) -> None:
        """Take back the extents of a file that gets no row."""
        uses: Counter[int] = Counter()
        self._release_row(Kind.FILE, None, number, uses)
        self.count_uses(uses)

    def drop(self, directory: int, names: Iterable[bytes]) -> None:
        """Take entries out; of a directory, with everything beneath it."""
        uses: Counter[int] = Counter()
        doomed = [(directory, name) for name in names]
        while doomed:
            parent, name = doomed.pop()
            row = self._connection.execute(
                "DELETE FROM entry WHERE directory = ? AND name = ? RETURNING kind, chunk, number",
                (parent, name),
            ).fetchone()
            if row is None:
                continue
            kind, chunk, number = row
            if kind == Kind.DIRECTORY:
                children = self._connection.execute(
                    "SELECT name FROM entry WHERE directory = ?", (number,)
                )
                doomed.extend((number, child) for (child,) in children.fetchall())
            self._release_row(kind, chunk, number, uses)
        self.count_uses(uses)

    def mark_error(self, directory: int, name: bytes) -> bool:
        """Mark an entry as not readable now; what an earlier generation has of it stays.

        Returns whether there was anything to keep.
        """
        marked = self._connection.execute(
            "UPDATE entry SET reason = ?, since = ? WHERE directory = ? AND name = ?"
            " AND (checksum IS NOT NULL OR kind != ?)",
            (Reason.ERROR.value, self.sequence, directory, name, Kind.FILE.value),
        )
        return marked.rowcount > 0

    def set_reason(self, directory: int, name: bytes, reason: Reason, since: int) -> None:
        """Give an entry that has a row another reason."""
        self._connection.execute(
            "UPDATE entry SET reason = ?, since = ? WHERE directory = ? AND name = ?",
            (reason.value, since, directory, name),
        )

    # Hard links

    def follow(
        self, device: int, inode: int, directory: int, name: bytes, reason: int, since: int
    ) -> bool:
        """Say that an entry is one of several links to a file whose content must be read.

        The first one is the leader, and ``False`` is returned: read it. For the others ``True``:
        their rows are made from the leader's by `finish`.
        """
        first = self._connection.execute(
            "SELECT directory, name FROM leader WHERE device = ? AND inode = ?", (device, inode)
        ).fetchone()
        if first is None:
            self._connection.execute(
                "INSERT INTO leader VALUES (?, ?, ?, ?)", (device, inode, directory, name)
            )
            return False
        self._connection.execute(
            "INSERT INTO follower VALUES (?, ?, ?, ?, ?, ?, ?)",
            (directory, name, reason, since, inode, *first),
        )
        return True

    def settle(self) -> list[Orphan]:
        """Give hard links the content of the first of them, before the chunks are asked for.

        Returns those whose first vanished before it was read, or was another file by then: they
        are to be read, each by itself. What their rows have is that of the generation before.
        """
        orphans: list[Orphan] = []
        paths = {ROOT_DIRECTORY: b""}
        followers = self._connection.execute("SELECT * FROM temp.follower").fetchall()
        for directory, name, reason, since, inode, leader_directory, leader_name in followers:
            found = self._connection.execute(
                "SELECT * FROM entry WHERE directory = ? AND name = ?",
                (leader_directory, leader_name),
            ).fetchone()
            leader = None if found is None else EntryRow._make(found)
            if leader is None or leader.kind != Kind.FILE:
                leader = None
            elif leader.reason == Reason.ERROR:
                # What the leader keeps is of an earlier time, when it may have been another file.
                if self.mark_error(directory, name):
                    continue
                reason, since = Reason.ERROR, self.sequence
                if leader.inode != inode:
                    leader = EntryRow._make((*leader[:5], *(None,) * (len(leader) - 5)))
            elif leader.inode != inode:
                leader = None
            if leader is None:
                orphans.append(Orphan(directory, self._path(directory, paths), name, reason, since))
                continue
            self.release(directory, [name])
            number = leader.number
            if leader.chunk is not None:
                self.count_uses({leader.chunk: 1})
            elif number is not None:
                extents = [ExtentRow._make(row) for row in self._extents(number)]
                number = self.new_file()
                self.put_extents(number, extents)
            self.put(
                [
                    leader._replace(
                        directory=directory,
                        name=name,
                        reason=reason,
                        # Set in this run, and first to be seen in this generation.
                        since=self.sequence if since >= self._first_sequence else since,
                        number=number,
                    )
                ]
            )
        self._connection.execute("DELETE FROM temp.follower")
        self._connection.execute("DELETE FROM temp.leader")
        return orphans

    def _path(self, number: int, paths: dict[int, bytes]) -> bytes:
        """The path of a directory, by reading the whole table; ``paths`` are those known so far."""
        way: list[tuple[int, bytes]] = []
        query = "SELECT directory, name FROM entry WHERE kind = ? AND number = ?"
        while number not in paths:
            row = self._connection.execute(query, (Kind.DIRECTORY.value, number)).fetchone()
            if row is None:
                break
            way.append((number, row[1]))
            number = row[0]
        path = paths.get(number, b"")
        for below, name in reversed(way):
            paths[below] = path = join(path, name)
        return path

    # Chunks

    def find_chunks(self, ids: Sequence[ChunkId]) -> dict[ChunkId, int]:
        """Those of ``ids`` that the generation has already, with their numbers."""
        found: dict[ChunkId, int] = {}
        for at in range(0, len(ids), _LOOKUP_AT_ONCE):
            part = ids[at : at + _LOOKUP_AT_ONCE]
            marks = ", ".join("?" * len(part))
            found.update(
                self._connection.execute(
                    f"SELECT id, number FROM chunk WHERE id IN ({marks})", part
                )
            )
        return found

    def add_chunks(self, chunks: Iterable[tuple[ChunkId, int]]) -> dict[ChunkId, int]:
        """Give numbers to chunks (id, plaintext length); those that have one keep it."""
        lengths = dict(chunks)
        numbers = self.find_chunks(list(lengths))
        fresh = [
            ChunkRow(self._take("next_chunk"), chunk_id, length)
            for chunk_id, length in lengths.items()
            if chunk_id not in numbers
        ]
        self._connection.executemany("INSERT INTO chunk VALUES (?, ?, ?, 0)", fresh)
        numbers.update((row.id, row.number) for row in fresh)
        return numbers

    @property
    def first_new_chunk(self) -> int:
        """The number from which on chunks are new: its base has none of them."""
        return self._first_new_chunk

    def added_chunks(self, first: int) -> Iterator[ChunkId]:
        """Ids of data that the generation has from chunk number ``first`` on."""
        return self._ids("SELECT id FROM chunk WHERE number >= ? AND uses > 0", first)

    def removed_chunks(self) -> Iterator[ChunkId]:
        """Ids of data that its base has, and the generation no longer needs. Before `finish`."""
        query = "SELECT id FROM chunk WHERE number < ? AND uses = 0"
        return self._ids(query, self._first_new_chunk)

    def _ids(self, query: str, number: int) -> Iterator[ChunkId]:
        for (chunk_id,) in self._connection.execute(query, (number,)):
            yield ChunkId(chunk_id)

    # The end

    def describe(self, members: Mapping[str, object]) -> None:
        """Write what the generation knows of itself; what is no text or number, as JSON."""
        self._connection.executemany(
            "INSERT OR REPLACE INTO meta VALUES (?, ?)",
            [
                (name, value if isinstance(value, int | str) else json.dumps(value))
                for name, value in members.items()
            ],
        )

    def finish(self) -> None:
        """Forget chunks that nothing refers to, and write everything down. `close` it then.

        Raises ``DamagedGeneration`` when SQLite cannot.
        """
        self._write_down()

    def save_copy(self, path: Path) -> None:
        """Write everything down to a copy at ``path``, and go on as the generation after it."""
        self._write_down()
        shutil.copyfile(self.path, path)
        self._connection.execute("BEGIN")
        self.sequence += 1
        self._first_new_chunk = self._next["next_chunk"]

    def _write_down(self) -> None:
        try:
            self._connection.execute("DELETE FROM chunk WHERE uses = 0")
            self.describe(self._next)
            self._connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            problem = f"its database cannot be written: {error}"
            raise DamagedGeneration("being made", problem) from error

    def close(self) -> None:
        """Close the file, which is of no use unless it was finished. May be called again."""
        self._connection.close()

    def _counter(self, name: str) -> int:
        number = self.member(name)
        if not isinstance(number, int):
            raise DamagedGeneration(str(self.path), f"{name} is missing")
        return number

    def _take(self, name: str) -> int:
        number = self._next[name]
        self._next[name] = number + 1
        return number

    def _extents(self, file: int) -> list[tuple[int, int, int, int]]:
        return self._connection.execute(
            "SELECT position, chunk, start, length FROM extent WHERE file = ? ORDER BY position",
            (file,),
        ).fetchall()

    def _release_row(
        self, kind: int, chunk: int | None, number: int | None, uses: Counter[int]
    ) -> None:
        if kind != Kind.FILE:
            return
        if chunk is not None:
            uses[chunk] -= 1
        elif number is not None:
            gone = self._connection.execute(
                "DELETE FROM extent WHERE file = ? RETURNING chunk", (number,)
            )
            uses.subtract(chunk for (chunk,) in gone.fetchall())
