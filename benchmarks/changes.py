"""Changing a corpus between backups, always in the same way, and taking the changes back.

A changed file has one region of 1 % of its bytes (at least 16) overwritten in place, at a random
offset, with random bytes, and 64 bytes appended. Where a corpus has only a few, large files, all
of them are changed so; else 1 % of the files, spread at random over the tree.
"""

import dataclasses
import os
import random
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from benchmarks.corpora import Corpus, record_path, regular_files

REGION_SHARE = 0.01
REGION_MINIMUM_BYTES = 16
APPENDED_BYTES = 64


@dataclasses.dataclass(frozen=True)
class Edit:
    """What a changed file held before."""

    path: Path
    size_bytes: int
    mtime_ns: int
    offset: int
    replaced: bytes


class Changes:
    """A context in which a corpus is changed step by step; leaving it takes all changes back.

    The record that the corpus is as it was built is away meanwhile, so that after a crash it is
    built again.
    """

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._files: list[Path] = []
        self._edits: list[Edit] = []
        self._record = b""
        self.step = 0

    def __enter__(self) -> "Changes":
        self._files = regular_files(self._corpus.root)
        self._record = record_path(self._corpus.root).read_bytes()
        record_path(self._corpus.root).unlink()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for edit in reversed(self._edits):
            with edit.path.open("r+b") as file:
                file.seek(edit.offset)
                file.write(edit.replaced)
                file.truncate(edit.size_bytes)
            os.utime(edit.path, ns=(edit.mtime_ns, edit.mtime_ns))
        record_path(self._corpus.root).write_bytes(self._record)

    def advance(self) -> None:
        """Change the corpus once more; the same step changes the same bytes in every round."""
        self.step += 1
        source = random.Random(f"change {self.step}")
        count = max(1, round(len(self._files) * self._corpus.changed_share))
        for path in source.sample(self._files, count):
            status = path.stat()
            length = max(REGION_MINIMUM_BYTES, round(status.st_size * REGION_SHARE))
            offset = source.randrange(max(1, status.st_size - length + 1))
            with path.open("r+b") as file:
                replaced = _overwrite(file, offset, source.randbytes(length))
                file.seek(0, os.SEEK_END)
                file.write(source.randbytes(APPENDED_BYTES))
            edit = Edit(path, status.st_size, status.st_mtime_ns, offset, replaced)
            self._edits.append(edit)


def _overwrite(file: BinaryIO, offset: int, data: bytes) -> bytes:
    """Put `data` at `offset`, up to the end of the file; return what was there."""
    file.seek(offset)
    replaced = file.read(len(data))
    file.seek(offset)
    file.write(data[: len(replaced)])
    return replaced
