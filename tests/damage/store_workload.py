"""What a server does in the crash tests, and what must hold whenever it was cut short."""

from collections.abc import Callable
from pathlib import Path

from obnam.model.ids import ClientName
from obnam.wire.messages import KeyringSlot
from obnam_server.store.accounts.audit_lines import verified
from obnam_server.store.disk.files import LOCAL_FILES, IFiles
from obnam_server.store.index.sqlite import SqliteIndex
from obnam_server.store.rebuild import rebuild_index
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.store import Store
from tests.support.stored import (
    ALICE,
    BOB,
    HOME,
    Clock,
    all_right,
    chunk_id,
    commit_of,
    generation_id,
    held,
    index_path,
    put,
    rebuilt_rows,
)

NAMES = "abcdefgh"
PLAN: list[tuple[ClientName, str, str, str]] = [
    (ALICE, "one", "abc", "abc"),
    (BOB, "theirs", "cd", "cd"),
    (ALICE, "two", "aef", "abef"),
    (ALICE, "three", "ab", "abef"),
]
"""Backups: client, generation, what is uploaded, the whole set."""


def run(data: Path, acknowledge: Callable[[str], None], files: IFiles = LOCAL_FILES) -> None:
    """All of `PLAN`, and two keyrings; tells what was acknowledged, as soon as it was.

    Begun again after a crash, it does what is left of it.
    """
    store = Store.open(data, Clock(), files)
    try:
        _back_up_all(store.create_repository(HOME), acknowledge)
    finally:
        store.close()


def _back_up_all(home: RepositoryStore, acknowledge: Callable[[str], None]) -> None:
    for number, (client, name, uploaded, whole) in enumerate(PLAN):
        if generation_id(name) not in {s.receipt.generation for s in home.list_generations(0, 100)}:
            _back_up_one(home, client, name, uploaded, whole, acknowledge)
        slot = KeyringSlot(f"{number:032x}", "slot", b"sealed")
        if number % 2 and slot not in home.get_keyring().slots:
            home.put_keyring([slot], home.get_keyring().etag)
            acknowledge(f"keyring {number}")


def _back_up_one(
    home: RepositoryStore,
    client: ClientName,
    name: str,
    uploaded: str,
    whole: str,
    acknowledge: Callable[[str], None],
) -> None:
    latest = home.latest(client)
    previous = latest.summary.receipt.generation if latest else None
    session = home.begin_session(client, previous)
    if any(home.missing(session, [chunk_id(n) for n in uploaded])):
        put(home, session, uploaded)
    for letter in uploaded:
        acknowledge(f"chunk {letter}")
    home.refer(client, session, [chunk_id(n) for n in whole], [])
    if name == "two":
        home.refer(client, session, [], [chunk_id("c")])
    home.commit(client, session, commit_of(name, previous, whole))
    acknowledge(f"generation {name}")


def check(data: Path, acknowledged: list[str]) -> None:
    """Open it as after a crash: all that was acknowledged is there, nothing else is wrong."""
    store = Store.open(data, Clock())
    list(verified(data / "audit"))
    home = store.create_repository(HOME)
    assert home.problems == []
    assert list((data / "repositories" / HOME / "incoming").iterdir()) == []
    there = held(home, NAMES)
    assert there == all_right(there)
    for what in acknowledged:
        kind, name = what.split()
        if kind == "chunk":
            assert name in there
        elif kind == "generation":
            assert home.get_generation(generation_id(name)).manifest.endswith(name.encode())
        else:
            assert home.get_keyring().slots[0].slot >= f"{int(name):032x}"
    _check_generations(home)
    store.close()
    before = rebuilt_rows(index_path(data))
    assert rebuild_index(data, HOME, Clock()) == []
    assert rebuilt_rows(index_path(data)) == before


def _check_generations(home: RepositoryStore) -> None:
    summaries = home.list_generations(0, 100)
    assert [s.receipt.sequence for s in summaries] == list(range(1, len(summaries) + 1))
    wholes = {generation_id(name): whole for _, name, _, whole in PLAN}
    for summary in summaries:
        whole = wholes[summary.receipt.generation]
        assert summary.chunk_count == len(set(whole))
        assert held(home, whole) == all_right(whole)


def check_sets(data: Path) -> None:
    """No generation's set has a number that no stored chunk has. The store is closed."""
    index = SqliteIndex(index_path(data))
    stored = index.all_stored()
    for summary in index.list_generations(0, 100):
        numbers = index.generation_set(summary.receipt.generation)
        assert numbers is not None
        assert len(numbers) == summary.chunk_count
        assert not numbers - stored
    index.close(clean=True)
