"""A client with a good token that means harm: its own repository is all it can spoil."""

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import pytest
from attrs import define
from hypothesis import given, settings
from hypothesis import strategies as st

from obnam.model.chunk import SetSum
from obnam.model.ids import GenerationId, RepositoryName, SessionId
from obnam.wire.frames import pack_header
from obnam.wire.idlists import pack_ids, pack_references, unpack_bits
from obnam.wire.limits import (
    FETCH_IDS_MAX,
    KEYRING_SLOTS_MAX,
    MISSING_IDS_MAX,
    REFERENCE_IDS_MAX,
    SEALED_CHUNK_MAX,
    SILENCE_S,
)
from obnam.wire.messages import Commit
from obnam_server.channel import CLOSING_S
from obnam_server.store.generations.sessions import SESSIONS_PER_CLIENT_MAX
from tests.support.raw_backup import backed_up, begin, chunk_id, commit, frames, problem, sealed
from tests.support.server_in_memory import RawAnswer, ServerInMemory, Wire
from tests.support.soak import SOAK

HOME, DEN = RepositoryName("home"), RepositoryName("den")
ALL = ("backup", "restore", "manage")


@define(eq=False)
class Scene:
    """A thief with all scopes in a repository of his own, and somebody else's repository."""

    server: ServerInMemory
    folder: Path
    thief: str
    victim: str
    victims_session: SessionId
    generation: GenerationId
    wire: Wire

    @classmethod
    def new(cls, folder: Path) -> "Scene":
        server = ServerInMemory.open(folder)
        thief, victim = server.token("thief", "den", ALL), server.token("victim", "home")
        wire = server.connect()
        receipt = backed_up(wire, victim, 7, 1, 2, 3)
        session = begin(wire, victim)
        begin(wire, thief)
        return cls(server, folder, thief, victim, session, receipt.generation, server.connect())

    def ask(self, method: str, path: str, body: bytes | None = None, **more: Any) -> RawAnswer:
        """As the thief does."""
        if self.wire.closed:
            self.wire.lose()
            self.wire = self.server.connect()
        return self.wire.request(method, path, body, token=self.thief, **more)

    def home(self) -> tuple[object, ...]:
        """All of the victim's repository: its files, and what its index says."""
        store: Any = self.server.site.services.repositories._open[HOME]
        connection: sqlite3.Connection = store._index._database.get()
        files = sorted(
            (str(path), hashlib.sha256(path.read_bytes()).hexdigest())
            for path in (self.folder / "repositories" / "home").rglob("*")
            if path.is_file() and "sqlite" not in path.name
        )
        assert files
        return files, list(connection.iterdump())


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene.new(tmp_path / "data")
    yield scene
    scene.server.close()


# Anything at all

good_frame = st.integers(50, 60).map(lambda n: frames(n))
bad_frame = st.binary(max_size=200) | st.builds(
    lambda first, length, content: bytes([first]) + bytes(32) + length.to_bytes(4, "big") + content,
    st.integers(0, 255),
    st.integers(0, 2**32 - 1) | st.sampled_from([0, 1, SEALED_CHUNK_MAX, SEALED_CHUNK_MAX + 1]),
    st.binary(max_size=100),
)
some_frames = st.lists(good_frame | bad_frame, max_size=4).map(b"".join)
some_ids = st.lists(st.integers(1, 60).map(chunk_id), max_size=5).map(pack_ids) | st.binary(
    max_size=100
)
some_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=40) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


@given(body=some_frames)
@settings(deadline=None, max_examples=25 * SOAK)
def test_fuzzed_frames(body: bytes) -> None:
    """Stored whole, or refused and nothing is left; never a mistake of the server's."""
    with TemporaryDirectory() as folder:
        scene = Scene.new(Path(folder) / "data")
        before, session = scene.home(), begin(scene.wire, scene.thief)
        den = scene.folder / "repositories" / "den"
        files = {path for path in den.rglob("*") if "sqlite" not in path.name}
        answer = scene.ask("POST", "/v1/chunks", body, session=session)
        if answer.status != 204:
            assert (answer.status, problem(answer)) == (400, "bad-request")
            assert {path for path in den.rglob("*") if "sqlite" not in path.name} == files
        assert scene.home() == before
        scene.server.close()


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, bytes, str]:
    """Method, path, body and session, with places for ids in them: right, wrong and others'."""
    identity = draw(st.sampled_from(["THEIRS", "MINE", "0" * 32, "zz", ""]))
    path = draw(
        st.sampled_from(
            [
                *("/v1/sessions", "/v1/chunks", "/v1/chunks/missing", "/v1/chunks/fetch"),
                *("/v1/generations", "/v1/keyring", "/v1/repository", "/v1/token"),
                *(f"/v1/sessions/{identity}", f"/v1/sessions/{identity}/references"),
                *(f"/v1/generations/{identity}", f"/v1/generations/{identity}/pin"),
                f"/v1/generations/{identity}/undelete",
                f"/v1/chunks/{chunk_id(1).hex()}",
            ]
        )
    )
    base = draw(st.sampled_from([None, "THEIRS", "0" * 32]))
    body = draw(
        some_frames
        | some_ids
        | some_json.map(lambda value: json.dumps(value).encode())
        | st.just(json.dumps({"base": base}).encode())
        | st.just(json.dumps({"reason": "mine now"}).encode())
        | st.just(json.dumps({"slots": []}).encode())
    )
    return (
        draw(st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE"])),
        path,
        body,
        draw(st.sampled_from(["THEIRS", "MINE", "0" * 32, "nonsense"])),
    )


@given(st.lists(requests(), min_size=1, max_size=25))
@settings(deadline=None, max_examples=25 * SOAK)
def test_whatever_is_asked(asked: list[tuple[str, str, bytes, str]]) -> None:
    """No request is too odd for an answer, and none reaches into another repository."""
    with TemporaryDirectory() as folder:
        scene = Scene.new(Path(folder) / "data")
        before, mine = scene.home(), begin(scene.wire, scene.thief)
        for method, path, body, session in asked:
            theirs = scene.generation if "generations" in path else scene.victims_session
            answer = scene.ask(
                method,
                path.replace("THEIRS", theirs).replace("MINE", mine),
                body.replace(b"THEIRS", scene.generation.encode()),
                session=session.replace("THEIRS", scene.victims_session).replace("MINE", mine),
                If_Match="anything",
            )
            assert answer.status < 500
            assert sealed(1) not in answer.body
        assert scene.home() == before
        scene.server.close()


# Replays


def test_a_commit_is_replayed(scene: Scene) -> None:
    """By its client it is the same commit; by anybody else it is another, or none."""
    wire, home = scene.server.connect(), scene.home()
    session = begin(wire, scene.thief)
    for number in (1, 2, 3):
        scene.ask("POST", "/v1/chunks", frames(number), session=session)
    body = pack_references([chunk_id(n) for n in (1, 2, 3)], [])
    scene.ask("POST", f"/v1/sessions/{session}/references", body)
    # The victim's own commit, word for word: it becomes the thief's, in his repository.
    sum_ = SetSum().add(chunk_id(n) for n in (1, 2, 3))
    copied = Commit(scene.generation, None, sum_, chunk_id(10**6), b"manifest")
    first = commit(wire, scene.thief, session, copied)
    assert first.status == 201
    for again in (session, begin(wire, scene.thief), SessionId("0" * 32)):
        assert commit(wire, scene.thief, again, copied).body == first.body
    assert scene.home() == home
    colleague = scene.server.token("colleague", "den")
    answer = commit(wire, colleague, begin(wire, colleague), copied)
    assert (answer.status, problem(answer)) == (400, "bad-request")
    listed = json.loads(scene.ask("GET", "/v1/generations").body)["generations"]
    assert [each["client"] for each in listed] == ["thief"]


def test_a_commit_that_says_something_else(scene: Scene) -> None:
    """Under the id of one that is there: refused, and the first one stays."""
    receipt = backed_up(scene.wire, scene.thief, 9, 11)
    before = scene.ask("GET", f"/v1/generations/{receipt.generation}").body
    forged = Commit(receipt.generation, None, SetSum(), chunk_id(5), b"forged")
    answer = commit(scene.wire, scene.thief, begin(scene.wire, scene.thief), forged)
    assert problem(answer) == "bad-request"
    assert scene.ask("GET", f"/v1/generations/{receipt.generation}").body == before


# Gigantic


@pytest.mark.parametrize(
    ("path", "count"),
    [
        ("/v1/chunks/missing", MISSING_IDS_MAX),
        ("/v1/chunks/fetch", FETCH_IDS_MAX),
        ("/v1/sessions/MINE/references", REFERENCE_IDS_MAX),
    ],
)
def test_gigantic_lists(scene: Scene, path: str, count: int) -> None:
    """As many ids as are allowed are fine, the same one or others; one more is not."""
    session = begin(scene.wire, scene.thief)
    path = path.replace("MINE", session)
    pack = (lambda ids: pack_references(ids, [])) if "references" in path else pack_ids
    for ids in ([chunk_id(1)] * count, [chunk_id(n) for n in range(count)]):
        assert scene.ask("POST", path, pack(ids), session=session).status in (200, 204)
    body = pack([chunk_id(n) for n in range(count + 1)])
    assert scene.ask("POST", path, body, session=session).status in (400, 413)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"slots": [' + b"{}," * KEYRING_SLOTS_MAX * 10 + b"{}]}",
        b'{"slots": "' + b"x" * 1_000_000 + b'"}',
        b'{"slots": [{"slot": "' + b"0" * 1_000_000 + b'", "label": "", "sealed": ""}]}',
        b'{"slots": [], "number": ' + b"9" * 100_000 + b"}",
        b'{"slots": [1e999999]}',
    ],
    ids=["lists", "objects", "slots", "text", "id", "number", "infinity"],
)
def test_gigantic_json(scene: Scene, body: bytes) -> None:
    answer = scene.ask("PUT", "/v1/keyring", body, If_Match="x")
    assert (answer.status, problem(answer)) == (400, "bad-request")


def test_an_answer_that_would_be_gigantic(scene: Scene) -> None:
    """A list of one large chunk, thousands of times."""
    session = begin(scene.wire, scene.thief)
    large = pack_header(chunk_id(1), 1 << 20) + bytes(1 << 20)
    assert scene.ask("POST", "/v1/chunks", large, session=session).status == 204
    answer = scene.ask("POST", "/v1/chunks/fetch", pack_ids([chunk_id(1)] * FETCH_IDS_MAX))
    assert (answer.status, problem(answer)) == (413, "too-large")


# Many sessions


def test_many_sessions(scene: Scene) -> None:
    """The client's own older ones go; nobody else's does, and what is kept is bounded."""
    colleague = scene.server.token("colleague", "den")
    theirs = begin(scene.wire, colleague)
    home = scene.home()
    sessions = []
    for _ in range(500 * SOAK):
        scene.server.advance(0.001)  # which is the oldest must be known
        sessions.append(begin(scene.wire, scene.thief))
    ids = pack_ids([chunk_id(1)])
    store: Any = scene.server.site.services.repositories._open[DEN]
    assert len(store._index.sessions(None)) == SESSIONS_PER_CLIENT_MAX + 1
    assert len(store._sessions._live) == SESSIONS_PER_CLIENT_MAX + 1
    answer = scene.ask("POST", "/v1/chunks/missing", ids, session=sessions[0])
    assert problem(answer) == "session-lost"
    for token, session in ((scene.thief, sessions[-1]), (colleague, theirs)):
        answer = scene.wire.request("POST", "/v1/chunks/missing", ids, token=token, session=session)
        assert unpack_bits(answer.body, 1) == [True]
    assert scene.home() == home


# Slow


def test_a_handshake_that_never_comes(scene: Scene, tmp_path: Path) -> None:
    """TLS or not, who says nothing is cut."""
    from twisted.internet.address import IPv4Address
    from twisted.internet.testing import StringTransport

    from obnam.transport.bulk_tls import BulkTlsFactory
    from obnam_server.config import Settings
    from obnam_server.tls import certificate_files, server_options

    folder = tmp_path / "tls"
    folder.mkdir(mode=0o700)
    configured = Settings(tmp_path / "server.yaml", folder)
    options = server_options(configured, certificate_files(configured))
    clock: Any = scene.server.clock
    factory: Any = BulkTlsFactory(options, False, scene.server.site, clock)
    for said in (b"", b"\x16\x03\x01\x00\xa5\x01"):
        peer = IPv4Address("TCP", "192.0.2.1", 1)
        protocol = factory.buildProtocol(peer)
        transport: Any = cast(Any, StringTransport)(peerAddress=peer)
        transport.setTcpNoDelay = lambda _: None
        protocol.makeConnection(transport)
        if said:
            protocol.dataReceived(said)
        scene.server.advance(SILENCE_S)
        scene.server.advance(CLOSING_S)
        assert transport.disconnected


def test_slow_ones_do_not_hold_up_others(scene: Scene) -> None:
    """All that one client may have, drawn out a byte a second: the victim does not notice."""
    session = begin(scene.wire, scene.thief)
    slow = [scene.server.connect() for _ in range(20)]
    for wire in slow:
        wire.send(
            wire.head(
                "POST",
                "/v1/chunks",
                token=scene.thief,
                session=session,
                Content_Length=str(16 << 20),
            )
        )
    wire = scene.server.connect()
    for second in range(20):
        for each in slow:
            if not each.closed and each.transport.producerState != "paused":
                each.send(b"\x01")
        scene.server.advance(1)
        body = frames(second)
        answer = wire.request(
            "POST", "/v1/chunks", body, token=scene.victim, session=scene.victims_session
        )
        assert answer.status == 204
