"""What each request of the protocol answers, on a real store."""

import json
from typing import Any

import pytest

from obnam.model.ids import GenerationId
from obnam.wire.frames import pack_header
from obnam.wire.idlists import pack_ids, pack_references, unpack_bits
from obnam.wire.messages import (
    CommittedGeneration,
    Keyring,
    KeyringSlot,
    RepositoryDescription,
)
from tests.support.raw_backup import (
    backed_up,
    begin,
    chunk_id,
    commit,
    commit_of,
    frames,
    problem,
    sealed,
    store,
)
from tests.support.server_in_memory import RawAnswer, ServerInMemory, Wire


def test_a_whole_backup_and_its_way_back(server: ServerInMemory) -> None:
    token, wire = server.token("laptop"), server.connect()
    receipt = backed_up(wire, token, 7, 1, 2, 3)
    assert receipt.sequence == 1

    answer = wire.request("GET", "/v1/repository", token=token)
    found = RepositoryDescription.from_json(json.loads(answer.body))
    assert (found.client, found.repository) == ("laptop", "laptop")
    assert found.generation_count == 1
    assert found.used_bytes > 3 * len(sealed(1))
    assert found.latest is not None
    assert found.latest.manifest == b"manifest"

    answer = wire.request("GET", f"/v1/generations/{receipt.generation}", token=token)
    generation = CommittedGeneration.from_json(json.loads(answer.body))
    assert generation.summary.receipt == receipt
    assert generation.summary.chunk_count == 3

    body = pack_ids([chunk_id(3), chunk_id(99), chunk_id(1)])
    answer = wire.request("POST", "/v1/chunks/fetch", body, token=token)
    assert answer.body == frames(3) + pack_header(chunk_id(99), 0) + frames(1)
    assert answer.headers["content-length"] == str(len(answer.body))


def test_which_are_missing(server: ServerInMemory) -> None:
    token, wire = server.token("laptop"), server.connect()
    session = begin(wire, token)
    store(wire, token, session, 1, 3)
    body = pack_ids([chunk_id(n) for n in range(10)])
    answer = wire.request("POST", "/v1/chunks/missing", body, token=token, session=session)
    assert answer.status == 200
    assert unpack_bits(answer.body, 10) == [n not in (1, 3) for n in range(10)]


def test_one_chunk(server: ServerInMemory) -> None:
    token, wire = server.token("laptop"), server.connect()
    store(wire, token, begin(wire, token), 1)
    path = f"/v1/chunks/{chunk_id(1).hex()}"
    answer = wire.request("GET", path, token=token)
    assert (answer.status, answer.body) == (200, sealed(1))
    answer = wire.request("HEAD", path, token=token)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-length"] == str(len(sealed(1)))
    answer = wire.request("GET", f"/v1/chunks/{chunk_id(2).hex()}", token=token)
    assert problem(answer) == "not-found"


def test_absent_and_not_yours_are_the_same_answer(server: ServerInMemory) -> None:
    mine, theirs, wire = server.token("mine"), server.token("theirs"), server.connect()
    receipt = backed_up(wire, theirs, 7, 1)
    session = begin(wire, theirs)
    for there, nowhere in (
        (f"/v1/chunks/{chunk_id(1).hex()}", f"/v1/chunks/{chunk_id(2).hex()}"),
        (f"/v1/generations/{receipt.generation}", f"/v1/generations/{'0' * 32}"),
    ):
        assert wire.request("GET", theirs and there, token=theirs).status == 200
        answers = [wire.request("GET", path, token=mine) for path in (there, nowhere)]
        assert answers[0].status == answers[1].status == 404
        assert answers[0].body == answers[1].body
    found = wire.request("POST", "/v1/chunks/fetch", pack_ids([chunk_id(1)]), token=mine)
    assert found.body == pack_header(chunk_id(1), 0)
    answer = wire.request("GET", "/v1/generations", token=mine)
    assert json.loads(answer.body) == {"generations": []}
    assert problem(store(wire, mine, session, 5)) == "session-lost"


def test_pages_of_generations(server: ServerInMemory) -> None:
    token, wire = server.token("laptop"), server.connect()
    backed_up(wire, token, 1, 1)
    answer = wire.request("GET", "/v1/generations?after=0", token=token)
    (only,) = json.loads(answer.body)["generations"]
    assert (only["generation"], only["sequence"]) == (f"{1:032x}", 1)
    answer = wire.request("GET", "/v1/generations?after=1", token=token)
    assert json.loads(answer.body) == {"generations": []}
    for after in ("-1", "x", "1" * 30):
        answer = wire.request("GET", f"/v1/generations?after={after}", token=token)
        assert problem(answer) == "bad-request"


def test_refused_commits_say_why(server: ServerInMemory) -> None:
    token, wire = server.token("laptop"), server.connect()
    session = begin(wire, token)
    store(wire, token, session, 1)
    refer = f"/v1/sessions/{session}/references"
    wire.request("POST", refer, pack_references([chunk_id(1), chunk_id(2)], []), token=token)

    answer = commit(wire, token, session, commit_of(1, 1, 2))
    assert problem(answer) == "chunks-missing"
    document = json.loads(answer.body)
    assert (document["count"], document["first"]) == (1, [chunk_id(2).hex()])

    store(wire, token, session, 2)
    assert problem(commit(wire, token, session, commit_of(1, 1))) == "set-differs"

    answer = commit(wire, token, session, commit_of(1, 1, 2, previous=GenerationId("f" * 32)))
    assert problem(answer) == "conflict"
    assert json.loads(answer.body)["latest"] is None

    assert commit(wire, token, session, commit_of(1, 1, 2)).status == 201
    assert commit(wire, token, session, commit_of(1, 1, 2)).status == 201  # repeated
    assert problem(commit(wire, token, session, commit_of(2))) in ("session-lost", "conflict")


def test_a_session_ends_once_or_twice(server: ServerInMemory) -> None:
    token, wire = server.token("laptop"), server.connect()
    session = begin(wire, token)
    for _ in range(2):
        answer = wire.request("DELETE", f"/v1/sessions/{session}", token=token)
        assert answer.status == 204
    assert problem(store(wire, token, session, 1)) == "session-lost"


def slot(number: int, sealed: bytes = b"sealed") -> KeyringSlot:
    return KeyringSlot(f"{number:032x}", f"slot {number}", sealed)


def put(
    wire: Wire, token: str, etag: str | None, *slots: KeyringSlot, quoted: bool = True
) -> RawAnswer:
    body = json.dumps(Keyring(slots, "").to_json()).encode()
    headers = {} if etag is None else {"If_Match": etag}
    return wire.request("PUT", "/v1/keyring", body, token=token, **headers)


def test_the_keyring_is_replaced_by_who_saw_the_last_one(server: ServerInMemory) -> None:
    token = server.token("laptop", scopes=("backup", "restore", "manage"))
    wire = server.connect()
    empty = wire.request("GET", "/v1/keyring", token=token)
    assert json.loads(empty.body) == {"slots": []}
    assert problem(put(wire, token, None, slot(1))) == "precondition-failed"

    first = put(wire, token, empty.headers["etag"], slot(1))
    assert first.status == 200
    assert problem(put(wire, token, empty.headers["etag"], slot(2))) == "precondition-failed"
    second = put(wire, token, first.headers["etag"].strip('"'), slot(2))
    assert second.status == 200
    got = wire.request("GET", "/v1/keyring", token=token)
    assert got.headers["etag"] == second.headers["etag"]
    assert Keyring.from_json(json.loads(got.body), "").slots == (slot(2),)


def test_a_backup_token_adds_slots_but_takes_none_away(server: ServerInMemory) -> None:
    token, wire = server.token("laptop"), server.connect()
    etag = wire.request("GET", "/v1/keyring", token=token).headers["etag"]
    etag = put(wire, token, etag, slot(1)).headers["etag"]
    added = put(wire, token, etag, slot(1), slot(2))
    assert added.status == 200
    for slots in ([], [slot(1)], [slot(1, b"other"), slot(2)]):
        assert problem(put(wire, token, added.headers["etag"], *slots)) == "forbidden"


def test_a_slot_that_was_added_meanwhile_is_not_one_that_is_taken_away(
    server: ServerInMemory,
) -> None:
    token, wire = server.token("laptop"), server.connect()
    before = wire.request("GET", "/v1/keyring", token=token).headers["etag"]
    assert put(wire, token, before, slot(1)).status == 200
    assert problem(put(wire, token, before, slot(2))) == "precondition-failed"


def test_enrolment(server: ServerInMemory) -> None:
    from hashlib import sha256

    from obnam.model.ids import ClientName, RepositoryName

    wire = server.connect()
    code = server.store.clients.invite(
        ClientName("pc"), RepositoryName("home"), ("backup",), 2 * 3600 * 10**9
    )
    token = "x" * 43
    digest = sha256(token.encode()).hexdigest()
    body = json.dumps({"code": code, "token_sha256": digest}).encode()
    key = {"server_key": server.store.key.public.hex()}
    for _ in range(2):  # the answer may get lost
        answer = wire.request("POST", "/v1/enrolment", body)
        assert answer.status == 201
        assert json.loads(answer.body) == {"client": "pc", "repository": "home", **key}
    assert wire.request("GET", "/v1/repository", token=token).status == 200

    other = json.dumps({"code": code, "token_sha256": "0" * 64}).encode()
    wire.send(wire.head("POST", "/v1/enrolment", other))
    assert wire.answer().status == 401


def test_a_revoked_token_is_refused_at_once(server: ServerInMemory) -> None:
    from obnam.model.ids import ClientName

    token, wire = server.token("laptop"), server.connect()
    assert wire.request("GET", "/v1/repository", token=token).status == 200
    server.store.clients.revoke(ClientName("laptop"))
    wire.send(wire.head("GET", "/v1/repository", token=token))
    server.advance(2)
    assert problem(wire.answer()) == "unauthenticated"


def test_health_and_metrics(server: ServerInMemory) -> None:
    wire = server.connect()
    assert json.loads(wire.request("GET", "/health").body) == {"status": "ok"}
    plain, boss = server.token("laptop"), server.token("boss", scopes=("manage",))
    assert problem(wire.request("GET", "/metrics", token=plain)) == "forbidden"
    answer = wire.request("GET", "/metrics", token=boss)
    assert answer.headers["content-type"].startswith("text/plain")
    assert b'obnam_server_answers_total{method="GET",status="200"} 1.0' in answer.body


@pytest.mark.parametrize("scopes", [("restore",), ("manage",), ("backup",)])
def test_what_each_scope_may(server: ServerInMemory, scopes: tuple[str, ...]) -> None:
    token, wire = server.token("laptop", scopes=scopes), server.connect()
    sid = "0" * 32
    reading: list[tuple[str, str, bytes | None]] = [
        ("GET", "/v1/repository", None),
        ("GET", "/v1/generations", None),
        ("GET", f"/v1/generations/{sid}", None),
        ("GET", "/v1/damage", None),
        ("GET", f"/v1/chunks/{chunk_id(1).hex()}", None),
        ("POST", "/v1/chunks/fetch", b""),
        ("GET", "/v1/keyring", None),
    ]
    storing: list[tuple[str, str, bytes | None]] = [
        ("POST", "/v1/sessions", b'{"base": null}'),
        ("DELETE", f"/v1/sessions/{sid}", None),
        ("POST", f"/v1/sessions/{sid}/references", pack_references([], [])),
        ("POST", "/v1/chunks/missing", b""),
        ("POST", "/v1/chunks", b""),
        ("POST", "/v1/generations", b"{}"),
    ]
    for method, path, body in reading:
        assert wire.request(method, path, body, token=token).status != 403, path
    for method, path, body in storing:
        answer = server.connect().request(method, path, body, token=token)
        assert (answer.status == 403) == (scopes != ("backup",)), path


def test_chunks_cannot_be_deleted(server: ServerInMemory) -> None:
    token = server.token("laptop", scopes=("backup", "restore", "manage"))
    backed_up(server.connect(), token, 1, 1)
    answer = server.connect().request("DELETE", f"/v1/chunks/{chunk_id(1).hex()}", token=token)
    assert problem(answer) == "method-not-allowed"
    assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/sessions", b"{"),
        ("PUT", "/v1/keyring", b"[" * 500_000),
        ("POST", "/v1/sessions", b"{}"),
        ("POST", "/v1/sessions", b'{"base": 3}'),
        ("POST", "/v1/chunks/missing", b"x" * 32),
        ("POST", "/v1/chunks/missing", b"\x02" + bytes(32)),
        ("POST", "/v1/chunks/fetch", b"x" * 34),
        ("POST", f"/v1/sessions/{'0' * 32}/references", b""),
        ("POST", f"/v1/sessions/{'0' * 32}/references", b"\x00\x00\x00\x01"),
        ("POST", "/v1/generations", b"{}"),
        ("PUT", "/v1/keyring", b'{"slots": 1}'),
        ("POST", "/v1/enrolment", b'{"code": "x"}'),
    ],
)
def test_malformed_bodies(server: ServerInMemory, method: str, path: str, body: bytes) -> None:
    token = server.token("laptop")
    wire = server.connect()
    answer = wire.request(method, path, body, token=token, session="0" * 32, If_Match="x")
    assert (answer.status, problem(answer)) == (400, "bad-request")
    assert wire.request("GET", "/health").status == 200  # the connection is fine


def test_no_room_is_said_before_the_body_ends(
    server: ServerInMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from obnam_server.store.errors import StoreFull
    from obnam_server.store.repository import RepositoryStore

    def full(self: object) -> None:
        raise StoreFull("/srv")

    token, wire = server.token("laptop"), server.connect()
    session = begin(wire, token)
    monkeypatch.setattr(RepositoryStore, "begin_upload", full)
    assert problem(store(wire, token, session, 1)) == "full"
    head = wire.head("POST", "/v1/chunks", token=token, session=session, Content_Length="9000000")
    wire.send(head)
    wire.send(bytes(2**20))
    answer = wire.answer()
    assert (answer.status, problem(answer)) == (507, "full")
    assert wire.closed
    assert b"/srv" not in answer.body


def test_nobody_is_to_keep_an_answer(server: ServerInMemory) -> None:
    for path in ("/health", "/nowhere"):
        answer = server.connect().request("GET", path)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_when_the_server_stops(server: ServerInMemory) -> None:
    token, idle, busy, stuck = server.token("laptop"), *(server.connect() for _ in range(3))
    session = begin(idle, token)
    head = busy.head("POST", "/v1/chunks", frames(1), token=token, session=session)
    busy.send(head[:-10])
    stuck.send(head[:-10])
    done: list[None] = []
    server.site.drain().addCallback(done.append)
    assert idle.closed
    assert not busy.closed
    busy.send(head[-10:])
    assert busy.answer().status == 204
    assert busy.closed
    idle.lose()
    busy.lose()
    assert not done
    server.site.abort()
    assert stuck.transport.disconnected
    stuck.lose()
    assert done


def test_an_unforeseen_failure_is_logged_and_says_little(
    server: ServerInMemory, monkeypatch: pytest.MonkeyPatch, flush_logged_errors: Any
) -> None:
    from obnam_server.store.repository import RepositoryStore

    def broken(self: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(RepositoryStore, "get_keyring", broken)
    answer = server.connect().request("GET", "/v1/keyring", token=server.token("laptop"))
    assert problem(answer) == "internal"
    assert b"secret" not in answer.body
    assert len(flush_logged_errors(ZeroDivisionError)) == 1
