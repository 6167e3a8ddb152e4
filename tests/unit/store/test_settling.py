"""What administrators ask for: alarms, missed backups, sizes as people write them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obnam.errors import NotFound
from obnam.model.ids import ClientName, RepositoryName
from obnam_server.store import alarms
from obnam_server.store.quotas import parse_size
from obnam_server.store.store import Store
from tests.support.stored import ALICE, BOB, HOME, START_NS, Clock, back_up, generation_id

NONE = RepositoryName("none")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "data", Clock())
    back_up(store.create_repository(HOME), ALICE, "one", "ab")
    store.clients.invite(ALICE, HOME, ["backup"], 2 * START_NS)
    yield store
    store.close()


def test_an_alarm_is_acknowledged_once(store: Store) -> None:
    assert alarms.raised(store).alarms == []
    home = store.repository(HOME)
    for client in (BOB, ALICE):
        home.change(home.decisions.alarm, client, generation_id("one"), "odd")
    first, second = alarms.raised(store).alarms
    assert (first.repository, first.client, second.client) == (HOME, ALICE, BOB)
    assert alarms.acknowledge(store, HOME, ALICE) == first.alarm
    assert alarms.raised(store).alarms == [second]
    with pytest.raises(NotFound, match="alarm of client alice"):
        alarms.acknowledge(store, HOME, ALICE)
    with pytest.raises(NotFound, match="repository none"):
        alarms.acknowledge(store, NONE, ALICE)
    assert store.repositories() == [HOME]


def test_when_a_backup_is_missed(store: Store) -> None:
    alarms.set_alert_after(store, HOME, None, 100)
    alarms.set_alert_after(store, HOME, ALICE, 50)
    assert store.settings.alert_after_s(HOME) == {None: 100, ALICE: 50}
    with pytest.raises(NotFound, match="client carol"):
        alarms.set_alert_after(store, HOME, ClientName("carol"), 5)
    with pytest.raises(NotFound, match="repository none"):
        alarms.set_alert_after(store, NONE, None, 5)
    with pytest.raises(ValueError, match="above 0"):
        alarms.set_alert_after(store, HOME, ALICE, 0)
    assert store.settings.alert_after_s(HOME) == {None: 100, ALICE: 50}
    alarms.set_alert_after(store, HOME, ALICE, None)
    assert store.settings.alert_after_s(HOME) == {None: 100}


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("500GB", 500 * 10**9),
        ("500 gb", 500 * 10**9),
        ("1.5TiB", 3 << 39),
        ("0.25 kB", 250),
        (" 7 B ", 7),
        ("2.000001MB", 2_000_001),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "0", "0.0001", "-1", "1e3", "GB", "5 XB", "1,5GB", "9000000000TB", "٣", "1G"]
)
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


@given(st.text(max_size=20))
def test_any_text_is_a_size_or_refused(text: str) -> None:
    try:
        size = parse_size(text)
    except ValueError:
        return
    assert 0 < size < 1 << 63
