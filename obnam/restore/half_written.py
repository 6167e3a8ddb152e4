"""What a worker that died may have left half written. Blocking.

A file that replaces none is written under its own name, which is quicker by half. Its modification
time comes last, so a half one does not look like a whole one.
"""

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from obnam.live.write import Target
from obnam.pool.write_files import FAILURES, Group
from obnam.restore.tree import path_of

NAMED_MAX = 10
"""As many are named: a worker writes one file at a time, but may have had others to replace."""


class HalfWritten(NamedTuple):
    """The paths of the first of them, and how many there are."""

    first: list[bytes]
    total: int


def half_written(target: Target, jobs: Iterable[Iterable[Group]]) -> HalfWritten:
    """Of the files that jobs were to write, those that are there and not as they are to be."""
    first: list[bytes] = []
    total = 0
    for groups in jobs:
        for path in _not_whole(target, groups):
            total += 1
            if len(first) < NAMED_MAX:
                first.append(path)
    return HalfWritten(first, total)


def _not_whole(target: Target, groups: Iterable[Group]) -> Iterator[bytes]:
    for group in groups:
        for file in group.all_files():
            try:
                above = target.directory(group.parts)
                status = os.stat(file.name, dir_fd=above, follow_symlinks=False)
            except FAILURES:
                continue  # Nothing is there, or nothing that can be: it was not written.
            if (status.st_size, status.st_mtime_ns) != (file.size, file.mtime_ns):
                yield path_of((*group.parts, file.name))
