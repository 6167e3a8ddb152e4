"""A segment of which the index could not be told is taken away again: the change did not happen."""

from collections.abc import Callable

import pytest

from obnam.wire.messages import KeyringSlot
from obnam_server.store.errors import StoreFull
from obnam_server.store.index.sqlite import SqliteIndex
from obnam_server.store.seams.values import SegmentNumber
from tests.support.scrubbed import (
    CHUNKS_1,
    COMMIT_1,
    FIRST,
    KEYRING,
    REGISTER,
    SpoiltServer,
    scrub_now,
)
from tests.support.stored import (
    ALICE,
    all_right,
    chunk_id,
    commit_of,
    generation_id,
    held,
    put,
    segment_paths,
)


def commit(server: SpoiltServer) -> Callable[[], object]:
    session = server.home.begin_session(ALICE, None)
    put(server.home, session, "ab")
    server.home.refer(ALICE, session, [chunk_id(name) for name in "ab"], [])
    made = commit_of("three", generation_id("two"), "ab")
    return lambda: server.home.commit(ALICE, session, made)


def keyring(server: SpoiltServer) -> Callable[[], object]:
    slots = [KeyringSlot("1" * 32, "another", b"sealed")]
    return lambda: server.home.put_keyring(slots, server.home.get_keyring().etag)


def decide(server: SpoiltServer) -> Callable[[], object]:
    return lambda: server.home.change(
        server.home.decisions.pin, generation_id("two"), "admin", "this one, too"
    )


def record_damage(server: SpoiltServer) -> Callable[[], object]:
    server.flip(CHUNKS_1, FIRST + 5)
    return lambda: scrub_now(server.home)


def mend(segment: int) -> Callable[[SpoiltServer], Callable[[], object]]:
    """Write a segment anew whose trailer is damaged."""

    def repairing(server: SpoiltServer) -> Callable[[], object]:
        server.flip(segment, -1)
        (finding,) = server.home.checking.find()
        return lambda: server.home.change(server.home.checking.repair, finding)

    return repairing


def compacted(server: SpoiltServer) -> Callable[[], object]:
    def do() -> None:
        rewrite = server.home.collection.rewrite([SegmentNumber(CHUNKS_1)])
        for _ in rewrite.steps():
            pass
        try:
            server.home.change(server.home.collection.replace, rewrite)
        finally:
            rewrite.abort()

    return do


CHANGES = {
    "compacted": compacted,
    "commit": commit,
    "keyring": keyring,
    "register": decide,
    "damage": record_damage,
    "mended-chunks": mend(CHUNKS_1),
    "mended-commit": mend(COMMIT_1),
    "mended-keyring": mend(KEYRING),
    "mended-register": mend(REGISTER),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_no_room_in_the_index(
    server: SpoiltServer,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[SpoiltServer], Callable[[], object]],
) -> None:
    def full(*_: object) -> None:
        raise StoreFull("the index")

    do = change(server)
    before = segment_paths(server.data)
    with monkeypatch.context() as failing, pytest.raises(StoreFull):
        failing.setattr(SqliteIndex, "put_segment", full)
        do()
    assert segment_paths(server.data) == before
    do()
    assert segment_paths(server.data) != before
    names = "bcd" if change is record_damage else "abcd"
    for again in (server.restart, server.rebuild):
        assert list(server.home.checking.find()) == [] or names == "bcd"
        again()
        assert server.home.problems == []
        # The numbers that were given are known, too: a segment that is there is never replaced.
        for name in ("x", "y"):  # The first number is free: that of the failure.
            put(server.home, server.home.begin_session(ALICE, None), name)
        assert held(server.home, names) == all_right(names)
