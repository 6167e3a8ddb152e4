"""The repository over HTTP: requests of the protocol's ``/v1`` as methods of `IRepository`.

No answer is believed before it is checked.
"""

from collections.abc import Awaitable, Callable, Sequence

from zope.interface import implementer

from obnam.errors import (
    NotFound,
    RequestRefused,
    ServerMisbehaved,
    ServerUnreachable,
    SessionLost,
)
from obnam.model.ids import ChunkId, GenerationId, SessionId, parse_session_id
from obnam.repository.answers import Answer, Asked
from obnam.repository.bodies import Collected, FramesInto
from obnam.repository.deferring import returns_deferred
from obnam.repository.exchange import Exchange
from obnam.wire import limits
from obnam.wire.damage import DamagePage
from obnam.wire.frames import Frame
from obnam.wire.idlists import pack_ids, pack_references, unpack_bits
from obnam.wire.interfaces import IRepository
from obnam.wire.lent import LENT_HEADER, Lent, LentPart
from obnam.wire.listing import ListedGeneration
from obnam.wire.messages import (
    BadMessage,
    Commit,
    CommittedGeneration,
    Json,
    Keyring,
    KeyringSlot,
    PinRequest,
    Receipt,
    RepositoryDescription,
    SessionRequest,
)


async def _nothing() -> None:
    """What there is to close when nothing was opened."""


@implementer(IRepository)
class HttpRepository:
    """`IRepository` by requests; ``close`` ends what they need: connections, perhaps a process.

    ``lend``: whether the server has taken that memory.
    """

    def __init__(
        self,
        exchange: Exchange,
        close: Callable[[], Awaitable[None]] = _nothing,
        lend: Callable[[Lent], Awaitable[bool]] | None = None,
    ) -> None:
        self._exchange = exchange
        self._close = close
        self._lend = lend

    # ISessions

    @returns_deferred
    async def begin_session(self, base: GenerationId | None) -> SessionId:
        """See `ISessions`."""
        asked = Asked(f"generation {base}")
        body = SessionRequest(base).to_json()
        answer = await self._exchange.json("POST", "/v1/sessions", asked, body)
        return self._exchange.parsed(answer, _session_of)

    @returns_deferred
    async def refer(
        self, session: SessionId, added: Sequence[ChunkId], removed: Sequence[ChunkId]
    ) -> None:
        """See `ISessions`."""
        self._at_most(limits.REFERENCE_IDS_MAX, len(added) + len(removed))
        if not added and not removed:
            return
        body = pack_references(added, removed)
        asked = Asked("the session", session)
        path = f"/v1/sessions/{session}/references"
        await self._exchange.binary(path, asked, memoryview(body), Collected(limits.TEXT_MAX))

    @returns_deferred
    async def end_session(self, session: SessionId) -> None:
        """See `ISessions`."""
        asked = Asked("the session", session)
        try:
            await self._exchange.json("DELETE", f"/v1/sessions/{session}", asked)
        except (NotFound, SessionLost):
            return  # An unknown one is fine.

    # IChunks

    @returns_deferred
    async def missing(self, session: SessionId, ids: Sequence[ChunkId]) -> Sequence[bool]:
        """See `IChunks`."""
        self._at_most(limits.MISSING_IDS_MAX, len(ids))
        if not ids:
            return []
        bits = Collected((len(ids) + 7) // 8)
        asked = Asked("the session", session)
        body = memoryview(pack_ids(ids))
        await self._exchange.binary("/v1/chunks/missing", asked, body, bits)
        try:
            return unpack_bits(bits.body, len(ids))
        except BadMessage as error:
            raise ServerMisbehaved(self._exchange.server, str(error)) from error

    @returns_deferred
    async def store(self, session: SessionId, body: memoryview, lent: Lent | None = None) -> None:
        """See `IChunks`."""
        self._at_most(limits.UPLOAD_BODY_MAX, len(body))
        asked = Asked("the session", session)
        if lent is not None and await self._is_lent(lent):
            part = LentPart(lent.number, lent.offset, len(body))
            headers = {"Obnam-Session": session, LENT_HEADER: part.to_header()}
            lent.in_doubt = True
            await self._exchange.request(
                "POST", "/v1/chunks", asked, None, headers, Collected(limits.TEXT_MAX)
            )
            lent.in_doubt = False
            return
        await self._exchange.binary("/v1/chunks", asked, body, Collected(limits.TEXT_MAX))

    async def _is_lent(self, lent: Lent) -> bool:
        # What was in vain may still go on, and be read while this is answered. So not twice.
        return self._lend is not None and not lent.in_doubt and await self._lend(lent)

    @returns_deferred
    async def fetch(self, ids: Sequence[ChunkId], into: memoryview) -> Sequence[Frame]:
        """See `IChunks`."""
        self._at_most(limits.FETCH_IDS_MAX, len(ids))
        if not ids:
            return []
        frames = FramesInto(ids, into)
        asked, body = Asked("the chunks"), memoryview(pack_ids(ids))
        try:
            await self._exchange.binary("/v1/chunks/fetch", asked, body, frames)
        except ServerUnreachable as error:
            if error.carried_bytes:
                error.whole_chunks = frames.whole
            raise
        return frames.frames

    # IGenerations

    @returns_deferred
    async def describe(self) -> RepositoryDescription:
        """See `IGenerations`."""
        answer = await self._exchange.json("GET", "/v1/repository", Asked("the repository"))
        return self._exchange.parsed(answer, RepositoryDescription.from_json)

    @returns_deferred
    async def commit(self, session: SessionId, commit: Commit) -> Receipt:
        """See `IGenerations`."""
        asked = Asked("the session", session, commit.previous)
        headers = {"Obnam-Session": session}
        answer = await self._exchange.json(
            "POST", "/v1/generations", asked, commit.to_json(), headers
        )
        receipt = self._exchange.parsed(answer, Receipt.from_json)
        if receipt.generation != commit.generation:
            raise ServerMisbehaved(self._exchange.server, "the receipt is of another generation")
        return receipt

    @returns_deferred
    async def list_generations(self) -> Sequence[ListedGeneration]:
        """See `IGenerations`."""
        return await self._list("")

    @returns_deferred
    async def get_generation(self, generation: GenerationId) -> CommittedGeneration:
        """See `IGenerations`."""
        asked = Asked(f"generation {generation}")
        answer = await self._exchange.json("GET", f"/v1/generations/{generation}", asked)
        committed = self._exchange.parsed(answer, CommittedGeneration.from_json)
        if committed.summary.receipt.generation != generation:
            raise ServerMisbehaved(self._exchange.server, "it is another generation")
        return committed

    # IDecisions

    @returns_deferred
    async def delete_generation(self, generation: GenerationId) -> None:
        """See `IDecisions`."""
        await self._decide("DELETE", generation, "")

    @returns_deferred
    async def undelete_generation(self, generation: GenerationId) -> None:
        """See `IDecisions`."""
        await self._decide("PUT", generation, "/undelete")

    @returns_deferred
    async def pin_generation(self, generation: GenerationId, reason: str) -> None:
        """See `IDecisions`."""
        self._at_most(limits.PIN_REASON_MAX, len(reason))
        await self._decide("PUT", generation, "/pin", PinRequest(reason).to_json())

    @returns_deferred
    async def unpin_generation(self, generation: GenerationId) -> None:
        """See `IDecisions`."""
        await self._decide("DELETE", generation, "/pin")

    @returns_deferred
    async def list_trash(self) -> Sequence[ListedGeneration]:
        """See `IDecisions`."""
        found = await self._list("&trash=1")
        if any(each.trashed_ns is None for each in found):
            # It does not know the parameter, and has listed what is not in any trash.
            problem = "it is older than this Obnam, and has no trash"
            raise RequestRefused(self._exchange.server, problem)
        return found

    async def _decide(
        self, method: str, generation: GenerationId, what: str, body: Json | None = None
    ) -> None:
        asked = Asked(f"generation {generation}")
        await self._exchange.json(method, f"/v1/generations/{generation}{what}", asked, body)

    async def _list(self, which: str) -> list[ListedGeneration]:
        """Page after page; the server's order is checked."""
        found: list[ListedGeneration] = []
        while True:
            after = found[-1].summary.receipt.sequence if found else 0
            path = f"/v1/generations?after={after}{which}"
            answer = await self._exchange.json("GET", path, Asked("the generations"))
            page = self._exchange.parsed(answer, _listed_of)
            for each in page:
                if each.summary.receipt.sequence <= after:
                    raise ServerMisbehaved(self._exchange.server, "generations out of order")
                after = each.summary.receipt.sequence
            found.extend(page)
            if len(found) > limits.GENERATIONS_MAX:
                problem = f"it lists more than {limits.GENERATIONS_MAX:,} generations"
                raise ServerMisbehaved(self._exchange.server, problem)
            if len(page) < limits.GENERATIONS_PAGE_MAX:
                return found

    # IDamage

    @returns_deferred
    async def damage(self, first: int) -> DamagePage:
        """See `IDamage`."""
        answer = await self._exchange.json("GET", f"/v1/damage?from={first}", Asked("the damage"))
        page = self._exchange.parsed(answer, DamagePage.from_json)
        if page.next_from is not None and page.next_from <= first:
            raise ServerMisbehaved(self._exchange.server, "the damage has no end")
        return page

    # IKeyring

    @returns_deferred
    async def get_keyring(self) -> Keyring:
        """See `IKeyring`."""
        answer = await self._exchange.json("GET", "/v1/keyring", Asked("the keyring"))
        return self._keyring_of(answer)

    @returns_deferred
    async def put_keyring(self, slots: Sequence[KeyringSlot], etag: str) -> Keyring:
        """See `IKeyring`."""
        self._at_most(limits.KEYRING_SLOTS_MAX, len(slots))
        body = Keyring(tuple(slots), etag).to_json()
        answer = await self._exchange.json(
            "PUT", "/v1/keyring", Asked("the keyring"), body, {"If-Match": etag}
        )
        return self._keyring_of(answer)

    @returns_deferred
    async def close(self) -> None:
        """See `IRepository`."""
        await self._close()

    def _keyring_of(self, answer: Answer) -> Keyring:
        etag = answer.etag
        if not etag or len(etag) > limits.TEXT_MAX:
            raise ServerMisbehaved(self._exchange.server, "the keyring has no ETag")
        return self._exchange.parsed(answer, lambda data: Keyring.from_json(data, etag))

    def _at_most(self, limit: int, count: int) -> None:
        """The sender's side of a limit: what the server would refuse is not even sent."""
        if count > limit:
            raise RequestRefused(self._exchange.server, f"{count} in one request, {limit} allowed")


def _session_of(data: object) -> SessionId:
    """The session id in an answer. Raises `BadMessage`."""
    text = data.get("session") if isinstance(data, dict) else None
    if not isinstance(text, str):
        raise BadMessage("'session' is missing")
    try:
        return parse_session_id(text)
    except ValueError as error:
        raise BadMessage(f"'session': {error}") from error


def _listed_of(data: object) -> list[ListedGeneration]:
    """A page of generations. Raises `BadMessage`."""
    lines = data.get("generations") if isinstance(data, dict) else None
    if not isinstance(lines, list) or len(lines) > limits.GENERATIONS_PAGE_MAX:
        raise BadMessage("'generations' must be a list of at most a page")
    return [ListedGeneration.from_json(line) for line in lines]
