"""What the owner does for its workers, request by request, and what it lets go of again."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from attrs import define
from twisted.internet.address import UNIXAddress
from twisted.internet.testing import StringTransport

from obnam.model.ids import RepositoryName, SessionId
from obnam.wire.idlists import pack_ids
from obnam.wire.limits import UPLOAD_BODY_MAX
from obnam_server.store import quotas
from obnam_server.store.errors import DamagedSegment, StoreFailed
from obnam_server.store.segments.fetch import Wanted
from obnam_server.store.segments.received import ReceivedFrames
from obnam_server.workers.carrying import WrittenBody, frames_of
from obnam_server.workers.desk import Desk
from obnam_server.workers.desk_site import SOURCE_MAX, DeskSite
from obnam_server.workers.messages import (
    BadList,
    pack_received,
    pack_wanted,
    unpack_received,
    unpack_wanted,
)
from tests.support.guard import FlushLoggedErrors
from tests.support.raw_backup import backed_up, begin, chunk_id, frames, problem, store
from tests.support.server_in_memory import RawAnswer, ServerInMemory, Wire

HOME = RepositoryName("home")
BODY = frames(1, 2)


@define(eq=False)
class Scene:
    """A server with a desk, a client, and a session of it."""

    server: ServerInMemory
    site: DeskSite
    token: str
    session: SessionId
    data: Path

    def line(self, source: str = "192.0.2.7") -> Wire:
        """A worker's connection for a client from ``source``."""
        wire = self.unspoken()
        wire.send(source.encode("ascii") + b"\r\n")
        return wire

    def unspoken(self) -> Wire:
        peer: Any = UNIXAddress(None)
        channel: Any = cast(Any, self.site).buildProtocol(peer)
        transport = cast(Any, StringTransport)(peerAddress=peer)
        channel.makeConnection(transport)
        return Wire(channel, transport, self.server)

    def ask(self, line: Wire, method: str, path: str, body: bytes | None = None) -> RawAnswer:
        return line.request(method, path, body, token=self.token, session=self.session)

    def begin_upload(self, line: Wire, length: int = len(BODY)) -> RawAnswer:
        return line.request(
            "POST", "/worker/uploads", None, token=self.token, Obnam_Body_Length=str(length)
        )

    def written(self, line: Wire, body: bytes = BODY) -> ReceivedFrames:
        """An upload that is begun, and whose body is in the file."""
        answer = self.begin_upload(line, len(body))
        assert answer.status == 201
        target = WrittenBody(Path(json.loads(answer.body)["path"]))
        target.write([body[:50], body[50:]])
        target.finish()
        return target.received

    def end_upload(self, line: Wire, received: ReceivedFrames) -> RawAnswer:
        return self.ask(line, "PUT", "/worker/uploads", pack_received(received))

    def fetch(self, line: Wire, *numbers: int) -> RawAnswer:
        ids = pack_ids([chunk_id(n) for n in numbers])
        return self.ask(line, "POST", "/worker/fetch", ids)

    def read(self, answer: RawAnswer, line: Wire) -> bytes:
        """What a worker sends for an answer to a fetch."""
        name = RepositoryName(answer.headers["obnam-repository"])

        def moved(wanted: Any) -> list[Wanted]:
            again = self.ask(line, "POST", "/worker/moved", pack_wanted(wanted))
            return unpack_wanted(again.body)

        return b"".join(frames_of(self.data, name, unpack_wanted(answer.body), moved))

    def done(self, line: Wire, status: int = 200, sent: int = 0) -> RawAnswer:
        body = json.dumps({"status": status, "sent": sent}).encode("ascii")
        return self.ask(line, "POST", "/worker/done", body)

    @property
    def nothing_is_held(self) -> bool:
        """No turn, no room, and no file."""
        services = self.server.site.services
        going = len(services.queues.uploads) + len(services.queues.answers)
        incoming = self.data / "repositories" / HOME / "incoming"
        reserved = len(self.server.store.repository(HOME).reservations)
        return not going and not reserved and not list(incoming.iterdir())

    def counted(self) -> dict[str, int]:
        counters = self.server.site.services.counters
        return {
            f"{route} {status}": sum(found.buckets)
            for (route, status), found in counters.durations.items()
            if "chunks" in route or "worker" in route
        }


@pytest.fixture
def scene(server: ServerInMemory, tmp_path: Path) -> Iterator[Scene]:
    token = server.token("laptop", HOME)
    services = server.site.services
    desk = Desk(services.work, services.counters, services.clock)
    site = DeskSite(cast(Any, server.site).resource, desk, services, server.clock)
    session = begin(server.connect(), token)
    yield Scene(server, site, token, session, tmp_path / "data")
    for channel in list(site.channels):
        channel.connectionLost()
    server.work.do_all()
    assert not site.channels


def test_what_a_worker_wrote_is_stored(scene: Scene) -> None:
    line = scene.line()
    received = scene.written(line)
    assert not scene.nothing_is_held
    assert scene.end_upload(line, received).status == 204
    assert scene.nothing_is_held
    answer = scene.fetch(line, 1, 7, 2)
    assert scene.read(answer, line) == frames(1) + chunk_id(7) + bytes(4) + frames(2)
    assert scene.done(line, sent=77).status == 204
    assert scene.nothing_is_held
    counters = scene.server.site.services.counters
    assert (counters.received_bytes, counters.sent_bytes) == (len(BODY), 77)
    assert scene.counted() == {"POST /v1/chunks 204": 1, "POST /v1/chunks/fetch 200": 1}


def test_a_client_speaks_through_its_line_as_it_would_itself(scene: Scene) -> None:
    line = scene.line()
    backed_up(line, scene.token, 1, 1, 2)
    assert line.request("GET", "/v1/chunks/" + chunk_id(1).hex(), token=scene.token).status == 200


def test_clients_cannot_go_to_the_desk(scene: Scene) -> None:
    """Not from outside, whatever they know."""
    for method, path in (
        ("POST", "/worker/uploads"),
        ("PUT", "/worker/uploads"),
        ("POST", "/worker/fetch"),
        ("POST", "/worker/moved"),
        ("POST", "/worker/done"),
    ):
        assert scene.ask(scene.server.connect(), method, path, b"").status == 404


@pytest.mark.parametrize("first_line", [b"", b"192.0.2.7"])
def test_limits_go_by_where_the_client_comes_from(scene: Scene, first_line: bytes) -> None:
    lines = [scene.unspoken() for _ in range(11)]
    for line in lines:
        for byte in first_line + b"\r\n":
            line.send(bytes([byte]))
    statuses = [line.request("GET", "/v1/repository", token="wrong").status for line in lines]
    assert statuses == [401] * 10 + [429 if first_line else 401]


def test_a_first_line_that_does_not_end(scene: Scene) -> None:
    line = scene.unspoken()
    line.send(b"1" * (SOURCE_MAX + 1))
    assert line.transport.disconnected or line.transport.disconnecting


def test_what_is_held_goes_with_the_connection(scene: Scene) -> None:
    line = scene.line()
    scene.written(line)
    assert len(scene.server.site.services.queues.uploads) == 1
    line.lose()
    assert scene.nothing_is_held


def test_and_with_whatever_else_is_asked(scene: Scene) -> None:
    line = scene.line()
    received = scene.written(line)
    assert line.request("GET", "/health").status == 200
    assert scene.nothing_is_held
    assert scene.end_upload(line, received).status == 404


def test_an_upload_that_failed_in_the_worker(scene: Scene) -> None:
    line = scene.line()
    scene.written(line)
    assert scene.done(line, status=507).status == 204
    assert scene.nothing_is_held
    assert scene.counted() == {"POST /v1/chunks 507": 1}


def test_a_client_that_goes_while_its_file_is_begun(scene: Scene) -> None:
    line = scene.line()
    head = line.head("POST", "/worker/uploads", token=scene.token, Obnam_Body_Length=str(len(BODY)))
    line.channel.dataReceived(head)
    line.lose()
    assert scene.nothing_is_held


def test_a_revoked_token_ends_what_it_began(scene: Scene) -> None:
    line = scene.line()
    received = scene.written(line)
    scene.server.store.clients.revoke(cast(Any, "laptop"))
    assert problem(scene.end_upload(line, received)) == "unauthenticated"
    assert scene.nothing_is_held


def test_a_file_that_is_not_what_the_worker_says(
    scene: Scene, flush_logged_errors: FlushLoggedErrors
) -> None:
    """Nothing of it is stored: what was not written cannot be read."""
    line = scene.line()
    received = scene.written(line)
    longer = ReceivedFrames.told(received.found, received.body_end + 1)
    assert scene.end_upload(line, longer).status == 500
    assert len(flush_logged_errors(StoreFailed)) == 1
    assert scene.nothing_is_held
    assert scene.server.store.repository(HOME).locate([chunk_id(1)]) == [None]


def test_a_file_that_was_cut_off(scene: Scene, flush_logged_errors: FlushLoggedErrors) -> None:
    line = scene.line()
    received = scene.written(line)
    for path in (scene.data / "repositories" / HOME / "incoming").iterdir():
        os.truncate(path, 40)
    assert scene.end_upload(line, received).status == 500
    assert len(flush_logged_errors(StoreFailed)) == 1
    assert scene.nothing_is_held


def test_what_is_no_list_of_frames(scene: Scene, flush_logged_errors: FlushLoggedErrors) -> None:
    line = scene.line()
    scene.written(line)
    assert scene.ask(line, "PUT", "/worker/uploads", b"12345678901").status == 500
    assert len(flush_logged_errors(BadList)) == 1
    assert scene.nothing_is_held


def test_lengths_and_quotas_are_looked_at_before_the_body(scene: Scene) -> None:
    line = scene.line()
    assert problem(scene.begin_upload(line, UPLOAD_BODY_MAX + 1)) == "too-large"
    unsaid = line.request("POST", "/worker/uploads", token=scene.token)
    assert problem(unsaid) == "length-required"
    used = scene.server.store.repository(HOME).used_bytes()
    quotas.set_quota(scene.server.store, HOME, used + len(BODY))
    assert problem(scene.begin_upload(line, len(BODY) + 1)) == "over-quota"
    assert scene.nothing_is_held
    received = scene.written(line)
    other = scene.line()
    assert problem(scene.begin_upload(other, 1)) == "over-quota"
    assert scene.end_upload(line, received).status == 204


def test_chunks_that_moved_are_found_where_they_went(scene: Scene) -> None:
    line = scene.line()
    store(line, scene.token, scene.session, 1)
    store(line, scene.token, scene.session, 2)
    answer = scene.fetch(line, 1, 2)
    places = unpack_wanted(answer.body)
    ((first, place), second) = places
    assert place is not None
    # As compaction does it: the same bytes, elsewhere.
    astray = [(first, type(place)(cast(Any, place.segment + 99), place.offset, place.length))]
    moved = scene.ask(line, "POST", "/worker/moved", pack_wanted([*astray, second]))
    assert unpack_wanted(moved.body) == places
    assert len(scene.server.site.services.queues.answers) == 1
    scene.done(line)
    assert problem(scene.ask(line, "POST", "/worker/moved", b"")) == "not-found"


def test_a_damaged_chunk_is_absent_from_then_on(scene: Scene) -> None:
    line = scene.line()
    store(line, scene.token, scene.session, 1)
    answer = scene.fetch(line, 1)
    for path in scene.data.glob("repositories/*/segments/*/*"):
        os.truncate(path, 60)
    with pytest.raises(DamagedSegment):
        scene.read(answer, line)
    assert unpack_wanted(scene.fetch(line, 1).body) == [(chunk_id(1), None)]


def test_lists_say_what_they_said() -> None:
    received = ReceivedFrames()
    received.feed([BODY])
    received.whole()
    again = unpack_received(pack_received(received))
    assert (again.found, again.body_end) == (received.found, received.body_end)
    assert again.body_bytes == len(BODY)
