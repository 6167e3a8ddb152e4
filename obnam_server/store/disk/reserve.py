"""Room on the disk that is kept for administrators: what they do is what makes room.

A file that means nothing. When the disk is full, it is removed, so that an act of the
administration can be put into the audit log and done; it is made again when there is room.
"""

import os
from pathlib import Path

from attrs import frozen

from obnam.wire.limits import MIB
from obnam_server.store.disk.files import IFiles, disk_errors, write_durably
from obnam_server.store.errors import StoreFull

RESERVE_NAME = "reserve"

RESERVE_BYTES = MIB
"""A line of the audit log, and a change of each database with its log, take some 100 KiB."""


@frozen
class Reserve:
    """The reserve of a data directory, which nobody else has open."""

    _data: Path
    _files: IFiles

    def keep(self) -> bool:
        """Make it, unless it is there. ``False``: there is no room for it. `StoreFailed`."""
        if self._path.exists():
            return True
        for left in self._data.glob(f"{RESERVE_NAME}.*.tmp"):  # by a crash
            with disk_errors(left):
                self._files.remove(left)
        try:
            # Random, for there are file systems that keep nothing of zeros.
            write_durably(self._files, self._path, os.urandom(RESERVE_BYTES))
        except StoreFull:
            return False
        return True

    def give_back(self) -> bool:
        """Remove it, because the disk is full. ``False``: it is not there. `StoreFailed`."""
        if not self._path.exists():
            return False
        with disk_errors(self._path):
            self._files.remove(self._path)
            self._files.sync_directory(self._data)
        return True

    @property
    def _path(self) -> Path:
        return self._data / RESERVE_NAME
