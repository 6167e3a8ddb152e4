"""The requests of the protocol and what the store does for each, in the order of the table in
``docs/protocol.md``.

A change of state is one call on the writer thread: a handler can be cancelled at any ``await``
(the client goes away), while what its thread began runs on.
"""

from collections.abc import Callable, Iterator
from typing import ClassVar, ParamSpec, cast

from attrs import define, evolve
from klein import Klein
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest

from obnam.errors import NotFound
from obnam.model.ids import ChunkId, GenerationId, SessionId
from obnam.wire.frames import FRAME_HEADER_BYTES
from obnam.wire.idlists import REFERENCES_BODY_MAX, pack_bits, unpack_ids, unpack_references
from obnam.wire.limits import (
    FETCH_IDS_MAX,
    GENERATIONS_PAGE_MAX,
    JSON_BODY_MAX,
    MISSING_IDS_MAX,
    TEXT_MAX,
    UPLOAD_BODY_MAX,
)
from obnam.wire.messages import (
    Commit,
    EnrolmentRequest,
    Keyring,
    PinRequest,
    SessionRequest,
    TokenRequest,
)
from obnam.wire.problems import FORBIDDEN
from obnam_server.auth import Gate
from obnam_server.committing import commit_and_tell
from obnam_server.describing import describe
from obnam_server.enrolment import enrol
from obnam_server.exchange import (
    etag_of,
    first_of,
    json_answer,
    keyring_answer,
    nothing,
    octets,
    read_json,
    sequence_of,
    session_of,
    wanted_by,
    wants_trash,
    who_asks,
)
from obnam_server.monitoring.events import Events
from obnam_server.monitoring.metrics import CONTENT_TYPE, Counters
from obnam_server.problems import Refused, write_answer
from obnam_server.requests import ApiRequest
from obnam_server.routes import MANAGE, OPEN, READ, STORE, Body, Route, authorized_route, new_app
from obnam_server.sharing.queues import share_of_memory
from obnam_server.store.repository import Upload
from obnam_server.store.store import Store
from obnam_server.streams import ANSWERS_MEMORY, LEAST_READ_AHEAD, READ_AHEAD, Stream
from obnam_server.upkeep.retain import trash
from obnam_server.work import Work

P = ParamSpec("P")

CHUNK_IDS_BODY_MAX = 33 * max(MISSING_IDS_MAX, FETCH_IDS_MAX)
"""Bytes of the largest body that is nothing but ids."""


@define(slots=False, eq=False)
class Api:
    """Answers requests. ``now_ns``: ns since the epoch."""

    app: ClassVar[Klein] = new_app()
    routes: ClassVar[dict[str, Route]] = {}  # filled below, while the class is made

    _store: Store
    _work: Work
    _gate: Gate
    _counters: Counters
    _events: Events
    _clock: IReactorTime
    _now_ns: Callable[[], int]

    # Who and what

    @authorized_route(app, routes, "GET", "/v1/repository", READ)
    async def describe(self, request: ApiRequest) -> bytes:
        """Names, scopes, use, and the client's latest generation."""
        found = await self._work.read(describe, self._store, request.repository, request.caller)
        return json_answer(request, found.to_json())

    @authorized_route(
        app, routes, "POST", "/v1/enrolment", OPEN, body=Body.KEPT, limit_bytes=4 * TEXT_MAX
    )
    async def enrol(self, request: ApiRequest) -> bytes:
        """An invitation's code for a token: the one request that needs none."""
        message = EnrolmentRequest.from_json(read_json(request))
        answer = await enrol(
            self._store.clients, self._work, self._gate, message, request.channel.source
        )
        answer = evolve(answer, server_key=self._store.key.public)
        return json_answer(request, answer.to_json(), 201)

    @authorized_route(
        app, routes, "POST", "/v1/token", READ, body=Body.KEPT, limit_bytes=4 * TEXT_MAX
    )
    async def rotate_token(self, request: ApiRequest) -> bytes:
        """Another token for the client that asks; see `Clients.rotate`."""
        digest = TokenRequest.from_json(read_json(request)).token_sha256
        rotate, caller = self._store.clients.rotate, request.caller
        await self._gate.write(caller, rotate, caller.name, digest)
        return nothing(request)

    # Sessions

    @authorized_route(
        app, routes, "POST", "/v1/sessions", STORE, body=Body.KEPT, limit_bytes=4 * TEXT_MAX
    )
    async def begin_session(self, request: ApiRequest) -> bytes:
        """Begin a backup."""
        base = SessionRequest.from_json(read_json(request)).base
        session = await self._gate.write(
            request.caller, request.repository.begin_session, request.caller.name, base
        )
        return json_answer(request, {"session": session}, 201)

    @authorized_route(app, routes, "DELETE", "/v1/sessions/<session:session>", STORE)
    async def end_session(self, request: ApiRequest, session: SessionId) -> bytes:
        """Forget a session."""
        end = request.repository.end_session
        await self._gate.write(request.caller, end, request.caller.name, session)
        return nothing(request)

    @authorized_route(
        app,
        routes,
        "POST",
        "/v1/sessions/<session:session>/references",
        STORE,
        body=Body.KEPT,
        limit_bytes=REFERENCES_BODY_MAX,
    )
    async def refer(self, request: ApiRequest, session: SessionId) -> bytes:
        """Change a session's chunk set."""
        added, removed = unpack_references(request.read_body())
        refer = request.repository.refer
        await self._gate.write(request.caller, refer, request.caller.name, session, added, removed)
        return nothing(request)

    # Chunks

    @authorized_route(
        app,
        routes,
        "POST",
        "/v1/chunks/missing",
        STORE,
        body=Body.KEPT,
        limit_bytes=CHUNK_IDS_BODY_MAX,
    )
    async def missing(self, request: ApiRequest) -> bytes:
        """Which chunks must be stored."""
        ids = unpack_ids(request.read_body(), MISSING_IDS_MAX)
        session = session_of(request)
        missing = await self._work.read(
            request.repository.missing, session, ids, request.caller.name
        )
        return octets(request, pack_bits(missing))

    @authorized_route(
        app, routes, "POST", "/v1/chunks", STORE, body=Body.STREAMED, limit_bytes=UPLOAD_BODY_MAX
    )
    async def store(self, request: ApiRequest) -> bytes:
        """Store sealed chunks; answered when they are durable."""
        session = session_of(request)
        repository, caller = request.repository, request.caller
        body, place = request.take_upload(), request.take_place()

        async def steps() -> None:
            try:
                upload: Upload = await body.finished()
                try:
                    accept = repository.accept
                    await self._gate.write(caller, accept, session, upload, caller.name, place)
                except BaseException:
                    await self._work.upload(upload.abort)
                    raise
            finally:
                place.release()

        await self._work.whole(steps())
        self._counters.received_bytes += body.size_bytes
        return nothing(request)

    @authorized_route(
        app,
        routes,
        "POST",
        "/v1/chunks/fetch",
        READ,
        body=Body.KEPT,
        limit_bytes=CHUNK_IDS_BODY_MAX,
    )
    async def fetch(self, request: ApiRequest) -> None:
        """Sealed chunks as frames, in the order asked."""
        wanted, length = await wanted_by(request, self._work)
        await self._stream(request, request.repository.frames(wanted), length)

    @authorized_route(app, routes, "GET", "/v1/chunks/<chunk:chunk>", READ)
    async def get_chunk(self, request: ApiRequest, chunk: ChunkId) -> None:
        """One sealed chunk."""
        wanted = await self._work.read(request.repository.wanted, [chunk])
        location = wanted[0][1]
        if location is None:
            raise NotFound("chunk")
        frame = request.repository.frames(wanted)
        await self._stream(request, _without_header(frame), location.length)

    # Generations

    @authorized_route(
        app,
        routes,
        "POST",
        "/v1/generations",
        STORE,
        body=Body.KEPT,
        limit_bytes=JSON_BODY_MAX,
    )
    async def commit(self, request: ApiRequest) -> bytes:
        """Make a session a generation."""
        commit = Commit.from_json(read_json(request))
        session = session_of(request)
        receipt = await commit_and_tell(
            self._work, self._gate, self._events, self._store.settings, request, session, commit
        )
        return json_answer(request, receipt.to_json(), 201)

    @authorized_route(app, routes, "GET", "/v1/generations", READ)
    async def list_generations(self, request: ApiRequest) -> bytes:
        """A page of generations, or of the trash, after the sequence number ``after``."""
        after = sequence_of(request)
        repository, limit = request.repository, GENERATIONS_PAGE_MAX
        if wants_trash(request):
            page = await self._work.read(trash, repository, after, limit)
        else:
            page = await self._work.read(repository.decisions.listed, after, limit)
        return json_answer(request, {"generations": [each.to_json() for each in page]})

    @authorized_route(app, routes, "GET", "/v1/generations/<generation:generation>", READ)
    async def get_generation(self, request: ApiRequest, generation: GenerationId) -> bytes:
        """One generation: manifest and receipt."""
        found = await self._work.read(request.repository.get_generation, generation)
        return json_answer(request, found.to_json())

    # Damage

    @authorized_route(app, routes, "GET", "/v1/damage", READ)
    async def damage(self, request: ApiRequest) -> bytes:
        """A page of damaged chunks, and the generations that need them."""
        found = await self._work.read(request.repository.damage, first_of(request))
        return json_answer(request, found.to_json())

    # Decisions over generations

    @authorized_route(app, routes, "DELETE", "/v1/generations/<generation:generation>", MANAGE)
    async def delete_generation(self, request: ApiRequest, generation: GenerationId) -> bytes:
        """Into the trash."""
        decisions = request.repository.decisions
        return await self._decide(
            request, decisions.delete, [generation], who_asks(request), "deleted"
        )

    @authorized_route(
        app, routes, "PUT", "/v1/generations/<generation:generation>/undelete", MANAGE
    )
    async def undelete_generation(self, request: ApiRequest, generation: GenerationId) -> bytes:
        """Out of the trash."""
        return await self._decide(request, request.repository.decisions.undelete, [generation])

    @authorized_route(
        app,
        routes,
        "PUT",
        "/v1/generations/<generation:generation>/pin",
        MANAGE,
        body=Body.KEPT,
        limit_bytes=8 * TEXT_MAX,
    )
    async def pin_generation(self, request: ApiRequest, generation: GenerationId) -> bytes:
        """Keep it, whatever the policy says."""
        reason = PinRequest.from_json(read_json(request)).reason
        pin = request.repository.decisions.pin
        return await self._decide(request, pin, generation, who_asks(request), reason)

    @authorized_route(app, routes, "DELETE", "/v1/generations/<generation:generation>/pin", MANAGE)
    async def unpin_generation(self, request: ApiRequest, generation: GenerationId) -> bytes:
        """Let the policy decide again."""
        return await self._decide(request, request.repository.decisions.unpin, generation)

    async def _decide(
        self, request: ApiRequest, call: Callable[P, None], *args: P.args, **kwargs: P.kwargs
    ) -> bytes:
        def decide() -> None:
            request.repository.change(call, *args, **kwargs)

        await self._gate.write(request.caller, decide)
        return nothing(request)

    # Keyring

    @authorized_route(app, routes, "GET", "/v1/keyring", READ)
    async def get_keyring(self, request: ApiRequest) -> bytes:
        """All slots."""
        return keyring_answer(request, await self._work.read(request.repository.get_keyring))

    @authorized_route(
        app,
        routes,
        "PUT",
        "/v1/keyring",
        STORE | MANAGE,
        body=Body.KEPT,
        limit_bytes=JSON_BODY_MAX,
    )
    async def put_keyring(self, request: ApiRequest) -> bytes:
        """Replace all slots, unless someone else did meanwhile.

        Without the scope ``manage`` slots can only be added: whoever steals the token of a backup
        shall not lock its owner out.
        """
        etag = etag_of(request)
        slots = Keyring.from_json(read_json(request), etag).slots
        repository, may_remove = request.repository, "manage" in request.caller.scopes

        def put() -> Keyring:
            there = repository.get_keyring()
            # Whoever does not know of the newest slot does not remove it: it is told to look again.
            if not may_remove and etag == there.etag and not set(there.slots) <= set(slots):
                raise Refused(FORBIDDEN, "to change or remove a slot needs the scope manage")
            return repository.put_keyring(slots, etag, request.caller.name)

        return keyring_answer(request, await self._gate.write(request.caller, put))

    # The server itself

    @authorized_route(app, routes, "GET", "/health", OPEN)
    async def health(self, request: ApiRequest) -> bytes:
        """Alive, and able to answer."""
        return json_answer(request, {"status": "ok"})

    @authorized_route(app, routes, "GET", "/metrics", MANAGE)
    async def metrics(self, request: ApiRequest) -> bytes:
        """Metrics for Prometheus: of the whole server, and by name only of this repository."""
        page = self._counters.exposition(request.caller.repository)
        return octets(request, page, CONTENT_TYPE)

    # Whatever goes wrong

    @app.handle_errors(Exception)
    def failed(self, request: IRequest, failure: Failure) -> bytes:
        """See `obnam_server.problems`."""
        return write_answer(cast(ApiRequest, request), failure)

    async def _stream(self, request: ApiRequest, parts: Iterator[bytes], length: int) -> None:
        request.setHeader(b"Content-Type", b"application/octet-stream")
        request.setHeader(b"Content-Length", b"%d" % length)
        if request.method == b"HEAD":
            return
        await request.take_turn(request.queues.answers, length)
        read_ahead = share_of_memory(
            ANSWERS_MEMORY, len(request.queues.answers), READ_AHEAD, LEAST_READ_AHEAD
        )
        await Stream(parts, length, request, self._work, self._clock, read_ahead).run()
        self._counters.sent_bytes += length


def _without_header(frame: Iterator[bytes]) -> Iterator[bytes]:
    """The sealed bytes of the one chunk in ``frame``."""
    yield next(frame)[FRAME_HEADER_BYTES:]
    yield from frame
