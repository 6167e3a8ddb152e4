"""What comes after the files: hard links, metadata of directories, and reading all back."""

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TypeVar

from attrs import define

from obnam.generation.local import LocalGeneration
from obnam.live.apply import NOTHING_MISSED, Missed
from obnam.live.metadata import NONE, decode_attributes
from obnam.live.write import Target
from obnam.model.entry import LINKED_KINDS, Kind, Metadata
from obnam.pool.pool import IPool
from obnam.pool.read_back import read_back
from obnam.pool.thread import OwnThread
from obnam.pool.together import all_of
from obnam.pool.write_files import FAILURES, Group, why
from obnam.restore.notes import Follower, MadeDirectory, Notes
from obnam.restore.plan import Neighbourhood, Part, Work, find_entry
from obnam.restore.report import Report
from obnam.restore.tree import Directory, Entries, Problem, path_of

READING_LANES = 4
"""Jobs of reading back at a time: the workers are busy, and none waits for the next."""

AT_ONCE = 512
"""Entries that are dealt with between two looks at whether to go on."""

T = TypeVar("T")


def all_but_followers(
    entries: Iterator[Directory | Entries | Problem], notes: Notes
) -> Iterator[Directory | Entries | Problem]:
    """Leave out entries that share a file with one before them; they are noted."""
    for each in entries:
        if isinstance(each, Entries) and any(row.device is not None for row in each.rows):
            yield each._replace(
                rows=[
                    row
                    for row in each.rows
                    if row.device is None
                    or row.kind not in LINKED_KINDS
                    or notes.is_first(each.parts, row)
                ]
            )
        else:
            yield each


def all_but_aside(
    entries: Iterator[Directory | Entries | Problem], notes: Notes
) -> Iterator[Entries]:
    """Only entries that were restored."""
    for each in entries:
        if isinstance(each, Entries):
            yield each._replace(
                rows=[row for row in each.rows if not notes.is_aside(each.parts, row.name)]
            )


@define
class Afterwards:
    """The steps of a restore when all files are written."""

    _pool: IPool
    _thread: OwnThread
    _target: Target
    _notes: Notes
    _report: Report

    async def link(self, generation: LocalGeneration) -> Iterator[Entries | Problem]:
        """Make all hard links; gives the entries that must be written by themselves instead.

        That is so when the first of them was not restored, or the file system says no.
        """
        followers = self._notes.followers()
        while some := await self._thread.call(_some, followers):
            files, others, kept = await self._thread.call(self._link_all, some)
            self._report.counts.files += files
            self._report.counts.others += others
            self._report.counts.kept += kept
        return self._copies(generation)

    def _link_all(self, followers: Sequence[Follower]) -> tuple[int, int, int]:
        """How many names of files were made, and of others, and how many were kept."""
        files = others = kept = 0
        for follower in followers:
            parts, name, first = follower.parts, follower.name, follower.first
            if not follower.is_first_there:
                self._notes.copy(follower)
                continue
            try:
                if self._target.make_link(parts, name, first[:-1], first[-1], follower.kind):
                    files += follower.kind is Kind.FILE
                    others += follower.kind is not Kind.FILE
                else:
                    kept += 1
                    self._notes.set_aside(parts, name)
            except FAILURES:
                self._notes.copy(follower)  # If that cannot be made either, it will say why.
        return files, others, kept

    def _copies(self, generation: LocalGeneration) -> Iterator[Entries | Problem]:
        for path, directory, name in self._notes.copies():
            row = generation.entry(directory, name)
            if row is None:
                yield Problem(path_of(path), "is no longer where it was in the generation")
            else:
                yield Entries(path[:-1], [row])

    async def finish_directories(self) -> None:
        """Set the metadata of directories, each after all that is in it."""
        directories = self._notes.directories()
        while some := await self._thread.call(_some, directories):
            for path, outcome in await self._thread.call(self._finish_all, some):
                if isinstance(outcome, str):
                    self._report.warn(path, f"its metadata could not be set: {outcome}")
                else:
                    self._report.missed(path, outcome)
            self._report.counts.directories += sum(each.mode is not None for each in some)

    def _finish_all(self, directories: Sequence[MadeDirectory]) -> list[tuple[bytes, Missed | str]]:
        """What could not be done wholly, of each directory with its path."""
        found: list[tuple[bytes, Missed | str]] = []
        for directory in directories:
            try:
                missed = self._target.finish_directory(directory.parts, self._metadata(directory))
            except FAILURES as error:
                found.append((path_of(directory.parts), why(error, self._target.ticket)))
            else:
                if missed is not NOTHING_MISSED:
                    found.append((path_of(directory.parts), missed))
        return found

    def _metadata(self, directory: MadeDirectory) -> Metadata:
        parts, mode, uid, gid, mtime_ns, encoded = directory
        if mode is None or uid is None or gid is None or mtime_ns is None:
            status = os.fstat(self._target.directory(parts))
            return Metadata(0o777 & ~_umask(), status.st_uid, status.st_gid, status.st_mtime_ns)
        attributes = NONE if encoded is None else decode_attributes(encoded)
        return Metadata(mode, uid, gid, mtime_ns, attributes)

    async def read_back(self, work: Iterator[Work]) -> None:
        """Read all files again, from the disk as far as that can be had, and check them."""
        await self._thread.call(os.sync)
        try:
            await all_of([self._reading(work) for _ in range(READING_LANES)])
        finally:
            await self._pool.settled()

    async def _reading(self, work: Iterator[Work]) -> None:
        while (item := await self._thread.call(next, work, None)) is not None:
            if isinstance(item, Neighbourhood):
                groups = item.groups
            elif isinstance(item, Part) and item.first:
                groups = [Group(item.parts, [], [item.file], [])]
            else:
                continue
            troubles: list[tuple[int, str]] = await self._pool.run(
                read_back, groups, self._target.ticket
            )
            for index, text in troubles:
                parts, entry = find_entry(groups, index)
                self._report.differs(path_of((*parts, entry.name)), text)


def _some(items: Iterator[T]) -> list[T]:
    return list(islice(items, AT_ONCE))


def _umask() -> int:
    """The process's; it can only be read by setting it, here for a moment to the strictest."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
