"""The fake of the engine's listener."""

from attrs import define, field
from zope.interface import implementer

from obnam.progress import IProgress


@implementer(IProgress)
@define
class NullProgress:
    """Shows nothing, and remembers the warnings, and what is done."""

    warnings: list[str] = field(factory=list)
    done_files: int = 0
    done_bytes: int = 0

    def stage(self, name: str) -> None:
        """See `IProgress`."""

    def expect(self, size_bytes: int) -> None:
        """See `IProgress`."""

    def estimate(self, size_bytes: int) -> None:
        """See `IProgress`."""

    def advance(self, files: int, size_bytes: int) -> None:
        """See `IProgress`."""
        self.done_files += files
        self.done_bytes += size_bytes

    def warn(self, message: str) -> None:
        """See `IProgress`."""
        self.warnings.append(message)

    def close(self) -> None:
        """See `IProgress`."""
