"""A server that shows an older, another, or no history is found out."""

from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from obnam.errors import ConfigurationError
from obnam.history_errors import HistoryBroken
from obnam.model.ids import ClientName, parse_chunk_id, parse_generation_id
from obnam.repository.state import Remembered, load, remember, state_file
from obnam.repository.trust import Checked, Link, Shown, ancestors_wanted, check

ME, OTHER = ClientName("me"), ClientName("other")


def link(sequence: int, branch: int = 0) -> Link:
    number = sequence * 16 + branch
    return Link(
        sequence,
        parse_generation_id(f"{number:032x}"),
        parse_chunk_id(b"\x01" + number.to_bytes(32, "big")),
    )


def shown(sequence: int, branch: int = 0, before: int = 0, client: ClientName = ME) -> Shown:
    """A manifest on a branch of the history, whose parent is on branch ``before``."""
    parent = link(sequence - 1, before)
    previous = None if sequence == 1 else (parent.generation, parent.manifest_id)
    return Shown(client, link(sequence, branch), previous)


def chain(newest: int, count: int, branch: int = 0) -> list[Shown]:
    """``count`` manifests, newest first."""
    return [shown(n, branch, branch) for n in range(newest, newest - count, -1)]


def test_a_new_client() -> None:
    assert check(ME, None, []) == Checked(None)
    assert ancestors_wanted(None, None) == 0


def test_first_seen_is_believed() -> None:
    assert check(ME, None, [shown(7)]) == Checked(link(7))
    assert ancestors_wanted(None, shown(7)) == 1


def test_the_same_as_before() -> None:
    assert check(ME, link(7), [shown(7)]) == Checked(link(7))
    assert ancestors_wanted(link(7), shown(7)) == 1


@given(seen=st.integers(1, 20), more=st.integers(1, 20))
def test_longer_history(seen: int, more: int) -> None:
    newest = shown(seen + more)
    wanted = ancestors_wanted(link(seen), newest)
    assert wanted == more
    assert check(ME, link(seen), chain(seen + more, wanted)) == Checked(link(seen + more))


@given(seen=st.integers(1, 20), more=st.integers(2, 20), data=st.data())
def test_what_cannot_be_looked_at_is_counted(seen: int, more: int, data: st.DataObject) -> None:
    """Someone forgot generations in between, or the server hides them."""
    count = data.draw(st.integers(1, more - 1))
    checked = check(ME, link(seen), chain(seen + more, count))
    assert checked == Checked(link(seen + more), unseen=more - count)


@pytest.mark.parametrize(
    ("remembered", "server"),
    [
        (link(7), []),
        (link(7), [shown(6)]),
        (link(7), [shown(1)]),
        (link(7), [shown(7, branch=1)]),
        (link(7), [shown(8, branch=1, before=1)]),
        (link(7), chain(9, 2, branch=1)),
        (link(7), chain(9, 3, branch=1)),
        (link(7), [shown(9), shown(8, branch=1)]),
        (link(7), [shown(9), shown(7)]),
        (link(7), [shown(8), shown(8)]),
        (link(7), [shown(8, client=OTHER)]),
        (None, [shown(8, client=OTHER)]),
        (link(7), [Shown(ME, link(8), None)]),
        (None, [Shown(ME, link(1), (link(0).generation, link(0).manifest_id))]),
        (evolve(link(7), manifest_id=link(3).manifest_id), [shown(7)]),
        (link(7), [Shown(ME, link(8), (link(7).generation, link(3).manifest_id))]),
        (link(6), [Shown(ME, link(9), (link(7).generation, link(7).manifest_id)), shown(7)]),
    ],
    ids=[
        "gone", "older", "much-older", "forked-now", "forked-before", "forked-long-ago",
        "forked-longer-ago", "chain-broken", "one-left-out", "twice", "another-client",
        "another-client-first", "no-parent", "parent-of-the-first", "another-manifest-now",
        "another-manifest-before", "a-number-left-out",
    ],
)  # fmt: skip
def test_broken_histories(remembered: Link | None, server: list[Shown]) -> None:
    with pytest.raises(HistoryBroken) as caught:
        check(ME, remembered, server)
    assert "\n" not in str(caught.value)


# The file


def test_remembering(tmp_path: Path) -> None:
    path = state_file(tmp_path, "f" * 16)
    assert load(path) == Remembered()
    remember(path, ME, link(3))
    remember(path, OTHER, link(9))
    remember(path, ME, link(4))
    assert load(path) == Remembered({ME: link(4), OTHER: link(9)})
    assert path == tmp_path / "obnam" / f"{'f' * 16}.json"


def test_an_older_one_does_not_replace_a_newer_one(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    remember(path, ME, link(5))
    remember(path, ME, link(4))
    assert load(path).newest[ME] == link(5)


def test_a_crash_while_writing_leaves_the_old_state(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    remember(path, ME, link(5))
    path.with_suffix(".new").write_bytes(b'{"format": 1, "cli')
    assert load(path).newest[ME] == link(5)
    remember(path, ME, link(6))
    assert load(path).newest[ME] == link(6)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"junk", b"[]", b"{}", b'{"format": 2, "clients": {}}',
        b'{"format": 1, "clients": {"me": [0, "", ""]}}',
        b'{"format": 1, "clients": {"me": [true, "", ""]}}',
        b'{"format": 1, "clients": {"me": 3}}', b'{"format": 1, "clients": []}', b"[" * 100_000,
    ],
    ids=range(10),
)  # fmt: skip
def test_a_damaged_file_is_not_forgotten(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"state\.json: is damaged"):
        load(path)
    with pytest.raises(ConfigurationError):
        remember(path, ME, link(1))
    assert path.read_bytes() == content


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        remember(tmp_path / "file" / "state.json", ME, link(1))
