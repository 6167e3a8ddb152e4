"""Clients that come, go and change their tokens, against a model: who was revoked changes nothing.

Requests have a beginning and an end, and anything comes between, the server's upkeep and an
administrator's decisions too: what counts is whether the token is good when the change is made, not
when the request was let in.
"""

import json
import shutil
import tempfile
from contextlib import suppress
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

from attrs import define, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from obnam.model.ids import ClientName, GenerationId, RepositoryName, SessionId
from obnam.wire.idlists import pack_references
from obnam_server.store.errors import CollectionWaits, Kept
from obnam_server.store.repository import RepositoryStore
from tests.support.in_memory import MEMORY
from tests.support.raw_backup import begin, chunk_id, commit_of, frames, store
from tests.support.scrubbed import scrub_now
from tests.support.server_in_memory import HOUR_NS, ServerInMemory, Wire
from tests.support.soak import SOAK

NAMES = ("alice", "bob", "carol")
REPOSITORIES = ("home", "den")
ALL = ("backup", "restore", "manage")
KINDS = ("session", "upload", "refer", "commit", "rotate", "keyring", "pin")
names = st.sampled_from(NAMES)
repositories = st.sampled_from(REPOSITORIES)


@define
class Member:
    """A client as it should be. ``later``: the token that takes over when it is first used."""

    repository: str
    token: str
    later: str | None = None


@define(eq=False)
class Pending:
    """A request of which half has come, with the token that it was let in by."""

    kind: str
    name: str
    repository: str
    token: str
    wire: Wire
    rest: bytes
    generation: GenerationId | None = None
    previous: GenerationId | None = None
    pinned: GenerationId | None = None
    new_token: str = ""


@define
class Generation:
    """Whose it is, and whether it is in the trash."""

    client: str
    id: GenerationId
    trashed: bool = False


@define
class Made:
    """The generations of one repository that are not gone for good."""

    generations: list[Generation] = field(factory=list)

    def latest(self, name: str) -> GenerationId | None:
        own = [each.id for each in self.generations if each.client == name]
        return own[-1] if own else None

    def listed(self) -> list[tuple[str, GenerationId]]:
        return [(each.client, each.id) for each in self.generations if not each.trashed]


class RevocationMachine(RuleBasedStateMachine):
    """Invites, enrols, rotates, revokes, restarts; requests with good and bad tokens between."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY))
        self.server = ServerInMemory.open(self.folder / "data")
        self.members: dict[str, Member] = {}
        self.bad: list[str] = []
        self.made = {name: Made() for name in REPOSITORIES}
        self.pending: list[Pending] = []
        self.pinned: set[GenerationId | None] = set()
        self.numbers = count(1)

    def teardown(self) -> None:
        self.server.close()
        shutil.rmtree(self.folder)

    # What is seen

    def connect(self) -> Wire:
        """From an address of its own, so that nobody waits for the failures of others."""
        number = next(self.numbers)
        return self.server.connect(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")

    def all_there_is(self) -> list[object]:
        """Everything that a request can change, but for files that no index knows."""
        opened: Any = self.server.site.services.repositories._open
        indexes = [(name, opened[name]._index._database) for name in sorted(opened)]
        databases = [*indexes, ("", self.server.store.clients._database)]
        return [(name, list(each.get().iterdump())) for name, each in databases]

    def is_good(self, token: str, name: str) -> bool:
        member = self.members.get(name)
        return member is not None and token in (member.token, member.later)

    def used(self, token: str, name: str) -> None:
        """A token that was to take over has done so."""
        member = self.members[name]
        if token == member.later:
            self.bad.append(member.token)
            member.token, member.later = token, None

    # Clients

    @initialize(repositories=st.tuples(*[st.sampled_from(REPOSITORIES)] * len(NAMES)))
    def everybody_joins(self, repositories: tuple[str, ...]) -> None:
        for name, repository in zip(NAMES, repositories, strict=True):
            self.join(name, repository)

    @rule(name=names, repository=st.sampled_from(REPOSITORIES))
    def join(self, name: str, repository: str) -> None:
        """Also again, and elsewhere."""
        token = f"token-{next(self.numbers)}"
        clients = self.server.store.clients
        code = clients.invite(ClientName(name), RepositoryName(repository), ALL, 2 * HOUR_NS)
        clients.enrol(code, sha256(token.encode()).hexdigest())
        self.leave(name)
        self.members[name] = Member(repository, token)

    @rule(name=names)
    def revoke(self, name: str) -> None:
        if name in self.members:
            self.server.store.clients.revoke(ClientName(name))
            self.leave(name)

    def leave(self, name: str) -> None:
        member = self.members.pop(name, None)
        if member is not None:
            self.bad += [token for token in (member.token, member.later) if token is not None]

    @rule(name=names)
    def use_the_next_token(self, name: str) -> None:
        member = self.members.get(name)
        if member is not None and member.later is not None:
            wire = self.connect()
            assert wire.request("GET", "/v1/repository", token=member.later).status == 200
            self.used(member.later, name)
            wire.lose()

    # Requests

    @rule(name=names, kind=st.sampled_from(KINDS), later=st.booleans())
    def begin_request(self, name: str, kind: str, later: bool) -> None:
        member = self.members.get(name)
        if member is None or len(self.pending) >= 8:
            return
        token = member.later if later and member.later is not None else member.token
        made = self.made[member.repository]
        wire = self.connect()
        request = Pending(kind, name, member.repository, token, wire, b"")
        method, path, body, session = "POST", "/v1/sessions", b'{"base": null}', None
        if kind in ("upload", "refer", "commit"):
            session = begin(wire, token)
        if kind == "upload":
            path, body = "/v1/chunks", frames(next(self.numbers))
        elif kind == "refer":
            path = f"/v1/sessions/{session}/references"
            body = pack_references([chunk_id(next(self.numbers))], [])
        elif kind == "commit":
            assert session is not None
            path, body = "/v1/generations", self.commit_body(request, session, made)
        elif kind == "rotate":
            request.new_token = f"token-{next(self.numbers)}"
            digest = sha256(request.new_token.encode()).hexdigest()
            path, body = "/v1/token", json.dumps({"token_sha256": digest}).encode()
        elif kind == "keyring":
            slot = {"slot": f"{next(self.numbers):032x}", "label": "one", "sealed": "AAAA"}
            method, path, body = "PUT", "/v1/keyring", json.dumps({"slots": [slot]}).encode()
        elif kind == "pin" and made.generations:
            generation = request.pinned = made.generations[-1].id
            reason = json.dumps({"reason": f"number {next(self.numbers)}"}).encode()
            method, path, body = "PUT", f"/v1/generations/{generation}/pin", reason
        more = {}
        if kind == "keyring":
            etag = wire.request("GET", "/v1/keyring", token=token).headers["etag"]
            more["If_Match"] = etag
        whole = wire.head(method, path, body, token=token, session=session, **more)
        half = len(whole) - len(body) // 2
        wire.send(whole[:half])
        assert wire.nothing()
        request.rest = whole[half:]
        self.used(token, name)
        self.pending.append(request)

    def commit_body(self, request: Pending, session: SessionId, made: Made) -> bytes:
        """Of a session that is ready to be committed."""
        number = next(self.numbers)
        wire, token = request.wire, request.token
        assert store(wire, token, session, number).status == 204
        references = pack_references([chunk_id(number)], [])
        path = f"/v1/sessions/{session}/references"
        assert wire.request("POST", path, references, token=token).status == 204
        request.previous = made.latest(request.name)
        commit = commit_of(number, number, previous=request.previous)
        request.generation = commit.generation
        return json.dumps(commit.to_json()).encode()

    @rule(number=st.integers(0, 7))
    def end_request(self, number: int) -> None:
        if not self.pending:
            return
        request = self.pending.pop(number % len(self.pending))
        before = self.all_there_is()
        request.wire.send(request.rest)
        answer = request.wire.answer()
        request.wire.lose()
        if not self.is_good(request.token, request.name):
            assert answer.status == 401, request.kind
            assert self.all_there_is() == before
            return
        made = self.made[request.repository]
        if request.kind == "commit":
            # Another one may have come first.
            expected = 201 if made.latest(request.name) == request.previous else 409
            assert answer.status == expected
            if expected == 201:
                assert request.generation is not None
                made.generations.append(Generation(request.name, request.generation))
        elif request.kind == "rotate":
            assert answer.status == 204
            member = self.members[request.name]
            if member.later is not None:
                self.bad.append(member.later)
            member.later = request.new_token
        elif request.pinned is not None and request.pinned not in [g for _, g in made.listed()]:
            assert answer.status == 404
        else:
            # Slots, too, may have been replaced meanwhile.
            assert answer.status in (200, 201, 204, 412)
        if answer.status < 300:
            self.pinned.add(request.pinned)
            assert self.all_there_is() != before

    @precondition(lambda self: self.bad)
    @rule(number=st.integers(0, 100), kind=st.sampled_from(KINDS))
    def ask_with_a_bad_token(self, number: int, kind: str) -> None:
        token = self.bad[number % len(self.bad)]
        path = {"upload": "/v1/chunks", "commit": "/v1/generations", "rotate": "/v1/token"}
        before, wire = self.all_there_is(), self.connect()
        url = path.get(kind, "/v1/sessions")
        answer = wire.request("POST", url, b"{}", token=token)
        assert answer.status == 401
        assert self.all_there_is() == before
        wire.lose()

    @rule(name=names, times=st.integers(1, 3))
    def back_up(self, name: str, times: int) -> None:
        """Whole backups, one after the other."""
        for _ in range(times):
            self.begin_request(name, "commit", later=False)
            if self.pending and self.pending[-1].name == name:
                self.end_request(len(self.pending) - 1)

    # The server and its administrator

    def home(self, repository: str) -> RepositoryStore | None:
        if repository not in self.server.store.repositories():
            return None
        return self.server.store.repository(RepositoryName(repository))

    @rule(repository=repositories, number=st.integers(0, 9), undelete=st.booleans())
    def decide(self, repository: str, number: int, undelete: bool) -> None:
        made, home = self.made[repository], self.home(repository)
        if home is None or not made.generations:
            return
        chosen = made.generations[number % len(made.generations)]
        if undelete:
            home.change(home.decisions.undelete, [chosen.id])
            chosen.trashed = False
            return
        try:
            home.change(home.decisions.delete, [chosen.id], "admin", "old")
        except Kept:
            pinned = {request.pinned for request in self.pending} | self.pinned
            assert chosen.id in {made.latest(chosen.client), *pinned}
        else:
            chosen.trashed = True

    @rule(repository=repositories)
    def look_after(self, repository: str) -> None:
        """Expunge, compact, scrub."""
        made, home = self.made[repository], self.home(repository)
        if home is None:
            return
        going = [each.id for each in made.generations if each.trashed]
        home.change(home.decisions.expunge, going)
        made.generations = [each for each in made.generations if not each.trashed]
        with suppress(CollectionWaits):
            rewrite = home.collection.rewrite([each.segment for each in home.collection.shares()])
            for _ in rewrite.steps():
                pass
            home.change(home.collection.replace, rewrite)
            rewrite.abort()
        assert scrub_now(home) == set()

    @rule()
    def restart(self) -> None:
        self.server.close()
        self.pending.clear()
        self.server = ServerInMemory.open(self.folder / "data")

    # What holds

    @invariant()
    def tokens_are_as_they_should_be(self) -> None:
        clients = self.server.store.clients
        assert not [token for token in self.bad if clients.authenticate(token) is not None]
        for name, member in self.members.items():
            for token in filter(None, (member.token, member.later)):
                found = clients.authenticate(token)
                assert found is not None
                assert (found.name, found.repository) == (name, member.repository)

    @invariant()
    def generations_stay(self) -> None:
        """Whoever made them was revoked or not; and so do their chunks."""
        for name, made in self.made.items():
            home = self.home(name)
            if home is None:
                assert not made.generations
                continue
            listed = home.list_generations(0, 999)
            assert [(each.client, each.receipt.generation) for each in listed] == made.listed()
            chunks = [chunk_id(int(each.id, 16)) for each in made.generations]
            assert None not in home.locate(chunks)


TestRevocationMachine = RevocationMachine.TestCase
TestRevocationMachine.settings = settings(
    max_examples=50 * SOAK, stateful_step_count=40, deadline=None
)
