"""The disk fails, or the server is killed, while damage is noted or something is mended."""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from obnam_server.store.disk.files import IFiles
from obnam_server.store.errors import StoreError
from obnam_server.store.rebuild import rebuild_index
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.store import Store
from tests.support.failing_files import FailingFiles, die
from tests.support.scrubbed import flip, scrub_now
from tests.support.stored import (
    ALICE,
    HOME,
    Clock,
    all_right,
    back_up,
    chunk_id,
    generation_id,
    held,
    put,
    segment_paths,
)

FIRST = 32 + 37


def fail() -> None:
    raise OSError(errno.EIO, "Input/output error")


def prepare(data: Path) -> None:
    """Two generations and a pin; a damaged chunk, and bad trailers: chunks, commit, register."""
    store = Store.open(data, Clock())
    home = store.create_repository(HOME)
    back_up(home, ALICE, "one", "abc")
    back_up(home, ALICE, "two", "def")
    home.change(home.decisions.pin, generation_id("one"), "admin", "good")
    store.close()
    chunks_1, commit_1, chunks_2, _, register = segment_paths(data)
    flip(chunks_1, FIRST + 5)
    flip(chunks_2, -30)
    flip(commit_1, -30)
    flip(register, -30)


def work(data: Path, files: IFiles) -> None:
    """The scrub, a repair, a backup that heals, and what tidies up behind it."""
    store = Store.open(data, Clock(), files)
    try:
        home = store.repository(HOME)
        scrub_now(home)
        home.change(home.checking.run, repair=True)
        put(home, home.begin_session(ALICE, None), "a")
        scrub_now(home)
    finally:
        store.close()


def damaged_names(home: RepositoryStore) -> str:
    session = home.begin_session(ALICE, None)
    answers = home.missing(session, [chunk_id(n) for n in "abcdef"])
    return "".join(n for n, lacks in zip("abcdef", answers, strict=True) if lacks)


def check(data: Path) -> None:
    """Nothing good was lost, and what is left to do can be done."""
    store = Store.open(data, Clock())
    home = store.repository(HOME)
    assert held(home, "bcdef") == all_right("bcdef")
    scrub_now(home)
    home.change(home.checking.run, repair=True)
    assert damaged_names(home) in ("", "a")
    put(home, home.begin_session(ALICE, None), "a")
    scrub_now(home)
    assert damaged_names(home) == ""
    assert list(home.checking.find()) == []
    store.close()
    problems = rebuild_index(data, HOME, Clock())
    assert problems == []
    store = Store.open(data, Clock())
    home = store.repository(HOME)
    assert held(home, "abcdef") == all_right("abcdef")
    for name in ("one", "two"):
        manifest = home.get_generation(generation_id(name)).manifest
        assert manifest == f"manifest of {name}".encode()
    assert generation_id("one") in home.decisions.register().pins
    store.close()


def in_child(run: Callable[[], None]) -> int:
    """Run it in a process of its own; how that ended."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            run()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture(scope="module")
def operations(tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many operations there are, when nothing goes wrong."""
    data = tmp_path_factory.mktemp("all") / "data"
    prepare(data)
    files = FailingFiles(-2, fail)
    work(data, files)
    check(data)
    return files.done


def test_there_is_enough_to_go_wrong(operations: int) -> None:
    assert operations > 30


@pytest.mark.parametrize("part", range(4))
def test_a_failure_at_each_operation(operations: int, tmp_path: Path, part: int) -> None:
    for at in range(part, operations, 4):
        data = tmp_path / str(at) / "data"
        data.parent.mkdir()
        prepare(data)
        with suppress(StoreError):  # a line of the audit log may be missing
            work(data, FailingFiles(at, fail))
        check(data)


@pytest.mark.parametrize("part", range(4))
def test_killed_at_each_operation(operations: int, tmp_path: Path, part: int) -> None:
    for at in range(part, operations, 4):
        data = tmp_path / str(at) / "data"
        data.parent.mkdir()
        prepare(data)
        assert in_child(lambda: work(data, FailingFiles(at, die, torn=True))) == 9  # noqa: B023
        check(data)
