"""What of a batch is done, as the progress display has it: what is on the server, not what is read.

On a slow link the two differ by minutes, and a large file is one batch for hours.
"""

from attrs import define

from obnam.progress import IProgress


@define
class Meter:
    """Tells the progress of one batch of ``size_bytes``: neither more, nor anything twice.

    Its pieces may be less than it (holes), or more (a file that grew, or was read again).
    """

    _progress: IProgress
    _size_bytes: int
    _told_bytes: int = 0
    _under_way_bytes: int = 0

    def on_its_way(self, size_bytes: int) -> None:
        """So much will be `stored`, soon or late."""
        self._under_way_bytes += size_bytes

    def stored(self, size_bytes: int) -> None:
        """So much of what was `on_its_way` is on the server."""
        self._under_way_bytes -= size_bytes
        self.known(size_bytes)

    def known(self, size_bytes: int) -> None:
        """So much is on the server, and was there before."""
        self._tell(0, size_bytes)

    def read(self, files: int) -> None:
        """All of it is read and recorded, and that many files are done."""
        self._tell(files, self._size_bytes - self._told_bytes - self._under_way_bytes)

    def _tell(self, files: int, size_bytes: int) -> None:
        told = max(0, min(size_bytes, self._size_bytes - self._told_bytes))
        if files or told:
            self._told_bytes += told
            self._progress.advance(files, told)
