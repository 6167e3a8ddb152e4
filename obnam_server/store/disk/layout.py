"""The data directory: what it is, whose it is, who has it.

::

    DATA/format                            "obnam-server data 1"
    DATA/lock                              held while a process has it open; holds its pid
    DATA/server.sqlite                     clients, tokens, invitations
    DATA/server-key                        signs receipts
    DATA/reserve                           room for administrators when the disk is full
    DATA/audit/YYYY-MM.jsonl               what was done, by whom
    DATA/events.sqlite                     events that webhooks were not told yet
    DATA/certificate.pem, private-key.pem  TLS, when the server made them itself
    DATA/admin.socket, workers.socket, listening.json   while it runs
    DATA/repositories/NAME/repository      JSON: format, id
    DATA/repositories/NAME/index.sqlite
    DATA/repositories/NAME/segments/…
    DATA/repositories/NAME/incoming/…      segments not yet finished
    DATA/repositories/.gone-NAME-…/…       a destroyed one, while its files are being removed
"""

import fcntl
import json
import os
import secrets
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from obnam.errors import NotFound, UnknownFormat
from obnam.model.ids import RepositoryName, parse_repository_name
from obnam.wire.receipts import REPOSITORY_ID_BYTES
from obnam_server.store.disk.files import IFiles, disk_errors, write_durably
from obnam_server.store.errors import BadDataDirectory, BadRepositoryFile, StoreInUse

FORMAT = 1
"""Raised when an older server could not use the directory, or would spoil it."""

_FORMAT_WORDS = "obnam-server data"
_FORMAT_AGAIN = f"if it is a data directory, write into it: {_FORMAT_WORDS} {FORMAT}"
_REPOSITORY_FORMAT = 1
_GONE = ".gone-"
_OURS_BEFORE_FORMAT = ("lock", "format.")


def prepare_directory(data: Path, files: IFiles) -> None:
    """Check the data directory; make it where there is nothing yet.

    `BadDataDirectory`, `UnknownFormat`, `StoreFull`.
    """
    with disk_errors(data):
        if not data.exists():
            _check_parent(data)
            files.make_directory(data)
            files.sync_directory(data.parent)
        _check_owner(data)
        marker = data / "format"
        is_ours = marker.exists()
        # Before its mode is looked at: nobody shall be told to change that of `/etc`.
        if not is_ours and any(not p.name.startswith(_OURS_BEFORE_FORMAT) for p in data.iterdir()):
            problem = "is neither empty nor a data directory of obnam-server; name a new directory"
            if (data / "server.sqlite").exists() and repositories_of(data).is_dir():
                problem = f"its file `format` is missing; {_FORMAT_AGAIN}"
            raise BadDataDirectory(str(data), problem)
        _check_mode(data)
        if not is_ours:
            write_durably(files, marker, f"{_FORMAT_WORDS} {FORMAT}\n".encode("ascii"))
        _check_format(data, marker.read_bytes())
        if not repositories_of(data).is_dir():
            files.make_directory(repositories_of(data))
            files.sync_directory(data)


def _check_owner(data: Path) -> None:
    found = data.stat()
    if not stat.S_ISDIR(found.st_mode):
        raise BadDataDirectory(str(data), "is not a directory")
    if found.st_uid != os.geteuid():
        raise BadDataDirectory(
            str(data), f"belongs to user {found.st_uid}, not to {os.geteuid()}; run as that user"
        )


def _check_parent(data: Path) -> None:
    parent = data.parent
    if not parent.is_dir():
        raise BadDataDirectory(str(data), "cannot be made: make the directory above it first")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise BadDataDirectory(str(data), f"cannot be made: {parent} is not writable for us")


def _check_mode(data: Path) -> None:
    if data.stat().st_mode & 0o077:
        raise BadDataDirectory(str(data), f"others may enter it; run: chmod 700 {data}")


def _check_format(data: Path, content: bytes) -> None:
    words, _, version = content.decode("ascii", "replace").strip().rpartition(" ")
    if words != _FORMAT_WORDS or not version.isdigit():
        raise BadDataDirectory(str(data), f"its file `format` is damaged; {_FORMAT_AGAIN}")
    if int(version) != FORMAT:
        raise UnknownFormat(str(data), version, str(FORMAT))


def repositories_of(data: Path) -> Path:
    """The directory of all repositories."""
    return data / "repositories"


def names_of(data: Path) -> list[RepositoryName]:
    """The names of all repositories, sorted."""
    with disk_errors(data):
        names = [p.name for p in repositories_of(data).iterdir() if not p.name.startswith(".")]
    return sorted(parse_repository_name(name) for name in names)


def remove_half_made(data: Path) -> None:
    """Remove repositories whose making a crash cut short."""
    with disk_errors(data):
        for path in repositories_of(data).glob(".new-*"):
            shutil.rmtree(path)


def make_repository(data: Path, name: RepositoryName, files: IFiles) -> None:
    """Make a repository unless there is one, whole or not at all. `StoreFull`."""
    home = repositories_of(data) / name
    if home.exists():
        return
    new = repositories_of(data) / f".new-{name}"
    content = _repository_file(secrets.token_bytes(REPOSITORY_ID_BYTES))
    with disk_errors(home):
        if new.exists():
            shutil.rmtree(new)
        for path in (new, new / "segments", new / "incoming"):
            files.make_directory(path)
        write_durably(files, new / "repository", content)
        files.rename(new, home)
        files.sync_directory(home.parent)


def put_away(data: Path, name: RepositoryName, files: IFiles) -> None:
    """A repository is no more, durably; `remove_gone` then makes room. `NotFound`."""
    home = repositories_of(data) / name
    with disk_errors(home):
        if not home.is_dir():
            raise NotFound(f"repository {name}")
        files.rename(home, home.with_name(f"{_GONE}{name}-{secrets.token_hex(8)}"))
        files.sync_directory(home.parent)


def remove_gone(data: Path, stop: Callable[[], bool]) -> None:
    """Remove the files of destroyed repositories, until ``stop``. Any thread, one at a time."""
    with disk_errors(repositories_of(data)):
        for path in repositories_of(data).glob(f"{_GONE}*"):
            for place, folders, names in os.walk(path, topdown=False):
                for name in names:
                    if stop():
                        return
                    os.unlink(os.path.join(place, name))
                for folder in folders:
                    os.rmdir(os.path.join(place, folder))
            path.rmdir()


def repository_id(data: Path, name: RepositoryName) -> bytes:
    """The id that its segments carry. `NotFound`, `UnknownFormat`, `BadRepositoryFile`."""
    path = repositories_of(data) / name / "repository"
    try:
        document = json.loads(path.read_bytes())
        found, known = document["format"], bytes.fromhex(document["id"])
    except FileNotFoundError as error:
        if path.parent.is_dir():
            raise BadRepositoryFile(str(path), "is missing") from error
        raise NotFound(f"repository {name}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadRepositoryFile(str(path), f"is damaged ({error})") from error
    if found != _REPOSITORY_FORMAT:
        raise UnknownFormat(f"repository {name}", str(found), str(_REPOSITORY_FORMAT))
    if len(known) != REPOSITORY_ID_BYTES:
        raise BadRepositoryFile(str(path), "is damaged (the id has another length)")
    return known


def write_repository_id(data: Path, name: RepositoryName, known: bytes, files: IFiles) -> None:
    """Make the file anew that has the id. `StoreFull`, `StoreFailed`."""
    write_durably(files, repositories_of(data) / name / "repository", _repository_file(known))


def _repository_file(known: bytes) -> bytes:
    return json.dumps({"format": _REPOSITORY_FORMAT, "id": known.hex()}).encode("ascii")


class Lock:
    """Holds a data directory for this process, until it is released or the process ends."""

    def __init__(self, data: Path) -> None:
        """`StoreInUse`, `BadDataDirectory`, `StoreFailed`."""
        path = data / "lock"
        if os.statvfs(data).f_flag & os.ST_RDONLY:
            problem = "is on a disk that can only be read; a server must write, even to restore"
            raise BadDataDirectory(str(data), f"{problem}. Mount it writable, or copy it elsewhere")
        with disk_errors(path):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                pid = os.pread(self._descriptor, 32, 0).strip()
                os.close(self._descriptor)
                raise StoreInUse(str(data), int(pid) if pid.isdigit() else None) from error
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode("ascii"), 0)

    def release(self) -> None:
        """Let another process have it."""
        os.close(self._descriptor)
