"""What an unusual generation leads to: an alarm, one event, and everything is kept."""

import json

from obnam.model.ids import ClientName, GenerationId, RepositoryName
from obnam_server.monitoring.event_kinds import Kind
from obnam_server.monitoring.events import Event
from tests.support.raw_backup import backed_up, begin, commit, commit_of
from tests.support.server_in_memory import ServerInMemory

HOME, LAPTOP = RepositoryName("home"), ClientName("laptop")


def told(server: ServerInMemory) -> list[Event]:
    return [event for event in server.announced if event.kind is Kind.ANOMALY]


def back_up(
    server: ServerInMemory, token: str, number: int, chunks: range, previous: GenerationId | None
) -> GenerationId:
    server.advance(24 * 3600)
    return backed_up(server.connect(), token, number, *chunks, previous=previous).generation


def test_everything_encrypted_overnight(server: ServerInMemory) -> None:
    token = server.token("laptop", "home")
    latest: GenerationId | None = None
    for number in range(1, 11):
        latest = back_up(server, token, number, range(number, number + 100), latest)
    assert told(server) == []
    latest = back_up(server, token, 11, range(1000, 1100), latest)
    (event,) = told(server)
    assert (event.repository, event.client, event.generation) == (HOME, LAPTOP, latest)
    assert event.text.startswith("it replaces 100% of the chunks there were")
    register = server.store.repository(HOME).decisions.register()
    assert register.alarms[LAPTOP].generation == latest


def test_a_commit_that_is_repeated_is_told_once(server: ServerInMemory) -> None:
    token = server.token("laptop", "home")
    latest: GenerationId | None = None
    for number in range(1, 11):
        latest = back_up(server, token, number, range(number, number + 100), latest)
    previous = latest
    back_up(server, token, 11, range(1000, 1100), previous)
    wire = server.connect()
    again = commit_of(11, *range(1000, 1100), previous=previous)
    assert commit(wire, token, begin(wire, token), again).status == 201
    assert len(told(server)) == 1
    assert server.events.counts[Kind.ANOMALY] == 1


def test_a_new_alarm_after_the_first_was_acknowledged_is_told(server: ServerInMemory) -> None:
    token = server.token("laptop", "home")
    latest: GenerationId | None = None
    for number in range(1, 11):
        latest = back_up(server, token, number, range(number, number + 100), latest)
    latest = back_up(server, token, 11, range(1000, 1100), latest)
    home = server.store.repository(HOME)
    home.change(home.decisions.acknowledge, LAPTOP)
    wire = server.connect()
    for number in range(12, 12 + 30):
        latest = backed_up(wire, token, number, *range(1000, 1100), previous=latest).generation
    assert [event.generation for event in told(server)] != []
    before = len(told(server))
    home.change(home.decisions.acknowledge, LAPTOP)
    backed_up(wire, token, 99, *range(3000, 3100), previous=latest)
    assert len(told(server)) == before + 1


def test_a_commit_whose_client_goes_away_is_told_all_the_same(server: ServerInMemory) -> None:
    token, wire = server.token("laptop", "home"), server.connect()
    session = begin(wire, token)
    body = json.dumps(commit_of(1).to_json()).encode()
    head = wire.head("POST", "/v1/generations", body, token=token, session=session)
    wire.channel.dataReceived(head)
    server.work._queue.popleft()()  # let it in, and no more
    wire.lose()
    assert [event.kind for event in server.announced] == [Kind.COMMIT]
