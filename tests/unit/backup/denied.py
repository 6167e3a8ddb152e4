"""Files and directories that cannot be read, as far as a backup can tell."""

import errno
import os
from collections.abc import Iterator

import pytest
from attrs import define, field

from obnam.live import scan as live_scan
from obnam.live.read import Identity, open_with_status
from obnam.model.entry import Attributes


@define
class Denied:
    """Names that cannot be opened, or whose attributes cannot be read: as root nothing is denied.

    ``code`` is the errno that opening gives.
    """

    files: set[bytes] = field(factory=set)
    directories: set[bytes] = field(factory=set)
    attributes: set[bytes] = field(factory=set)
    code: int = errno.EACCES

    def refuse(self, name: bytes) -> None:
        raise OSError(self.code, os.strerror(self.code), name)


@pytest.fixture
def denied(monkeypatch: pytest.MonkeyPatch) -> Iterator[Denied]:
    denied = Denied()
    names = live_scan._names

    def open_file(
        name: bytes, directory: int | None = None, expected: Identity | None = None
    ) -> tuple[int, os.stat_result]:
        if name in denied.files:
            denied.refuse(name)
        return open_with_status(name, directory, expected)

    def list_names(descriptor: int) -> tuple[list[bytes], OSError | None]:
        name = os.path.basename(os.readlink(b"/proc/self/fd/%d" % descriptor))
        if name in denied.directories:
            return [], OSError(denied.code, os.strerror(denied.code))
        return names(descriptor)

    def attributes(directory: int, name: bytes) -> Attributes:
        if name in denied.attributes:
            denied.refuse(name)
        return ()

    monkeypatch.setattr("obnam.pool.reading.open_with_status", open_file)
    monkeypatch.setattr("obnam.pool.read_files.open_with_status", open_file)
    monkeypatch.setattr("obnam.live.scan._names", list_names)
    monkeypatch.setattr("obnam.backup.scan.read_attributes_at", attributes)
    yield denied
