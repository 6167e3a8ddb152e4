"""The fake of the engine's listener."""

from attrs import define, field
from zope.interface import implementer

from obnam.progress import IProgress


@implementer(IProgress)
@define
class NullProgress:
    """Shows nothing, and remembers the warnings."""

    warnings: list[str] = field(factory=list)

    def stage(self, name: str) -> None:
        """See `IProgress`."""

    def expect(self, size_bytes: int) -> None:
        """See `IProgress`."""

    def estimate(self, size_bytes: int) -> None:
        """See `IProgress`."""

    def advance(self, files: int, size_bytes: int) -> None:
        """See `IProgress`."""

    def warn(self, message: str) -> None:
        """See `IProgress`."""
        self.warnings.append(message)

    def close(self) -> None:
        """See `IProgress`."""
