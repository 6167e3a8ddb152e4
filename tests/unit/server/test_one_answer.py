"""Absent and "not yours" are one answer: the same status, headers, body, and work behind them."""

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from attrs import define, evolve, field, frozen

from obnam.model.chunk import SetSum
from obnam.model.ids import ChunkId, GenerationId, SessionId
from obnam.wire.frames import pack_header
from obnam.wire.idlists import pack_ids, pack_references
from obnam.wire.messages import Commit
from obnam_server.api import Api
from tests.support.raw_backup import backed_up, begin, chunk_id, frames
from tests.support.server_in_memory import RawAnswer, ServerInMemory

ALL = ("backup", "restore", "manage")
_VALUE = re.compile(r"[xX]?'[^']*'|\b\d+\b")


@frozen
class Ids:
    """One of each kind."""

    chunk: ChunkId
    generation: GenerationId
    session: SessionId


ABSENT = Ids(chunk_id(404), GenerationId("40" * 16), SessionId("4" * 32))


@frozen
class Seen:
    """All that somebody can see of an answer, and what was done for it."""

    answer: RawAnswer
    work: tuple[str, ...]


@define(eq=False)
class Scene:
    """A client, and two who have what it may not have: ``others`` in another repository.

    Of the ``colleague`` in its own repository only the session is another's.
    """

    server: ServerInMemory
    token: str
    own_session: SessionId
    others: Ids
    colleague: Ids
    work: list[str] = field(factory=list)

    def watch(self) -> None:
        """Note the statements of all databases, their values left out."""
        repositories = self.server.site.services.repositories._open.values()
        databases = [each._index._database for each in repositories]  # type: ignore[attr-defined]
        for database in (*databases, self.server.store.clients._database):
            connection: sqlite3.Connection = database.get()
            connection.set_trace_callback(lambda sql: self.work.append(_VALUE.sub("?", sql)))

    def ask(self, method: str, path: str, body: bytes | None, session: SessionId) -> Seen:
        """The answer, without its date."""
        self.work.clear()
        wire = self.server.connect()
        answer = wire.request(
            method, path, body, token=self.token, session=session, If_Match="none"
        )
        answer.headers.pop("date", None)
        return Seen(answer, tuple(self.work))


@pytest.fixture
def scene(server: ServerInMemory) -> Iterator[Scene]:
    wire = server.connect()
    mine = server.token("mine", "home", ALL)
    colleague, others = server.token("colleague", "home"), server.token("others", "elsewhere")
    receipt = backed_up(wire, others, 7, 1, 2)
    theirs = Ids(chunk_id(1), receipt.generation, begin(wire, others))
    colleagues = evolve(ABSENT, session=begin(wire, colleague))
    scene = Scene(server, mine, begin(wire, mine), theirs, colleagues)
    scene.watch()
    yield scene


BODIES: dict[str, Callable[[Ids], bytes]] = {
    "pin_generation": lambda _: b'{"reason": "tax"}',
    "refer": lambda _: pack_references([chunk_id(5)], []),
}
"""Of requests that have an id in their URL and a body."""


def in_urls() -> list[tuple[str, str]]:
    """Method and rule of every request with an id in its URL."""
    rules = [rule for rule in Api.app.url_map.iter_rules() if rule.arguments]
    return sorted((method, rule.rule) for rule in rules for method in rule.methods or ())


def test_there_are_such_requests() -> None:
    assert ("GET", "/v1/chunks/<chunk:chunk>") in in_urls()
    assert ("DELETE", "/v1/sessions/<session:session>") in in_urls()
    assert len(in_urls()) >= 5


def url_of(rule: str, ids: Ids) -> str:
    values = {"chunk": ids.chunk.hex(), "generation": ids.generation, "session": ids.session}
    return re.sub(r"<(\w+):\w+>", lambda found: str(values[found[1]]), rule)


@pytest.mark.parametrize(("method", "rule"), in_urls())
def test_ids_in_the_url(scene: Scene, method: str, rule: str) -> None:
    endpoint = rule_endpoint(method, rule)
    body = BODIES.get(endpoint)

    def seen(ids: Ids) -> Seen:
        return scene.ask(method, url_of(rule, ids), body(ids) if body else None, scene.own_session)

    # Once before, so that what is done only once is done.
    seen(ABSENT)
    absent = seen(ABSENT)
    assert absent.answer.status in ({204} if endpoint == "end_session" else {404, 409})
    assert absent.work
    assert seen(scene.others) == absent
    if "<session" in rule:
        assert seen(scene.colleague) == absent


def rule_endpoint(method: str, rule: str) -> str:
    """The endpoint of one method of a rule."""
    return next(
        str(each.endpoint)
        for each in Api.app.url_map.iter_rules()
        if each.rule == rule and method in (each.methods or ())
    )


def commit_on(ids: Ids, generation: GenerationId) -> bytes:
    sum_ = SetSum().add([chunk_id(77)])
    commit = Commit(generation, ids.generation, sum_, chunk_id(10**6), b"manifest")
    return json.dumps(commit.to_json()).encode()


IN_SESSION_HEADER: list[tuple[str, Callable[[Ids], bytes]]] = [
    ("/v1/chunks/missing", lambda _: pack_ids([chunk_id(1)])),
    ("/v1/chunks", lambda _: frames(3)),
    ("/v1/generations", lambda _: commit_on(ABSENT, GenerationId("5" * 32))),
]


@pytest.mark.parametrize(("path", "body"), IN_SESSION_HEADER, ids=lambda v: str(v)[:20])
def test_ids_in_the_session_header(scene: Scene, path: str, body: Callable[[Ids], bytes]) -> None:
    def seen(ids: Ids) -> Seen:
        return scene.ask("POST", path, body(ids), ids.session)

    seen(ABSENT)
    absent = seen(ABSENT)
    assert json.loads(absent.answer.body)["type"] == "urn:obnam:problem:session-lost"
    assert seen(scene.others) == absent
    assert seen(scene.colleague) == absent


IN_BODY: list[tuple[str, Callable[[Ids], bytes], int]] = [
    ("/v1/sessions", lambda ids: json.dumps({"base": ids.generation}).encode(), 404),
    ("/v1/chunks/missing", lambda ids: pack_ids([ids.chunk]), 200),
    ("/v1/chunks/fetch", lambda ids: pack_ids([ids.chunk]), 200),
    ("/v1/sessions/OWN/references", lambda ids: pack_references([], [ids.chunk]), 204),
    ("/v1/generations", lambda ids: commit_on(ids, ids.generation), 409),
]


@pytest.mark.parametrize(("path", "body", "status"), IN_BODY, ids=lambda v: str(v)[:20])
def test_ids_in_the_body(
    scene: Scene, path: str, body: Callable[[Ids], bytes], status: int
) -> None:
    path = path.replace("OWN", scene.own_session)

    def seen(ids: Ids) -> Seen:
        found = scene.ask("POST", path, body(ids), scene.own_session)
        # An answer that repeats the id is none of "not yours".
        plain = found.answer.body.replace(pack_header(ids.chunk, 0), b"ABSENT")
        return evolve(found, answer=evolve(found.answer, body=plain))

    seen(ABSENT)
    absent = seen(ABSENT)
    assert absent.answer.status == status
    assert absent.work
    assert seen(scene.others) == absent


def test_what_is_ones_own_is_seen_to_be_another_answer(scene: Scene) -> None:
    """Else the comparisons above would compare nothing."""
    wire = scene.server.connect()
    receipt = backed_up(wire, scene.token, 9, 11)
    own = Ids(chunk_id(11), receipt.generation, scene.own_session)
    for rule in ("/v1/chunks/<chunk:chunk>", "/v1/generations/<generation:generation>"):
        there = scene.ask("GET", url_of(rule, own), None, scene.own_session)
        absent = scene.ask("GET", url_of(rule, ABSENT), None, scene.own_session)
        assert there.answer.status == 200
        assert there != absent


def test_another_clients_session_is_left_as_it_is(scene: Scene) -> None:
    """Nor is it kept alive by those who may not use it."""
    sessions: Any = scene.server.site.services.repositories._open
    before = sessions["home"]._index.sessions(None)
    for path, body in IN_SESSION_HEADER:
        scene.ask("POST", path, body(ABSENT), scene.colleague.session)
    scene.ask("DELETE", f"/v1/sessions/{scene.colleague.session}", None, scene.own_session)
    assert sessions["home"]._index.sessions(None) == before
