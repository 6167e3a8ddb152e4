"""What generations cost: counted at commits, asked for afterwards, and the same after a rebuild."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from random import Random

import pytest
from attrs import define, evolve
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap64

from obnam.errors import NotFound
from obnam.model.ids import GenerationId
from obnam_server.store.disk.database import Database
from obnam_server.store.generations.accounting import DAY_NS
from obnam_server.store.index.chunks import ChunkIndex
from obnam_server.store.seams.values import Counted
from tests.support.one_repository import OneRepository
from tests.support.stored import (
    ALICE,
    BOB,
    back_up,
    chunk_id,
    commit_of,
    generation_id,
    index_path,
    put,
    rebuilt_rows,
    sealed,
    segment_paths,
)

SPANS = 3
NUMBERS = SPANS * 4096 + 100


@define
class Server(OneRepository):
    """A store whose repository's generations are counted."""

    def counted(self) -> list[Counted]:
        return [past.counted for past in self.home.accounting.history(ALICE, 10)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data")
    server.start()
    yield server
    server.store.close()


def size_of(names: str) -> int:
    return sum(len(sealed(name)) for name in names)


def test_a_commit_counts_against_the_same_clients_one_before(server: Server) -> None:
    back_up(server.home, ALICE, "one", "abc")
    back_up(server.home, BOB, "theirs", "abcdefg")
    stored = server.home.used_bytes()
    back_up(server.home, ALICE, "two", "cdx")
    one, two = server.counted()
    assert (one.added_count, one.added_bytes, one.removed_count) == (3, size_of("abc"), 0)
    assert (two.added_count, two.added_bytes, two.removed_count) == (2, size_of("dx"), 2)
    assert stored < two.stored_bytes < server.home.used_bytes()


def test_a_commit_counts_against_the_one_before_it_and_not_against_its_base(
    server: Server,
) -> None:
    one = back_up(server.home, ALICE, "one", "abc")
    two = back_up(server.home, ALICE, "two", "cd")
    session = server.home.begin_session(ALICE, one)
    ids = {name: chunk_id(name) for name in "abd"}
    server.home.refer(ALICE, session, [ids["d"]], [ids["a"], ids["b"]])
    server.home.commit(ALICE, session, commit_of("three", two, "cd"))
    assert evolve(server.counted()[2], stored_bytes=0) == Counted(0, 0, 0, 0)


def test_an_unchanged_generation_adds_nothing(server: Server) -> None:
    back_up(server.home, ALICE, "one", "abc")
    back_up(server.home, ALICE, "two", "abc")
    assert evolve(server.counted()[1], stored_bytes=0) == Counted(0, 0, 0, 0)


def test_a_rebuild_brings_the_figures_back(server: Server) -> None:
    """Even though the one that they were counted against is gone, and a chunk is damaged."""
    one = back_up(server.home, ALICE, "one", "abc")
    back_up(server.home, ALICE, "two", "cd")
    back_up(server.home, ALICE, "three", "de")
    before = server.counted()
    server.home.change(server.home.decisions.delete, [one], "admin", "old")
    server.home.change(server.home.decisions.expunge, [one])
    server.restart()
    rows = rebuilt_rows(index_path(server.data))
    server.rebuild()
    assert server.counted() == before[1:]
    assert rebuilt_rows(index_path(server.data)) == rows
    segment_paths(server.data)[0].unlink()
    server.restart()
    assert server.home.problems
    assert server.counted() == before[1:]
    server.rebuild()
    assert server.counted() == before[1:]


def test_the_used_bytes_are_those_of_the_segments(server: Server) -> None:
    def on_disk() -> int:
        return sum(path.stat().st_size for path in segment_paths(server.data))

    assert server.home.used_bytes() == 0
    one = back_up(server.home, ALICE, "one", "abc")
    back_up(server.home, ALICE, "two", "cd")
    assert server.home.used_bytes() == on_disk()
    server.home.change(server.home.decisions.delete, [one], "admin", "old")
    server.home.change(server.home.decisions.expunge, [one])
    assert server.home.used_bytes() == on_disk()
    server.restart()
    assert server.home.used_bytes() == on_disk()
    server.rebuild()
    assert server.home.used_bytes() == on_disk()


def test_what_a_generation_needs(server: Server) -> None:
    one = back_up(server.home, ALICE, "one", "abc")
    assert server.home.accounting.size_bytes(one) == size_of("abc")
    with pytest.raises(NotFound):
        server.home.accounting.size_bytes(generation_id("none"))


def freed(server: Server, *generations: GenerationId) -> int:
    return server.home.accounting.freed_bytes(generations)


def test_what_deleting_would_free(server: Server) -> None:
    one = back_up(server.home, ALICE, "one", "abc")
    two = back_up(server.home, ALICE, "two", "bcd")
    theirs = back_up(server.home, BOB, "theirs", "cx")
    assert freed(server, one) == size_of("a")
    assert freed(server, two) == size_of("d")
    assert freed(server, one, two) == size_of("abd")
    assert freed(server, one, two, theirs) == size_of("abcdx")
    assert freed(server) == 0
    server.home.change(server.home.decisions.delete, [one], "admin", "old")
    assert freed(server, two) == size_of("d")  # the trash keeps what is in it
    with pytest.raises(NotFound):
        freed(server, one, generation_id("none"))


def test_what_each_one_alone_would_free(server: Server) -> None:
    """The same as of one after another; what two or three of them have is in none."""
    names = {
        back_up(server.home, ALICE, "one", "abc"): "a",
        back_up(server.home, ALICE, "two", "bcd"): "",
        back_up(server.home, BOB, "theirs", "cdx"): "x",
        back_up(server.home, ALICE, "three", "cde"): "e",
    }
    assert server.home.accounting.alone_bytes() == {each: size_of(names[each]) for each in names}
    one = next(iter(names))
    server.home.change(server.home.decisions.delete, [one], "admin", "old")
    session = server.home.begin_session(BOB, None)
    server.home.refer(BOB, session, [chunk_id("e")], [])
    found = server.home.accounting.alone_bytes()
    assert found == {each: freed(server, each) for each in names}
    assert (found[one], sum(found.values())) == (size_of("a"), size_of("ax"))


def test_a_running_backup_keeps_what_it_needs(server: Server) -> None:
    one = back_up(server.home, ALICE, "one", "abcd")
    two = back_up(server.home, ALICE, "two", "x")
    session = server.home.begin_session(BOB, None)
    assert freed(server, one) == size_of("abcd")
    server.home.refer(BOB, session, [chunk_id("a")], [])
    server.home.missing(session, [chunk_id("b")])
    put(server.home, session, "c")  # again, because its answer was lost
    assert freed(server, one) == size_of("d")
    server.restart()
    assert freed(server, one, two) == size_of("bcdx")
    server.home.end_session(BOB, session)
    assert freed(server, one) == size_of("abcd")


def test_growth_by_day(server: Server) -> None:
    server.clock.now_ns = 20_000 * DAY_NS
    back_up(server.home, ALICE, "one", "abc")
    back_up(server.home, ALICE, "two", "bcd")
    server.clock.now_ns += 2 * DAY_NS
    back_up(server.home, BOB, "theirs", "cx")
    first, second = server.counted()
    (third,) = (past.counted for past in server.home.accounting.history(BOB, 10))
    assert first.stored_bytes < second.stored_bytes < third.stored_bytes
    assert list(server.home.accounting.growth().items()) == [
        (date(2024, 10, 4), second.stored_bytes),
        (date(2024, 10, 6), third.stored_bytes),
    ]


@pytest.fixture(scope="module")
def lengths(tmp_path_factory: pytest.TempPathFactory) -> tuple[ChunkIndex, list[int]]:
    """Chunks with the numbers from 0, and their lengths; every 1000th is not stored."""
    database = Database(tmp_path_factory.mktemp("index") / "index.sqlite", "index", (1, 1))
    database.prepare()
    lengths = [Random(number).randrange(64, 1 << 20) for number in range(NUMBERS)]
    with database.transaction(durable=False) as connection:
        connection.executemany(
            "INSERT INTO chunks (id, number, segment, offset, length) VALUES (?, ?, 1, 0, ?)",
            [(str(n).encode(), n, length) for n, length in enumerate(lengths) if n % 1000],
        )
    for number in range(0, NUMBERS, 1000):
        lengths[number] = 0
    return ChunkIndex(database), lengths


SETS = st.lists(
    st.tuples(st.integers(0, NUMBERS), st.integers(0, NUMBERS), st.sampled_from([1, 1, 2, 3, 97]))
)


@given(SETS)
def test_lengths_by_number(
    lengths: tuple[ChunkIndex, list[int]], chosen: list[tuple[int, int, int]]
) -> None:
    index, of_each = lengths
    numbers = BitMap64()
    for low, high, step in chosen:
        numbers.update(range(low, min(high, NUMBERS), step))
    assert index.sealed_bytes(numbers) == sum(of_each[number] for number in numbers)
