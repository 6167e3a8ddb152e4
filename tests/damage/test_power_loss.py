"""A day in the life of a store, and the power failing after each write, in every way it can.

Each state that the disk may be left in is opened, looked at, and lived on in.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import evolve

from obnam.model.ids import ClientName
from obnam_server.store.accounts.audit_lines import verified
from obnam_server.store.rebuild import rebuild_index
from obnam_server.store.store import Store
from tests.damage.day import CAROL, Day, Facts, any_day, evening, morning, promised
from tests.damage.store_workload import check_sets
from tests.support.recorded_disk import (
    DiskState,
    RecordedFiles,
    content_of,
    fingerprint,
    lay_out,
    recorded_index,
)
from tests.support.soak import SOAK
from tests.support.stored import (
    HOME,
    Clock,
    back_up,
    generation_id,
    index_path,
)

DAYS: list[Sequence[Callable[[Day], None]]] = [
    (morning, evening),
    *((any_day(seed), any_day(seed + 1)) for seed in range(0, 4 * SOAK, 2)),
]
"""What happens before and after a restart at noon."""


@contextmanager
def recorded(parts: Sequence[Callable[[Day], None]], root: Path) -> Iterator[RecordedFiles]:
    """A whole day on a disk that remembers it."""
    root.mkdir()
    data, clock = root / "data", Clock()
    store = Store.open(data, clock)
    home = store.create_repository(HOME)
    files = RecordedFiles(data)
    files.begin(content_of(home._index._database.get()))  # type: ignore[attr-defined]
    store.close()
    facts = Facts()
    with recorded_index(files, index_path(data)):
        for part in parts:
            store = Store.open(data, clock, files)
            day = Day(store.create_repository(HOME), files.know, facts)
            part(day)
            facts = day.facts
            store.close()
    yield files


State = tuple[DiskState, Facts, dict[Path, bytes], bytes]
"""A state of the disk: how it came about, what must hold in it, all files, the index."""


def possible(files: RecordedFiles) -> Iterator[State]:
    """Every different state that the disk may have been left in."""
    seen = set()
    for state, facts in files.states:
        assert isinstance(facts, Facts | None)
        for content, index in (state.now(), *state.after_power_failure()):
            known = facts or Facts()
            mark = fingerprint(content, index), repr(known)
            if mark not in seen:
                seen.add(mark)
                yield state, known, content, index


@pytest.mark.parametrize("day", range(len(DAYS)))
def test_nothing_acknowledged_is_ever_lost(day: int, tmp_path: Path) -> None:
    count = 0
    with recorded(DAYS[day], tmp_path / "day") as files:
        for state, facts, content, index in possible(files):
            data = lay_out(files.root, state, content, tmp_path / "data")
            index_path(data).write_bytes(index)
            look(data, facts, lived_on=count % 5 == 0, rebuilt=count % 7 == 0)
            shutil.rmtree(data)
            count += 1
    assert count > 300


def logged(data: Path, facts: Facts) -> None:
    """The audit log is a chain, and has every commit that was acknowledged."""
    events = [event for event, _ in verified(data / "audit")]
    commits = {each["details"]["generation"] for each in events if each["event"] == "commit"}
    assert {generation_id(name) for name in facts.generations} <= commits


def look(data: Path, facts: Facts, *, lived_on: bool, rebuilt: bool) -> None:
    """Open it as after the power came back."""
    if rebuilt:
        assert rebuild_index(data, HOME, Clock()) == []
    store = Store.open(data, Clock())
    home = store.create_repository(HOME)
    assert home.problems == []
    promised(home, facts)
    logged(data, facts)
    if lived_on:
        session = home.begin_session(CAROL, None)
        home.end_session(CAROL, session)
        back_up(home, ClientName("dora"), "later", "klm")
        for record in home._index.sessions(None):
            home.end_session(record.client, record.session)
        segments = [share.segment for share in home.collection.shares()]
        rewrite = home.collection.rewrite(segments)
        for _ in rewrite.steps():
            pass
        assert home.change(home.collection.replace, rewrite)
        promised(home, evolve(facts, chunks=frozenset("klm")))
    store.close()
    check_sets(data)
