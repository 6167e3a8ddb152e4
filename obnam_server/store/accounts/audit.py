"""The audit log: what was done to the data, by whom, as a chain of lines. docs/format/audit.md."""

import fcntl
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from obnam.model.ids import ClientName, RepositoryName
from obnam.wire.members import Json
from obnam_server.store.accounts.audit_lines import (
    AuditEvent,
    End,
    Torn,
    digest_of,
    files_of,
    find_end,
    month_of,
)
from obnam_server.store.disk.files import LOCAL_FILES, IFiles, disk_errors
from obnam_server.store.errors import StoreError

AUDIT_NAME = "audit"

_TEXT_MAX = 1000
"""Bytes of a torn line that are kept."""


@define
class _Gap:
    """Events that could not be logged."""

    events: Counter[str] = field(factory=Counter)
    first_ns: int = 0
    last_ns: int = 0
    problem: str = ""

    def to_json(self) -> Json:
        return {
            "missed": sum(self.events.values()),
            "events": dict(self.events),
            "first_ns": self.first_ns,
            "last_ns": self.last_ns,
            "problem": self.problem,
        }


@define(eq=False)
class Audit:
    """The log of a data directory. Any thread, and several processes at a time. Use `open`."""

    _folder: Path
    _clock: Callable[[], int]
    _files: IFiles
    _end: End | None = field(init=False, default=None)
    _gap: _Gap | None = field(init=False, default=None)
    _lock: threading.Lock = field(init=False, factory=threading.Lock)

    @classmethod
    def open(
        cls, data_directory: Path, clock: Callable[[], int], files: IFiles = LOCAL_FILES
    ) -> "Audit":
        """The log, its end mended if a crash tore it. ``clock``: ns since the epoch.

        It does not fail: the first `record` says what is wrong, and `note` counts it.
        """
        audit = cls(data_directory / AUDIT_NAME, clock, files)
        if audit._folder.is_dir():
            with audit._counted("audit-mended"), audit._lock, audit._alone():
                audit._find_end()
        return audit

    def record(
        self,
        event: str,
        *,
        repository: RepositoryName | None = None,
        client: ClientName | None = None,
        administrator: int | None = None,
        details: Json | None = None,
    ) -> int:
        """Log an event, durably; its sequence number. To be called before it takes effect.

        `StoreFull`, `StoreFailed`, `DamagedAudit`: it is not logged, so do not do it.
        """
        with self._lock, self._alone():
            self._record_gap()
            return self._append(
                event,
                repository=repository,
                client=client,
                administrator=administrator,
                details=details or {},
            )

    def note(self, event: str, **about: Any) -> int | None:
        """The same for what is not to be held up. ``None``: it is not logged, but counted."""
        with self._counted(event):
            return self.record(event, **about)
        return None

    @property
    def missed(self) -> Json | None:
        """What could not be logged since the last event that was; ``None``: nothing."""
        gap = self._gap
        return None if gap is None else gap.to_json()

    def close(self) -> None:
        """Say what was missed, if that can be said now."""
        if self._gap is not None:
            with self._counted("audit-gap"), self._lock, self._alone():
                self._record_gap()

    def _record_gap(self) -> None:
        if self._gap is not None:
            self._append("audit-gap", details=self._gap.to_json())
            self._gap = None

    @contextmanager
    def _counted(self, event: str) -> Iterator[None]:
        try:
            yield
        except StoreError as error:
            now_ns = self._clock()
            with self._lock:
                gap = self._gap = self._gap or _Gap(first_ns=now_ns)
                gap.events[event] += 1
                gap.last_ns = now_ns
                gap.problem = str(error)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process appends meanwhile. Makes the directory."""
        with disk_errors(self._folder):
            if not self._folder.is_dir():
                self._files.make_directory(self._folder)
                self._files.sync_directory(self._folder.parent)
            descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _append(self, event: str, **about: Any) -> int:
        if not self._is_known():
            self._find_end()
        return self._write(event, **about)

    def _write(self, event: str, **about: Any) -> int:
        end, self._end = self._end or End(), None  # not known again until it is written
        now_ns = self._clock()
        made = AuditEvent(end.sequence + 1, now_ns, event, end.digest, **about)
        line = made.encode()
        # Should the clock go back, the newest file goes on: lines are in the order of the names.
        name = month_of(now_ns) if end.path is None else max(month_of(now_ns), end.path.name)
        path = self._folder / name
        if path == end.path:
            self._extend(path, end.size_bytes, line)
            size_bytes = end.size_bytes + len(line)
        else:
            self._begin(path, line)
            size_bytes = len(line)
        self._end = End(path, size_bytes, made.sequence, digest_of(line))
        return made.sequence

    def _begin(self, path: Path, line: bytes) -> None:
        with disk_errors(path):
            descriptor = self._files.create(path)
            try:
                self._files.append(descriptor, [line])
                self._files.sync(descriptor)
            finally:
                self._files.close(descriptor)
            self._files.sync_directory(self._folder)

    def _extend(self, path: Path, size_bytes: int, line: bytes) -> None:
        with disk_errors(path):
            descriptor = self._files.extend(path)
            try:
                self._files.append(descriptor, [line])
                self._files.sync(descriptor)
            except OSError:
                # Half of it may be there. If this fails too, it is mended as after a crash.
                self._files.truncate(descriptor, size_bytes)
                raise
            finally:
                self._files.close(descriptor)

    def _is_known(self) -> bool:
        """Whether the chain still ends where it did: another process may have gone on."""
        end = self._end
        if end is None:
            return False
        newest = files_of(self._folder)[-1:]
        if newest != ([] if end.path is None else [end.path]):
            return False
        with disk_errors(self._folder):
            return end.path is None or end.path.stat().st_size == end.size_bytes

    def _find_end(self) -> None:
        end, torn = find_end(self._folder)
        if torn is not None:
            self._cut_off(torn)
        self._end = end
        if torn is not None:
            details = {
                "file": torn.path.name,
                "size_bytes": len(torn.content),
                "sha256": sha256(torn.content).hexdigest(),
                "text": torn.content[:_TEXT_MAX].decode("utf-8", "backslashreplace"),
            }
            self._write("audit-mended", details=details)

    def _cut_off(self, torn: Torn) -> None:
        with disk_errors(torn.path):
            descriptor = self._files.extend(torn.path)
            try:
                self._files.truncate(descriptor, torn.offset)
                self._files.sync(descriptor)
            finally:
                self._files.close(descriptor)


@frozen
class RepositoryAudit:
    """The log, for the events of one repository. ``audit`` ``None``: nothing is logged."""

    _audit: Audit | None
    _repository: RepositoryName | None

    def note(
        self,
        event: str,
        client: ClientName | None = None,
        administrator: int | None = None,
        **details: Any,
    ) -> int | None:
        """See `Audit.note`."""
        if self._audit is None:
            return None
        return self._audit.note(
            event,
            repository=self._repository,
            client=client,
            administrator=administrator,
            details=details,
        )

    @contextmanager
    def change(
        self,
        event: str,
        client: ClientName | None = None,
        administrator: int | None = None,
        **details: Any,
    ) -> Iterator[None]:
        """Around a change: noted before it, and once more should it fail."""
        number = self.note(event, client, administrator, **details)
        try:
            yield
        except Exception as error:
            failed = {"of": number, "error": type(error).__name__, "problem": str(error)}
            self.note("not-done", client, administrator, **failed)
            raise
