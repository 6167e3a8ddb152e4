"""What the engine tells about its work; how that is shown is for others to decide."""

from zope.interface import Interface


class IProgress(Interface):
    """The engine's listener. Its methods return at once and never fail."""

    def stage(name: str) -> None:
        """Another part of the work begins, such as ``backup`` or ``commit``."""

    def expect(size_bytes: int) -> None:
        """So many bytes more of live data are known to lie ahead."""

    def estimate(size_bytes: int) -> None:
        """About so many bytes will have to be done in all, as far as it can be told."""

    def advance(files: int, size_bytes: int) -> None:
        """So many files, with so many bytes, are done."""

    def warn(message: str) -> None:
        """Something went wrong that does not stop the work. One line, names quoted."""

    def close() -> None:
        """The work is over, well or not."""
