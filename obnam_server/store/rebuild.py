"""Make a repository's index anew from its segments, when it is lost or damaged.

All of it comes back but running sessions: those backups start again and find their chunks.
"""

from collections.abc import Callable
from pathlib import Path

from obnam.model.ids import RepositoryName
from obnam_server.store.accounts.audit import RepositoryAudit
from obnam_server.store.accounts.server_key import ServerKey
from obnam_server.store.disk import layout
from obnam_server.store.disk.files import LOCAL_FILES, IFiles, disk_errors
from obnam_server.store.errors import BadDataDirectory, BadRepositoryFile
from obnam_server.store.index.sqlite import SqliteIndex
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.segments.local import LocalSegmentStore
from obnam_server.store.segments.parts import RepositoryHome, ids_in_segments
from obnam_server.store.store import INDEX_NAME

_LEFTOVERS = ("", "-wal", "-shm")
"""The files of one SQLite database."""


def rebuild_index(
    data_directory: Path,
    name: RepositoryName,
    clock: Callable[[], int],
    files: IFiles = LOCAL_FILES,
) -> list[str]:
    """Replace the index of a repository; what is wrong with it, one line each.

    So is the file with the id of the repository, if that cannot be used. The old index is in use
    until the new one is whole. `NotFound`, `StoreInUse`,
    `BadDataDirectory`, `StoreFull`, `StoreFailed`.
    """
    data = data_directory.absolute()
    layout.prepare_directory(data, files)
    lock = layout.Lock(data)
    try:
        segments = LocalSegmentStore(layout.repositories_of(data), files)
        found = _repository_id(data, name, segments, files)
        home = RepositoryHome(name, found, segments)
        target = layout.repositories_of(data) / name / INDEX_NAME
        new = target.with_name(f"{INDEX_NAME}.new")
        _remove_database(new, files)
        repository = RepositoryStore(
            home, SqliteIndex(new), clock, RepositoryAudit(None, name), ServerKey.open(data, files)
        )
        repository.close()
        segments.close()
        with disk_errors(target):
            # The old write-ahead log must never meet the new file.
            _remove_database(target, files)
            files.sync_directory(target.parent)
            files.rename(new, target)
            files.sync_directory(target.parent)
        return list(repository.problems)
    finally:
        lock.release()


def _repository_id(
    data: Path, name: RepositoryName, segments: LocalSegmentStore, files: IFiles
) -> bytes:
    """The repository's id: of its file, which is made anew from the segments if need be."""
    try:
        return layout.repository_id(data, name)
    except BadRepositoryFile as error:
        found = ids_in_segments(segments, name)
        if len(found) != 1:
            told = f"its segments are of {len(found)} repositories"
            if not found:
                told = "no segment tells it"
            problem = f"{error.problem}, and {told}: put it back from a copy"
            raise BadDataDirectory(error.path, problem) from error
        (known,) = found
        layout.write_repository_id(data, name, known, files)
        return layout.repository_id(data, name)


def _remove_database(path: Path, files: IFiles) -> None:
    with disk_errors(path):
        for suffix in _LEFTOVERS:
            files.remove(path.with_name(path.name + suffix))
