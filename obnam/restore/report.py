"""Counts what a restore does, and says what goes wrong."""

from collections import Counter
from os import strerror

from attrs import define, field

from obnam.live.apply import Missed
from obnam.model.entry import printable
from obnam.progress import IProgress
from obnam.restore.check import NO_CONTENT
from obnam.restore.settings import Restored


@define
class Report:
    """The counts so far. Each warning is told at once, but for metadata that cannot be set.

    Those are summed up: a restore by an ordinary user would have one for every file.
    """

    progress: IProgress
    counts: Restored = field(factory=Restored)
    _owners: int = 0
    _owner_example: bytes = b""
    _modes: int = 0
    _mode_example: bytes = b""
    _times: int = 0
    _time_example: bytes = b""
    _attributes: Counter[tuple[bytes, int]] = field(factory=Counter)
    _attribute_examples: dict[tuple[bytes, int], bytes] = field(factory=dict)

    def warn(self, path: bytes, text: str) -> None:
        """Something is wrong with one entry, which is there."""
        self._warn(f"{printable(path)}: {text}")

    def not_restored(self, path: bytes, text: str) -> None:
        """An entry was not restored. One that has no content was lost long before."""
        self.counts.lost += text != NO_CONTENT
        self._warn(f"{printable(path)}: not restored: {text}")

    def differs(self, path: bytes, text: str) -> None:
        """An entry was restored, and is not what it must be when it is read again."""
        self.counts.lost += 1
        self.warn(path, text)

    def missed(self, path: bytes, missed: Missed) -> None:
        """An entry was restored, but not with all of its metadata."""
        if missed.owner:
            self._owners += 1
            self._owner_example = self._owner_example or path
        if missed.permissions:
            self._modes += 1
            self._mode_example = self._mode_example or path
        if missed.times:
            self._times += 1
            self._time_example = self._time_example or path
        for key in missed.attributes:
            self._attributes[key] += 1
            self._attribute_examples.setdefault(key, path)

    def sum_up(self) -> None:
        """Warn of the metadata that could not be set."""
        if self._owners:
            self._warn(
                f"the owner or group of {self._owners} entries could not be set (the first: "
                f"{printable(self._owner_example)}): only root may give files to others"
            )
        if self._modes:
            self._warn(
                f"the permissions of {self._modes} entries could not be set (the first: "
                f"{printable(self._mode_example)}): the file system there does not have them"
            )
        if self._times:
            self._warn(
                f"the modification time of {self._times} entries could not be set (the first: "
                f"{printable(self._time_example)}): the file system there does not let it be"
            )
        for key, count in self._attributes.items():
            name, code = key
            self._warn(
                f"the attribute {printable(name)} of {count} entries could not be set or removed "
                f"(the first: {printable(self._attribute_examples[key])}): "
                f"{strerror(code).lower()}"
            )

    def _warn(self, message: str) -> None:
        self.counts.warnings += 1
        self.progress.warn(message)
