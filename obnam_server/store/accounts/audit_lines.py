"""The lines of the audit log: how one is written, where the last one is, whether all fit together.

The format is in ``docs/format/audit.md``.
"""

import fcntl
import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from attrs import field, frozen

from obnam.wire.members import Json
from obnam_server.store.disk.files import disk_errors
from obnam_server.store.errors import DamagedAudit

FIRST_PREVIOUS = "0" * 64
"""What the first line has for the digest of the one before."""

_READ_BYTES = 64 * 1024
"""Read at a time when looking for the last line."""

_NAME = re.compile(r"\d{4}-\d{2}\.jsonl")
_TEXTS = ("event", "time", "previous")
_NUMBERS = ("sequence", "time_ns")


@frozen
class AuditEvent:
    """One line. ``time_ns``: since the epoch; ``previous``: the digest of the line before."""

    sequence: int
    time_ns: int
    event: str
    previous: str
    repository: str | None = None
    client: str | None = None
    administrator: int | None = None
    details: Json = field(factory=dict)

    def encode(self) -> bytes:
        """The line, with its newline."""
        document = {
            "sequence": self.sequence,
            "time_ns": self.time_ns,
            "time": _time(self.time_ns),
            "event": self.event,
            "repository": self.repository,
            "client": self.client,
            "administrator": self.administrator,
            "details": dict(self.details),
            "previous": self.previous,
        }
        return json.dumps(document, separators=(",", ":")).encode("ascii") + b"\n"


@frozen
class End:
    """Where the chain ends: the newest file and its size, the last line's number and digest."""

    path: Path | None = None
    size_bytes: int = 0
    sequence: int = 0
    digest: str = FIRST_PREVIOUS


@frozen
class Torn:
    """What a crash left at the end of a file: no whole line."""

    path: Path
    offset: int
    content: bytes


def month_of(time_ns: int) -> str:
    """The name of the file for events of that time."""
    return f"{datetime.fromtimestamp(time_ns // 10**9, UTC):%Y-%m}.jsonl"


def _time(time_ns: int) -> str:
    seconds, rest = divmod(time_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1000:06d}Z"


def digest_of(line: bytes) -> str:
    """What the next line has as ``previous``."""
    return sha256(line.removesuffix(b"\n")).hexdigest()


def files_of(folder: Path) -> list[Path]:
    """All files of the log, the oldest first."""
    with disk_errors(folder):
        return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))


def decode(line: bytes) -> dict[str, Any]:
    """A line's members. ``ValueError``: it is none."""
    document = json.loads(line)
    if (
        not line.endswith(b"\n")
        or not isinstance(document, dict)
        or not all(isinstance(document.get(name), str) for name in _TEXTS)
        or not all(isinstance(document.get(name), int) for name in _NUMBERS)
        or not isinstance(document.get("details"), dict)
    ):
        raise ValueError("not a line of the audit log")
    return document


def find_end(folder: Path) -> tuple[End, Torn | None]:
    """Where the chain ends, and what lies behind that and is to be cut off. `DamagedAudit`."""
    paths = files_of(folder)
    if not paths:
        return End(), None
    newest = paths[-1]
    torn = _torn(newest)
    size_bytes = _size_of(newest) if torn is None else torn.offset
    for path in reversed(paths):
        offset, line = _last_piece(path, size_bytes if path == newest else _size_of(path))
        if line:
            try:
                return End(newest, size_bytes, decode(line)["sequence"], digest_of(line)), torn
            except ValueError as error:
                raise DamagedAudit(str(path), f"what stands at byte {offset} is no line") from error
    return End(newest, size_bytes), torn


def _torn(path: Path) -> Torn | None:
    offset, piece = _last_piece(path, _size_of(path))
    if not piece:
        return None
    try:
        decode(piece)
    except ValueError:
        return Torn(path, offset, piece)
    return None


def _size_of(path: Path) -> int:
    with disk_errors(path):
        return path.stat().st_size


def _last_piece(path: Path, size_bytes: int) -> tuple[int, bytes]:
    """Of a file's first bytes: the last line, or what stands there of it; and where it begins."""
    piece = b""
    with disk_errors(path), path.open("rb") as file:
        start = size_bytes
        while start:
            step = min(_READ_BYTES, start)
            start -= step
            piece = os.pread(file.fileno(), step, start) + piece
            found = piece.rfind(b"\n", 0, len(piece) - 1)
            if found >= 0:
                return start + found + 1, piece[found + 1 :]
    return 0, piece


def read_lines(folder: Path) -> Iterator[tuple[str, bytes]]:
    """All lines there are now, the oldest first: where (file and line), and bytes with newline."""
    for path, size_bytes in _sizes(folder) if folder.is_dir() else []:
        with disk_errors(path), path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if file.tell() > size_bytes:
                    break  # appended since, and perhaps not all of it
                yield f"{path}, line {number}", line


def events(folder: Path) -> Iterator[dict[str, Any]]:
    """All events. `DamagedAudit`: a line is none."""
    for where, line in read_lines(folder):
        yield _decoded(where, line)


def verified(folder: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """All events and the digests of their lines, as long as each fits the one before.

    The log may begin with any event: files of months long past may have been moved away.
    `DamagedAudit` names the first that does not fit.
    """
    expected: int | None = None
    previous = FIRST_PREVIOUS
    for where, line in read_lines(folder):
        event = _decoded(where, line)
        if expected is None and event["sequence"] > 1:
            expected, previous = event["sequence"], event["previous"]
        expected = expected or 1
        if event["sequence"] != expected:
            problem = f"is number {event['sequence']}, and {expected} should come here"
            raise DamagedAudit(where, problem)
        if event["previous"] != previous:
            raise DamagedAudit(where, "does not fit: it, or the line before it, was changed")
        expected, previous = expected + 1, digest_of(line)
        yield event, previous


def _sizes(folder: Path) -> list[tuple[Path, int]]:
    """The files and their sizes, while nobody is appending."""
    with disk_errors(folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            return [(path, _size_of(path)) for path in files_of(folder)]
        finally:
            os.close(descriptor)


def _decoded(where: str, line: bytes) -> dict[str, Any]:
    try:
        return decode(line)
    except ValueError as error:
        raise DamagedAudit(where, "is no line of the audit log") from error
