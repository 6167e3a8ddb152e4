"""The power fails while damage is noted, something is mended, or what was replaced is deleted."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from obnam_server.store.store import Store
from tests.damage.test_scrub_faults import FIRST, check, prepare, work
from tests.support.recorded_disk import (
    DiskState,
    RecordedFiles,
    content_of,
    fingerprint,
    lay_out,
    recorded_index,
)
from tests.support.scrubbed import flip
from tests.support.stored import (
    ALICE,
    HOME,
    Clock,
    all_right,
    held,
    index_path,
    put,
    segment_paths,
)

State = tuple[DiskState, dict[Path, bytes], bytes]


def recorded(data: Path) -> RecordedFiles:
    """All of the work, on a disk that remembers it."""
    prepare(data)
    store = Store.open(data, Clock())
    home = store.repository(HOME)
    put(home, home.begin_session(ALICE, None), "g")
    files = RecordedFiles(data)
    files.begin(content_of(home._index._database.get()))  # type: ignore[attr-defined]
    store.close()
    bad = segment_paths(data)[-1]  # nothing of it can be saved
    flip(bad, FIRST + 5)
    flip(bad, -30)
    with recorded_index(files, index_path(data)):
        work(data, files)
    return files


def possible(files: RecordedFiles) -> Iterator[State]:
    """Every different state that the disk may have been left in."""
    seen = set()
    for state, _ in files.states:
        for content, index in state.after_power_failure():
            mark = fingerprint(content, index)
            if mark not in seen:
                seen.add(mark)
                yield state, content, index


def look(data: Path) -> None:
    """What was good is there, and nothing that was replaced is missed."""
    store = Store.open(data, Clock())
    home = store.repository(HOME)
    assert held(home, "bcdef") == all_right("bcdef")
    assert [problem for problem in home.problems if "lost" in problem] == []
    store.close()


def test_nothing_good_is_lost(tmp_path: Path) -> None:
    count = 0
    (tmp_path / "day").mkdir()
    files = recorded(tmp_path / "day" / "data")
    for state, content, index in possible(files):
        data = lay_out(files.root, state, content, tmp_path / "data")
        index_path(data).write_bytes(index)
        look(data)
        if count % 5 == 0:
            check(data)
        shutil.rmtree(data)
        count += 1
    assert count > 60
