"""The watch over repositories: missed backups, damage, failed upkeep; and what metrics show."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from attrs import define, field
from prometheus_client.parser import text_string_to_metric_families

from obnam.model.ids import ClientName, RepositoryName
from obnam_server.monitoring.event_kinds import Kind
from obnam_server.monitoring.gauges import Gauges, UpkeepFigures
from obnam_server.monitoring.watch import EVERY_S, FIRST_S, Watch
from obnam_server.store import quotas
from obnam_server.store.errors import DamagedIndex, DamagedSegment
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.store import Store
from obnam_server.upkeep.compact import Compacted
from obnam_server.upkeep.rounds import TaskState
from tests.support.raw_backup import backed_up, begin, chunk_id, commit_of
from tests.support.server_in_memory import ServerInMemory

HOME, LAPTOP = RepositoryName("home"), ClientName("laptop")
DAY_S = 24 * 3600


@define(eq=False)
class Scene:
    """A server that is watched."""

    server: ServerInMemory
    states: dict[tuple[RepositoryName, str], TaskState] = field(factory=dict)
    upkeep: UpkeepFigures = field(factory=UpkeepFigures)
    watch: Watch = field(init=False)

    def __attrs_post_init__(self) -> None:
        server = self.server
        self.watch = Watch(
            server.store, server.work, server.events, server.clock, self.now_ns, self.states
        )
        gauges = Gauges(self.watch.figures, self.upkeep, self.states, server.events)
        server.site.services.counters.add_source(gauges)
        self.watch.start()

    def now_ns(self) -> int:
        return 3600 * 10**9 + round(self.server.clock.seconds() * 1e9)

    def advance(self, seconds: float) -> None:
        """Time goes by, minute for minute."""
        for _ in range(round(seconds / EVERY_S)):
            self.server.advance(EVERY_S)

    def heard(self) -> list[tuple[Kind, str | None]]:
        """Events but commits, with their clients."""
        found: list[tuple[Kind, str | None]] = [
            (e.kind, e.client) for e in self.server.announced if e.kind is not Kind.COMMIT
        ]
        self.server.announced.clear()
        return found

    def metrics(self, only: RepositoryName | None = None) -> Mapping[str, float]:
        """All samples, by name and labels."""
        page = self.server.site.services.counters.exposition(only).decode()
        return {
            f"{sample.name}{dict(sorted(sample.labels.items())) or ''}": sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }


@pytest.fixture
def scene(server: ServerInMemory) -> Iterator[Scene]:
    scene = Scene(server)
    yield scene
    scene.watch.stop()


def test_a_missed_backup(scene: Scene) -> None:
    server = scene.server
    token = server.token("laptop", "home")
    server.token("other", "home")
    backed_up(server.connect(), token, 1, 1, 2)
    scene.advance(2 * DAY_S)
    assert scene.heard() == []  # nothing was set
    server.store.settings.set_alert_after_s(HOME, None, 3 * DAY_S)
    scene.advance(DAY_S - 120)
    assert scene.heard() == []
    scene.advance(240)
    # One has made a backup once, the other never, since it was invited.
    assert scene.heard() == [(Kind.MISSED_BACKUP, "laptop"), (Kind.MISSED_BACKUP, "other")]
    scene.advance(DAY_S - 600)
    assert scene.heard() == []
    scene.advance(900)
    assert len(scene.heard()) == 2
    server.store.settings.set_alert_after_s(HOME, ClientName("other"), 100 * DAY_S)
    backed_up(server.connect(), token, 2, 1, 2, previous=commit_of(1).generation)
    scene.advance(2 * DAY_S)
    assert scene.heard() == []


def test_a_revoked_client_misses_nothing(scene: Scene) -> None:
    server = scene.server
    backed_up(server.connect(), server.token("laptop", "home"), 1, 1)
    server.store.settings.set_alert_after_s(HOME, None, 60)
    server.store.clients.revoke(LAPTOP)
    scene.advance(DAY_S)
    assert scene.heard() == []


def test_damage_is_told_when_there_is_more(scene: Scene, tmp_path: Path) -> None:
    server = scene.server
    backed_up(server.connect(), server.token("laptop", "home"), 1, 1, 2)
    scene.advance(120)
    assert scene.heard() == []
    for segment in tmp_path.rglob("segments/*/*"):
        segment.write_bytes(segment.read_bytes()[:40])
    for _ in range(2):
        with suppress(DamagedSegment):
            repository = server.store.repository(HOME)
            list(repository.frames(repository.wanted([chunk_id(1)])))
        scene.advance(120)
    assert scene.heard() == [(Kind.DAMAGE, None)]
    assert scene.metrics()["obnam_server_repository_damaged_chunks{'repository': 'home'}"] == 1


def test_failed_upkeep_is_told_once_for_each_failure(scene: Scene) -> None:
    scene.states[HOME, "scrub"] = TaskState(failed_ns=5, problem="the disk is full")
    scene.advance(120)
    assert [e.text for e in scene.server.announced] == ["scrub: the disk is full"]
    scene.states[HOME, "scrub"] = TaskState(failed_ns=6, problem="still")
    scene.advance(120)
    assert scene.heard() == [(Kind.UPKEEP_FAILED, None)] * 2
    scene.states[HOME, "scrub"] = TaskState(done_ns=7, failed_ns=6)
    scene.advance(120)
    assert scene.heard() == []


def test_the_metrics_of_a_repository(scene: Scene) -> None:
    server = scene.server
    token, wire = server.token("laptop", "home"), server.connect()
    backed_up(wire, token, 1, 1, 2)
    begin(wire, token)
    backed_up(wire, server.token("other"), 1, 1)
    quotas.set_quota(server.store, HOME, 10**9)
    used = server.store.repository(HOME).used_bytes()
    scene.upkeep.compactions[HOME] = Compacted(4, 2, 1, dead_bytes=used // 2, freed_bytes=used // 4)
    scene.upkeep.progress[HOME, "scrub"] = 0.5
    scene.states[HOME, "scrub"] = TaskState(done_ns=7 * 10**9)
    server.advance(FIRST_S)
    found = scene.metrics()
    home = "{'repository': 'home'}"
    laptop = "{'client': 'laptop', 'repository': 'home'}"
    scrub = "{'repository': 'home', 'task': 'scrub'}"
    compaction = "{'repository': 'home', 'task': 'compaction'}"
    assert {name: found[name] for name in found if "home" in name} == {
        f"obnam_server_repository_stored_bytes{home}": used,
        f"obnam_server_repository_quota_bytes{home}": 10**9,
        f"obnam_server_repository_generations{home}": 1,
        f"obnam_server_repository_trash_generations{home}": 0,
        f"obnam_server_repository_damaged_chunks{home}": 0,
        f"obnam_server_repository_sessions{home}": 1,
        f"obnam_server_repository_dead_share{home}": pytest.approx(0.25, abs=0.001),
        f"obnam_server_client_last_good_generation_timestamp_seconds{laptop}": 3600,
        f"obnam_server_client_alarm{laptop}": 0,
        f"obnam_server_client_backup_missed{laptop}": 0,
        f"obnam_server_upkeep_progress{scrub}": 0.5,
        f"obnam_server_upkeep_progress{compaction}": 0.75,
        f"obnam_server_upkeep_last_success_timestamp_seconds{scrub}": 7,
        f"obnam_server_upkeep_failed{scrub}": 0,
        f"obnam_server_upkeep_waits_until_timestamp_seconds{scrub}": 0,
    }
    assert "obnam_server_repository_quota_bytes{'repository': 'other'}" not in found
    assert found["obnam_server_events_total{'kind': 'commit'}"] == 2
    assert found["obnam_server_connections"] == 0  # of a server that was put together by hand
    route = "{'le': '0.005', 'route': 'POST /v1/generations', 'status': '201'}"
    assert found[f"obnam_server_request_duration_seconds_bucket{route}"] == 2


def test_a_token_sees_no_other_repository(scene: Scene) -> None:
    server = scene.server
    manager = server.token("manager", "home", ("manage",))
    wire = server.connect()
    backed_up(wire, server.token("laptop", "home"), 1, 1)
    backed_up(wire, server.token("other"), 1, 1)
    server.advance(FIRST_S)
    page = wire.request("GET", "/metrics", token=manager).body.decode()
    assert 'repository="home"' in page
    assert "other" not in page


def test_what_is_not_there_makes_one_series(scene: Scene) -> None:
    for number in range(5):
        assert scene.server.connect().request("GET", f"/v1/{number}").status == 404
    of_nothing = "{'route': 'none', 'status': '404'}"
    found = scene.metrics()
    assert found[f"obnam_server_request_duration_seconds_count{of_nothing}"] == 5
    assert not [name for name in found if "/v1/1" in name]


def test_a_repository_that_is_gone_is_no_longer_shown(scene: Scene, tmp_path: Path) -> None:
    server = scene.server
    backed_up(server.connect(), server.token("laptop", "home"), 1, 1)
    backed_up(server.connect(), server.token("other"), 1, 1)
    server.advance(FIRST_S)
    assert set(scene.watch.figures) == {"home", "other"}
    (tmp_path / "data" / "repositories" / "other").rename(tmp_path / "away")
    scene.advance(120)
    assert set(scene.watch.figures) == {"home"}


def test_the_number_of_series_is_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("obnam_server.monitoring.gauges.REPOSITORIES_MAX", 2)
    monkeypatch.setattr("obnam_server.monitoring.gauges.CLIENTS_MAX", 1)
    for name in ("a", "b", "c"):
        backed_up(scene.server.connect(), scene.server.token(name), 1, 1)
    scene.server.advance(FIRST_S)
    found = scene.metrics()
    assert len([name for name in found if "stored_bytes" in name]) == 2
    assert len([name for name in found if "client_alarm" in name]) == 1
    assert found["obnam_server_not_shown"] == 2


def test_a_repository_that_cannot_be_opened_is_not_shown_as_well(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the others are looked at all the same."""
    server = scene.server
    for name in ("home", "other"):
        backed_up(server.connect(), server.token(name), 1, 1)
    server.advance(FIRST_S)
    assert set(scene.watch.figures) == {"home", "other"}
    whole = Store.repository

    def fails(store: Store, name: RepositoryName) -> RepositoryStore:
        if name == HOME:
            raise DamagedIndex("index.sqlite", "is not a database")
        return whole(store, name)

    monkeypatch.setattr(Store, "repository", fails)
    scene.advance(120)
    assert set(scene.watch.figures) == {"other"}
    monkeypatch.undo()
    scene.advance(120)
    assert set(scene.watch.figures) == {"home", "other"}
