"""What is remembered of a server and of a client's history, and held against what it shows."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from attrs import define, evolve, field
from nacl.signing import SigningKey
from twisted.internet.defer import Deferred, execute

from obnam.errors import NotFound
from obnam.generation.manifest import Link as Before
from obnam.history_errors import (
    AnotherClient,
    BadReceipt,
    HistoryBroken,
    ServerForked,
    ServerKeyChanged,
    ServerRolledBack,
)
from obnam.model.ids import ClientName, GenerationId, RepositoryName, parse_chunk_id
from obnam.pool.thread import OwnThread
from obnam.repository import state
from obnam.repository.history import History
from obnam.repository.opening import OpenedGeneration
from obnam.repository.proofs import Proof
from obnam.repository.trust import Link
from obnam.wire.interfaces import IRepository
from obnam.wire.messages import GenerationSummary, RepositoryDescription
from tests.support.receipts import ID, Notary
from tests.unit.generation.test_manifest import MANIFEST

ensure = pytest_twisted.ensureDeferred
LAPTOP, PC = ClientName("laptop"), ClientName("pc")


class SameThread:
    """In place of a thread of its own: at once, on this one."""

    def call(self, function: Callable[..., Any], *arguments: Any) -> "Deferred[Any]":
        return execute(function, *arguments)


@define
class Server:
    """Shows what a notary has signed; each client's chain is made of its generations in order."""

    notary: Notary
    path: Path
    pinned: bytes | None = None
    own: ClientName | None = None
    _found: dict[GenerationId, OpenedGeneration] = field(factory=dict)

    def history(self) -> History:
        return History(
            cast(IRepository, self),
            self.fetch,
            self.path,
            cast(OwnThread, SameThread()),
            self.pinned,
            self.own,
        )

    async def fetch(self, generation: GenerationId) -> OpenedGeneration:
        if generation not in self._found:
            raise NotFound(f"generation {generation}")
        return self._found[generation]

    async def list_generations(self) -> list[Any]:
        @define
        class Listed:
            summary: GenerationSummary

        return [Listed(each) for each in self.notary.signed]

    def opened(self, client: ClientName = LAPTOP, newest: int = -1) -> OpenedGeneration:
        """The client's newest generation, or an older one, after all before it."""
        theirs = [each for each in self.notary.signed if each.client == client]
        previous: OpenedGeneration | None = None
        chain = []
        for number, each in enumerate(theirs, 1):
            signed = each.receipt.countersigned
            assert signed is not None
            manifest = evolve(
                MANIFEST,
                generation=each.receipt.generation,
                client=client,
                sequence=number,
                previous=None
                if previous is None
                else Before(previous.manifest.generation, previous.manifest_id),
            )
            previous = OpenedGeneration(manifest, signed.manifest_id, each.receipt)
            chain.append(previous)
            self._found[manifest.generation] = previous
        return chain[newest]

    def described(self, client: ClientName = LAPTOP, **more: Any) -> RepositoryDescription:
        described = RepositoryDescription(
            RepositoryName("home"), client, (), 0, 0, None, 0, 0, None, ID, self.notary.identity.key
        )
        return evolve(described, **more)

    def remembered(self) -> state.Remembered:
        return state.load(self.path)

    def proof(self, number: int) -> Proof:
        return self.notary.proofs()[number]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    notary = Notary()
    for number, client in enumerate([LAPTOP, PC, LAPTOP], 1):
        notary.commit(client, number)
    yield Server(notary, tmp_path / "state.json")


# Who the server is, and who we are


@ensure
async def test_the_key_that_was_accepted_counts_more_than_the_invitations(server: Server) -> None:
    server.pinned = bytes(SigningKey(b"x" * 32).verify_key)
    with pytest.raises(ServerKeyChanged):
        await server.history().meet(server.described())
    await server.history().accept_server(server.notary.identity.key)
    await server.history().meet(server.described())
    with pytest.raises(ServerKeyChanged):
        await server.history().meet(server.described(server_key=server.pinned))


@ensure
async def test_another_client_than_we_are(server: Server) -> None:
    """A server that says so could show that one's history, and hide all of ours."""
    server.own = LAPTOP
    # Nothing was seen yet: the name in secrets.yaml may be old.
    await server.history().meet(server.described(PC))
    await server.history().check(server.described(), server.opened())
    await evolve(server, own=PC).history().check(server.described(PC), server.opened(PC))
    before = server.remembered()
    with pytest.raises(AnotherClient, match=r"for client pc, and by secrets\.yaml it is laptop"):
        await server.history().meet(server.described(PC))
    # Nor is that a loss that can be accepted.
    with pytest.raises(AnotherClient):
        await server.history().accept(server.described(PC), server.opened(PC), 5)
    assert server.remembered() == before


@ensure
async def test_what_could_not_be_written_is_told(server: Server) -> None:
    server.path = server.path / "file" / "state.json"
    server.path.parent.parent.mkdir()
    server.path.parent.write_bytes(b"")  # no directory
    history = server.history()
    assert await history.check(server.described(), server.opened()) == []
    assert isinstance(history.unwritten, OSError)


# Receipts


@ensure
async def test_receipts_that_do_not_follow_what_was_shown(server: Server) -> None:
    """Each is signed rightly, and is given a number that was given before."""
    history = server.history()
    await history.check(server.described(), server.opened())
    said = server.proof(2).statement
    again = evolve(said, generation=GenerationId("9" * 32))
    forged = server.notary.sign(again)
    opened = server.opened()
    manifest = evolve(opened.manifest, generation=again.generation)
    with pytest.raises(BadReceipt, match="two receipts number 3"):
        await history.keep_receipt(OpenedGeneration(manifest, said.manifest_id, forged.receipt))
    assert server.remembered().receipts[LAPTOP] == server.proof(2)


@ensure
async def test_receipts_that_do_not_follow_the_one_before(server: Server) -> None:
    """Of the same run: a checkpoint and its end, say."""
    history = server.history()
    await history.check(server.described(), server.opened(newest=0))
    await history.keep_receipt(server.opened(newest=1))
    assert server.remembered().receipts[LAPTOP] == server.proof(2)
    other = server.notary.copy()
    other.signed.pop()
    other.commit(LAPTOP, 9)
    with pytest.raises(BadReceipt, match="two receipts number 3"):
        await history.keep_receipt(evolve(server, notary=other).opened())


@ensure
@pytest.mark.parametrize(
    "change",
    [{"generation": GenerationId("9" * 32)}, {"manifest_id": parse_chunk_id(b"\x01" * 33)}],
)
async def test_a_receipt_for_something_else(server: Server, change: dict[str, Any]) -> None:
    """Signed rightly: of another generation, or of another manifest of this one."""
    history = server.history()
    await history.meet(server.described())
    right = server.opened()
    assert history.proof_of(right) == server.proof(2)
    assert history.is_verified(right)
    signed = server.notary.sign(evolve(server.proof(2).statement, **change))
    opened = evolve(right, receipt=signed.receipt)
    assert history.proof_of(opened) is None
    assert history.is_verified(opened) is False
    with pytest.raises(BadReceipt):
        await history.keep_receipt(opened)


@ensure
async def test_a_list_is_held_against_the_receipt_that_is_kept(server: Server) -> None:
    history = server.history()
    await history.check(server.described(), server.opened())
    assert await history.list_problem(LAPTOP, server.notary.signed) is None
    other = server.notary.copy()
    other.signed.pop()
    other.commit(PC, 9)
    problem = await history.list_problem(LAPTOP, other.signed)
    assert problem is not None
    assert "two receipts number 3" in problem


# Broken histories


@ensure
async def test_a_repository_that_was_made_anew(server: Server) -> None:
    await server.history().check(server.described(), server.opened())
    with pytest.raises(ServerRolledBack, match="home was made anew: it has another id"):
        await server.history().check(server.described(repository_id=bytes(16)), None)


@ensure
async def test_a_fork_at_our_own_number_is_a_loss_of_one(server: Server) -> None:
    """As many as before are shown; and the state file can be read afterwards."""
    await server.history().check(server.described(), server.opened())
    other = server.notary.copy()
    other.signed.pop()
    other.commit(LAPTOP, 9)
    forked = evolve(server, notary=other)
    with pytest.raises(ServerForked):
        await forked.history().check(server.described(), forked.opened())
    loss = await forked.history().accept(server.described(), forked.opened(), 5)
    assert loss is not None
    assert (loss.count, loss.proof) == (1, server.proof(2))
    assert server.remembered().losses == (loss,)
    assert server.remembered().newest[LAPTOP] == forked.opened().shown().link
    assert await forked.history().check(server.described(), forked.opened()) == []


@ensure
async def test_what_is_no_history_in_itself_cannot_be_accepted(server: Server) -> None:
    """Not even when nothing is remembered."""
    with pytest.raises(HistoryBroken, match="is of pc"):
        await server.history().accept(server.described(), server.opened(PC), 5)
    assert server.remembered() == state.Remembered(server_key=server.notary.identity.key)


@ensure
async def test_an_ancestor_that_is_gone_is_told(server: Server) -> None:
    history = server.history()
    await history.check(server.described(), server.opened(newest=0))
    for number in range(4, 7):
        server.notary.commit(LAPTOP, number)
    newest = server.opened()
    assert newest.manifest.previous is not None
    del server._found[newest.manifest.previous.generation]
    (warning,) = await history.check(server.described(), newest)
    assert warning.startswith("3 generations of laptop that were made since the last look are no ")
    assert server.remembered().newest[LAPTOP] == Link(
        5, newest.manifest.generation, newest.manifest_id
    )
