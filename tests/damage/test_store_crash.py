"""The server dies, or the disk fails, at each single file operation."""

import contextlib
import errno
import os
import shutil
from pathlib import Path

import pytest

from obnam_server.store.errors import StoreError, StoreFailed, StoreFull, StoreUncertain
from obnam_server.store.store import Store
from tests.damage.store_workload import check, check_sets, run
from tests.support.failing_files import FailingFiles, die
from tests.support.stored import (
    ALICE,
    HOME,
    Clock,
    all_right,
    back_up,
    body_of,
    chunk_id,
    commit_of,
    finished,
    generation_id,
    held,
    index_path,
)


def crash(data: Path, fail_at: int, torn: bool) -> tuple[bool, list[str]]:
    """Run in a child process that dies there: whether it came to the end; what it acknowledged."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            files = FailingFiles(fail_at, die, torn)
            run(data, lambda what: (os.write(writing, what.encode() + b"\n"), None)[1], files)
        except BaseException:
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        acknowledged = pipe.read().decode().splitlines()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9)
    return status == 0, acknowledged


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Where to work, in memory if possible: a process that dies takes no page cache with it."""
    return tmp_path / "data"


@pytest.mark.parametrize(("torn", "step"), [(False, 3), (True, 1)], ids=["before", "torn"])
def test_dies_at_each_operation(data: Path, torn: bool, step: int) -> None:
    """Both ways are the same but where something is appended."""
    count, ended = 0, False
    while not ended:
        ended, acknowledged = crash(data, count, torn)
        assert ended == (len(acknowledged) == 16)
        check(data, acknowledged)
        check_sets(data)
        # And all goes on as if nothing had been.
        run(data, lambda _: None)
        check(data, ["generation three", "chunk f", "keyring 3"])
        shutil.rmtree(data)
        count += step
    assert count > 60


@pytest.mark.parametrize(
    ("number", "expected"), [(errno.ENOSPC, StoreFull), (errno.EIO, StoreFailed)]
)
def test_fails_at_each_operation(data: Path, number: int, expected: type[StoreError]) -> None:
    def fail() -> None:
        raise OSError(number, os.strerror(number))

    count, failed = 0, True
    while failed:
        acknowledged: list[str] = []
        failed = _fails(data, FailingFiles(count, fail), acknowledged, expected)
        check(data, acknowledged)
        check_sets(data)
        run(data, acknowledged.append)
        check(data, acknowledged)
        shutil.rmtree(data)
        count += 1
    assert count > 60


def _fails(
    data: Path, files: FailingFiles, acknowledged: list[str], expected: type[StoreError]
) -> bool:
    """Whether the workload met the failure. One of the audit log alone holds nobody up."""
    try:
        run(data, acknowledged.append, files)
    except expected:
        return True
    return files.done > files.fail_at


def test_goes_on_after_a_full_disk(tmp_path: Path) -> None:
    """Without a restart: the same store takes the same upload once there is room again."""

    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    files = FailingFiles(-1, full)
    store = Store.open(tmp_path / "data", Clock(), files)
    home = store.create_repository(HOME)
    back_up(home, ALICE, "one", "ab")
    session = home.begin_session(ALICE, None)
    start = files.done
    finished(home, body_of("cd")).abort()
    for step in range(files.done - start):
        files.fail_at = files.done + step
        try:
            finished(home, body_of("cd")).abort()
        except StoreFull:
            continue
    files.fail_at = -1
    upload = finished(home, body_of("cd"))
    home.accept(session, upload)
    assert held(home, "abcd") == all_right("abcd")
    store.close()
    check_sets(tmp_path / "data")


def test_the_index_forgets_the_last_hour(tmp_path: Path) -> None:
    """A power failure undoes what the index had not made durable; or it is an old copy."""
    data = tmp_path / "data"
    store = Store.open(data, Clock())
    back_up(store.create_repository(HOME), ALICE, "zero", "h")
    store.close()
    for name in ("", "-wal", "-shm"):
        path = index_path(data).with_name(index_path(data).name + name)
        if path.exists():
            shutil.copy(path, tmp_path / f"old{name}")
    store = Store.open(data, Clock())
    home = store.create_repository(HOME)
    for name in ("one", "two"):
        back_up(home, ALICE, name, name + "xyz")
    held_before = held(home, "honetwxyz")
    store.close()
    after = index_path(data).read_bytes()
    shutil.copy(tmp_path / "old", index_path(data))
    assert index_path(data).read_bytes() != after
    store = Store.open(data, Clock())
    home = store.create_repository(HOME)
    assert home.problems == []
    assert home.generation_count() == 3
    assert held(home, "honetwxyz") == held_before == all_right("honetwxyz")
    # Numbers go on after those that the old index did not know of.
    back_up(home, ALICE, "four", "pqr")
    store.close()
    check_sets(data)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_goes_on_after_each_failure_of_a_change(data: Path, number: int) -> None:
    """Without a restart: what was refused leaves nothing that the next change trips over."""

    def fail() -> None:
        raise OSError(number, os.strerror(number))

    files = FailingFiles(-1, fail)
    store = Store.open(data, Clock(), files)
    home = store.create_repository(HOME)
    names = iter(f"generation {n}" for n in range(1000))
    failures = 0
    for change in (
        lambda: back_up(home, ALICE, next(names), "ab"),
        lambda: home.put_keyring([], home.get_keyring().etag),
    ):
        change()
        start = files.done
        change()
        for step in range(files.done - start):
            files.fail_at = files.done + step
            with contextlib.suppress(StoreFull, StoreFailed):
                change()
            assert files.done > files.fail_at
            failures += 1
            change()
    assert failures >= 10
    count = home.generation_count()
    store.close()
    store = Store.open(data, Clock())
    home = store.repository(HOME)
    assert home.problems == []
    assert home.generation_count() == count
    store.close()
    check_sets(data)


def test_the_index_is_full(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "data", Clock())
    home = store.create_repository(HOME)
    database = home._index._database  # type: ignore[attr-defined]
    pages = database.get().execute("PRAGMA page_count").fetchone()[0]
    session = home.begin_session(ALICE, None)
    back_up(home, ALICE, "one", "ab")
    many = [f"chunk {n}" for n in range(500)]
    database.get().execute(f"PRAGMA max_page_count = {pages + 3}")
    upload = finished(home, body_of(many))
    with pytest.raises(StoreFull):
        home.accept(session, upload)
    upload.abort()
    with pytest.raises(StoreFull):
        home.refer(ALICE, session, [chunk_id(n) for n in many], [])
    assert home.missing(session, [chunk_id(n) for n in many]) == [True] * 500
    database.get().execute("PRAGMA max_page_count = 100000")
    home.refer(ALICE, session, [chunk_id(n) for n in many], [])
    home.accept(session, finished(home, body_of(many)))
    home.commit(ALICE, session, commit_of("two", generation_id("one"), many))
    assert held(home, many) == all_right(many)
    store.close()
    check_sets(tmp_path / "data")


def test_no_more_changes_when_the_last_one_is_uncertain(tmp_path: Path) -> None:
    """The commit's segment is there, its directory cannot be made durable, nor can it go."""
    files = FailingFiles(-1, lambda: None)
    store = Store.open(tmp_path / "data", Clock(), files)
    home = store.create_repository(HOME)
    back_up(home, ALICE, "one", "ab")
    session = home.begin_session(ALICE, None)

    def broken() -> None:
        files.fail_at = files.done
        raise OSError(errno.EIO, "Input/output error")

    files.fail = broken
    # create, append, sync, rename, then the directory's fsync, and all after it.
    files.fail_at = files.done + 4
    with pytest.raises(StoreUncertain):
        home.commit(ALICE, session, commit_of("two", generation_id("one"), ""))
    files.fail_at = -1
    with pytest.raises(StoreUncertain, match="restart"):
        home.begin_session(ALICE, None)
    assert held(home, "ab") == all_right("ab")
    store.close()
    store = Store.open(tmp_path / "data", Clock())
    home = store.repository(HOME)
    assert home.problems == []
    assert home.generation_count() == 2
    back_up(home, ALICE, "three", "c")
    store.close()
