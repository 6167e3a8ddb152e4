"""Quotas: an upload that would exceed one is refused from its headers, and nothing else is."""

import json
from pathlib import Path

import pytest
from attrs import evolve

from obnam.errors import NotFound
from obnam.model.ids import ClientName, RepositoryName
from obnam.wire.limits import MIB
from obnam.wire.messages import RepositoryDescription
from obnam_server.monitoring.event_kinds import Kind
from obnam_server.store import quotas
from obnam_server.store.errors import QuotaBelowUse
from obnam_server.store.quotas import Quota
from tests.support.raw_backup import (
    backed_up,
    begin,
    chunk_id,
    commit,
    commit_of,
    frames,
    problem,
    store,
)
from tests.support.server_in_memory import ServerInMemory, Wire

HOME = RepositoryName("home")
BODY = len(frames(1))


def used(server: ServerInMemory) -> int:
    return server.store.repository(HOME).used_bytes()


def kinds(server: ServerInMemory) -> list[Kind]:
    return [event.kind for event in server.announced if event.kind is not Kind.COMMIT]


@pytest.fixture
def token(server: ServerInMemory) -> str:
    """Of a client that has a generation."""
    token = server.token("laptop", "home")
    backed_up(server.connect(), token, 1, 1, 2, 3)
    return token


def segments(folder: Path) -> list[Path]:
    found = [*folder.rglob("segments/*/*"), *folder.rglob("incoming/*")]
    return sorted(path for path in found if path.is_file())


def test_an_upload_beyond_it_is_refused_before_its_body(
    server: ServerInMemory, token: str, tmp_path: Path
) -> None:
    quotas.set_quota(server.store, HOME, used(server) + BODY - 1)
    before, wire = segments(tmp_path), server.connect()
    session = begin(wire, token)
    head = wire.head("POST", "/v1/chunks", frames(4), token=token, session=session)
    wire.send(head[: -len(frames(4))])
    answer = wire.answer()
    assert problem(answer) == "over-quota"
    document = json.loads(answer.body)
    assert (document["used"], document["quota"]) == (used(server), used(server) + BODY - 1)
    assert wire.closed
    assert segments(tmp_path) == before
    assert kinds(server) == [Kind.QUOTA_FULL]


def test_one_that_just_fits_is_taken(server: ServerInMemory, token: str) -> None:
    quotas.set_quota(server.store, HOME, used(server) + BODY)
    wire = server.connect()
    session = begin(wire, token)
    assert store(wire, token, session, 4).status == 204
    assert problem(store(wire, token, session, 5)) == "over-quota"


def test_what_is_being_received_counts(server: ServerInMemory, token: str) -> None:
    quotas.set_quota(server.store, HOME, used(server) + 2 * BODY)
    wires = [server.connect() for _ in range(3)]
    session = begin(wires[0], token)
    heads = [
        wire.head("POST", "/v1/chunks", frames(4 + n), token=token, session=session)
        for n, wire in enumerate(wires)
    ]
    for wire, head in zip(wires[:2], heads[:2], strict=True):
        wire.send(head[:-1])
        assert wire.nothing()
    wires[2].send(heads[2])
    assert problem(wires[2].answer()) == "over-quota"
    wires[0].lose()  # and so there is room again
    again = server.connect()
    again.send(heads[2])
    assert again.answer().status == 204
    wires[1].send(heads[1][-1:])
    assert wires[1].answer().status == 204
    assert len(server.store.repository(HOME).reservations) == 0


def test_a_client_that_goes_away_leaves_no_room_taken(server: ServerInMemory, token: str) -> None:
    quotas.set_quota(server.store, HOME, used(server) + BODY)
    wire = server.connect()
    session = begin(wire, token)
    for _ in range(3):
        wire = server.connect()
        head = wire.head("POST", "/v1/chunks", frames(4), token=token, session=session)
        wire.channel.dataReceived(head[:-1])  # nobody has looked yet
        wire.lose()
        wire = server.connect()
        wire.send(head[:-1])
        wire.lose()
    assert len(server.store.repository(HOME).reservations) == 0
    assert store(server.connect(), token, session, 4).status == 204


def test_a_body_that_comes_whole_before_it_is_refused(server: ServerInMemory, token: str) -> None:
    quotas.set_quota(server.store, HOME, 1, force=True)
    wire = server.connect()
    session = begin(wire, token)
    head = wire.head("POST", "/v1/chunks", frames(4), token=token, session=session)
    wire.channel.dataReceived(head)
    server.work.do_all()
    assert problem(wire.answer()) == "over-quota"


def test_over_the_quota_all_else_works(server: ServerInMemory, token: str) -> None:
    """Commits and keyrings are small, and a backup whose chunks are there shall be one."""
    quotas.set_quota(server.store, HOME, 1, force=True)
    wire = server.connect()
    session = begin(wire, token, commit_of(1).generation)
    what = commit_of(2, 1, 2, 3, previous=commit_of(1).generation)
    assert commit(wire, token, session, what).status == 201
    keyring = wire.request("GET", "/v1/keyring", token=token)
    body = json.dumps({"slots": []}).encode()
    put = wire.request("PUT", "/v1/keyring", body, token=token, If_Match=keyring.headers["etag"])
    assert put.status == 200
    answer = wire.request("GET", f"/v1/chunks/{chunk_id(1).hex()}", token=token)
    assert answer.status == 200


def test_far_beyond_it_commits_are_refused_too(
    server: ServerInMemory, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever commits nothing, with a large manifest, again and again, is stopped as well."""
    monkeypatch.setattr(quotas, "COMMITS_LEAST_BYTES", 10_000)
    quotas.set_quota(server.store, HOME, used(server))
    wire, number = server.connect(), 2
    while True:
        session = begin(wire, token)
        what = commit_of(number, previous=commit_of(number - 1).generation)
        answer = commit(wire, token, session, evolve(what, manifest=bytes(1000)))
        if answer.status != 201:
            break
        number += 1
    assert (answer.status, problem(answer)) == (507, "over-quota")
    document = json.loads(answer.body)
    assert 10_000 < document["used"] - document["quota"] < 12_000
    assert server.store.repository(HOME).generation_count() == number - 1
    assert number > 5
    # With a larger quota the same session goes on.
    quotas.set_quota(server.store, HOME, None)
    assert commit(wire, token, session, what).status == 201


def test_how_far_beyond_is_a_share_of_it() -> None:
    large = 64 * 1024 * MIB
    assert not quotas.Quota(large + large // 16, large).is_beyond
    assert quotas.Quota(large + large // 16 + 1, large).is_beyond
    assert not quotas.Quota(64 * MIB, 0).is_beyond
    assert quotas.Quota(64 * MIB + 1, 0).is_beyond
    assert not quotas.Quota(large, None).is_beyond


def test_the_client_is_told(server: ServerInMemory, token: str) -> None:
    def description(wire: Wire) -> RepositoryDescription:
        answer = wire.request("GET", "/v1/repository", token=token)
        return RepositoryDescription.from_json(json.loads(answer.body))

    wire = server.connect()
    assert description(wire).quota_bytes is None
    quotas.set_quota(server.store, HOME, 10**9)
    assert description(wire).quota_bytes == 10**9


def test_other_repositories_have_their_own(server: ServerInMemory, token: str) -> None:
    quotas.set_quota(server.store, HOME, 1, force=True)
    backed_up(server.connect(), server.token("other"), 1, 1, 2)


def test_nearly_full_is_told_once_a_day(server: ServerInMemory, token: str) -> None:
    wire = server.connect()
    session = begin(wire, token)
    store(wire, token, session, *range(100, 200))
    quotas.set_quota(server.store, HOME, used(server) + 3 * BODY)
    store(wire, token, session, 4)
    store(wire, token, session, 4)
    assert kinds(server) == [Kind.QUOTA_SOFT]
    quotas.set_quota(server.store, HOME, 10**9)
    store(wire, token, session, 4)
    quotas.set_quota(server.store, HOME, used(server) + BODY)
    store(wire, token, session, 4)
    assert kinds(server) == [Kind.QUOTA_SOFT] * 2
    server.advance(25 * 3600)
    wire = server.connect()
    store(wire, token, begin(wire, token), 4)
    assert kinds(server) == [Kind.QUOTA_SOFT] * 3


def test_setting_one(server: ServerInMemory, token: str) -> None:
    full = used(server)
    assert quotas.show(server.store, HOME) == Quota(full, None)
    assert quotas.set_quota(server.store, HOME, full) == Quota(full, full)
    with pytest.raises(QuotaBelowUse) as refused:
        quotas.set_quota(server.store, HOME, full - 1)
    assert "\n" not in str(refused.value)
    assert quotas.show(server.store, HOME).quota_bytes == full
    assert quotas.set_quota(server.store, HOME, full - 1, force=True).quota_bytes == full - 1
    assert quotas.set_quota(server.store, HOME, None).quota_bytes is None
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="above 0"):
            quotas.set_quota(server.store, HOME, wrong, force=True)
    with pytest.raises(NotFound):
        quotas.set_quota(server.store, RepositoryName("none"), 10)


def test_settings_last_and_can_be_forgotten(server: ServerInMemory) -> None:
    settings, laptop = server.store.settings, ClientName("laptop")
    settings.set_quota(HOME, 10)
    settings.set_alert_after_s(HOME, None, 100)
    settings.set_alert_after_s(HOME, laptop, 50)
    settings.set_alert_after_s(HOME, laptop, 60)
    again = server.store.clients.repository_settings()
    assert again.quota(HOME) == 10
    assert again.alert_after_s(HOME) == {None: 100, laptop: 60}
    again.set_alert_after_s(HOME, None, None)
    assert settings.alert_after_s(HOME) == {laptop: 60}
    with pytest.raises(ValueError, match="above 0"):
        settings.set_alert_after_s(HOME, None, 0)
    settings.forget(HOME)
    assert settings.quota(HOME) is None
    assert settings.alert_after_s(HOME) == {}
