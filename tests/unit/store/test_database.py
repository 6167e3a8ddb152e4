"""Connections to many databases: each thread keeps those that it used last."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from obnam_server.store.disk import database
from obnam_server.store.disk.database import CONNECTIONS_PER_THREAD, Database

COUNT = 2 * CONNECTIONS_PER_THREAD


@pytest.fixture
def databases(tmp_path: Path) -> Iterator[list[Database]]:
    found = [Database(tmp_path / f"{n}.sqlite", "server", (1, 0)) for n in range(COUNT)]
    yield found
    for each in found:
        each.close()


def make(each: Database) -> None:
    with each.transaction(durable=False) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (value)")
        connection.execute("INSERT INTO kept VALUES (1)")


def count(each: Database) -> int:
    found: int = each.get().execute("SELECT count(*) FROM kept").fetchone()[0]
    return found


def open_in(databases: list[Database]) -> int:
    return sum(len(each._all) for each in databases)


def test_a_thread_keeps_those_that_it_used_last(databases: list[Database]) -> None:
    for each in databases:
        make(each)
    assert open_in(databases) == CONNECTIONS_PER_THREAD
    assert all(each._all for each in databases[-CONNECTIONS_PER_THREAD:])
    first = databases[-CONNECTIONS_PER_THREAD]
    kept = first.get()
    databases[0].get()  # opens, and closes the one that was not used for longest
    assert first.get() is kept
    assert not databases[-CONNECTIONS_PER_THREAD + 1]._all
    assert [count(each) for each in databases] == [1] * COUNT


def test_threads_do_not_take_from_each_other(databases: list[Database]) -> None:
    def all_of_them() -> list[int]:
        return [count(each) for each in databases]

    for each in databases:
        make(each)
    with ThreadPoolExecutor(3) as pool:
        found = [future.result() for future in [pool.submit(all_of_them) for _ in range(20)]]
    assert found == [[1] * COUNT] * 20
    assert open_in(databases) <= 4 * CONNECTIONS_PER_THREAD


def test_a_transaction_is_not_cut_short(databases: list[Database]) -> None:
    first, *others = databases
    make(first)
    with first.transaction(durable=True) as connection:
        connection.execute("INSERT INTO kept VALUES (2)")
        for each in others:
            make(each)
        connection.execute("INSERT INTO kept VALUES (3)")
    assert count(first) == 3


def test_one_that_was_closed_makes_room(databases: list[Database]) -> None:
    """By another thread, say, because its repository is gone."""
    make(databases[0])
    with ThreadPoolExecutor(1) as pool:
        pool.submit(databases[0].close).result()
    for each in databases[1:]:
        make(each)
    assert open_in(databases) == CONNECTIONS_PER_THREAD


def test_what_sqlite_takes_is_bounded(databases: list[Database]) -> None:
    make(databases[0])
    limit = sqlite3.connect(":memory:").execute("PRAGMA soft_heap_limit").fetchone()
    assert limit == (database._HEAP_BYTES,)
