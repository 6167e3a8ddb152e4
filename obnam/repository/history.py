"""What a server shows, held against what is remembered of it; and what is remembered then.

`judge` decides; `History` asks the server, and reads and writes the state file.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from attrs import define, evolve, field

from obnam.errors import NotFound
from obnam.history_errors import (
    AnotherClient,
    BadReceipt,
    HistoryBroken,
    ServerForked,
    ServerKeyChanged,
    ServerRolledBack,
)
from obnam.model.figures import counted
from obnam.model.ids import ClientName, GenerationId
from obnam.pool.thread import OwnThread
from obnam.repository import state, trust
from obnam.repository.opening import OpenedGeneration
from obnam.repository.proofs import Proof, ServerIdentity, list_problem, order_problem
from obnam.repository.state import Loss, Remembered
from obnam.wire.interfaces import IRepository
from obnam.wire.messages import GenerationSummary, RepositoryDescription


def judge(
    broken: HistoryBroken,
    server: ServerIdentity,
    kept: Proof,
    gone: int,
    listed: Sequence[GenerationSummary],
) -> HistoryBroken:
    """Why a client's history is broken, by the receipts that the server has signed.

    ``kept`` is the newest receipt of the client; ``gone`` says by how many generations the newest
    one that is shown is older than the newest one that was seen (below 1: it is not older);
    ``listed`` are all generations that the server shows, oldest first.
    """
    client, ours = broken.client, kept.statement
    for each in reversed(listed):
        proof = server.proof_of(each.receipt, each.client)
        if proof is None or not 0 <= ours.sequence - proof.statement.sequence <= 1:
            continue
        if not proof.holds():
            continue
        problem = order_problem(proof, kept)
        if problem is not None:
            return ServerForked(client, problem)
        if gone > 0 and proof.statement == ours:
            problem = f"{ours.generation} is in its list, and yet it is not shown as the newest"
            return HistoryBroken(client, problem)
    if gone < 1 or (listed and listed[-1].receipt.sequence >= ours.sequence):
        return broken
    return ServerRolledBack(client, _rolled_back(server, ours.received_ns, gone, listed, client))


def _rolled_back(
    server: ServerIdentity,
    signed_ns: int,
    gone: int,
    listed: Sequence[GenerationSummary],
    client: str,
) -> str:
    times = [each.receipt.received_ns for each in listed]
    before = [time for time in times if time <= signed_ns]
    copy = _utc(max(before)) if before else "the time before the first backup"
    since = len(times) - len(before)
    went_on = f", and {counted(since, 'generation')} came to it since" if since else ""
    return (
        f"its copy of repository {server.repository} is older than {_utc(signed_ns)}: "
        f"it was restored from a copy of {copy}{went_on}; "
        f"{counted(gone, 'generation')} of {client} {'is' if gone == 1 else 'are'} gone"
    )


def _utc(time_ns: int) -> str:
    return f"{datetime.fromtimestamp(time_ns // 10**9, UTC):%Y-%m-%d %H:%M:%S} UTC"


@define
class History:
    """What is remembered of one repository.

    ``pinned``: the server's key by ``secrets.yaml``; ``client``: who we are by it, if known.

    ``server``: who it is, once `meet` has found that to be the one that is known; ``None`` for one
    that signs nothing. ``unwritten``: why `meet` and `check` could not note what they saw, if they
    could not: on a disk that is full or read only, what is there can be got back all the same.
    """

    _repository: IRepository
    _fetch: Callable[[GenerationId], Awaitable[OpenedGeneration]]
    _state_file: Path
    _thread: OwnThread
    _pinned: bytes | None
    _client: ClientName | None = None
    server: ServerIdentity | None = field(init=False, default=None)
    unwritten: OSError | None = field(init=False, default=None)
    _last: Proof | None = field(init=False, default=None)

    async def meet(self, description: RepositoryDescription) -> None:
        """Make sure that the server is the one that is known here, or get to know it.

        Raises ``ServerKeyChanged``; `AnotherClient`.
        """
        shown, repository_id = description.server_key, description.repository_id
        memory = await self.load()
        own = self._client
        if own is not None and own != description.client and own in memory.newest:
            raise AnotherClient(own, description.client)
        known = memory.server_key or self._pinned
        if shown is None or repository_id is None:
            if known is not None:
                raise ServerKeyChanged(known.hex(), None)
            self.server = None
            return
        if known is not None and known != shown:
            raise ServerKeyChanged(known.hex(), shown.hex())
        if known is None:
            await self._try_change(lambda memory: evolve(memory, server_key=shown))
        self.server = ServerIdentity(shown, repository_id, description.repository)

    async def accept_server(self, key: bytes) -> None:
        """From now on the server with this key is the right one."""
        await self._change(lambda memory: evolve(memory, server_key=key))

    async def check(
        self, description: RepositoryDescription, newest: OpenedGeneration | None
    ) -> list[str]:
        """Compare the newest generation that the server shows with what was seen before.

        Raises ``HistoryBroken``, `ServerKeyChanged`; gives warnings.
        """
        await self.meet(description)
        client = description.client
        memory = await self.load()
        remembered = memory.newest.get(client)
        shown = await self._chain(remembered, newest)
        try:
            checked = trust.check(client, remembered, shown)
            proof = self._receipt_of(client, newest, memory.receipts.get(client))
        except ServerForked:
            raise
        except HistoryBroken as broken:
            raise await self._explained(broken, memory, newest) from broken
        await self._note(memory, client, checked.newest, proof)
        self._last = proof
        if checked.unseen:
            return [
                f"{checked.unseen} generations of {client} that were made since the last look "
                f"are no longer on the server"
            ]
        return []

    async def list_problem(
        self, client: ClientName, listed: Sequence[GenerationSummary]
    ) -> str | None:
        """Why the receipts in a list of all generations cannot be right; ``None``: they can."""
        if self.server is None:
            return None
        kept = (await self.load()).receipts.get(client)
        return await self._thread.call(list_problem, self.server, kept, listed)

    async def keep_receipt(self, opened: OpenedGeneration) -> None:
        """Check the receipt of what was just committed, and keep it.

        Raises ``BadReceipt``. A server that has no key, and never had, gives none.
        """
        if self.server is None:
            return
        manifest = opened.manifest
        proof = self.proof_of(opened)
        if proof is None:
            raise BadReceipt(manifest.generation, "the server did not sign the receipt rightly")
        # Not the newest that is kept by now: another run may have committed after this one.
        problem = order_problem(self._last, proof)
        if problem is not None:
            raise BadReceipt(manifest.generation, problem)
        self._last = proof
        await self._change(lambda memory: memory.with_receipt(manifest.client, proof))

    def is_verified(self, opened: OpenedGeneration) -> bool | None:
        """Whether the receipt bears the signature of the server's key; ``None``: it bears none."""
        if self.server is None or opened.receipt.countersigned is None:
            return None
        return self.proof_of(opened) is not None

    async def accept(
        self, description: RepositoryDescription, newest: OpenedGeneration | None, now_ns: int
    ) -> Loss | None:
        """Take what the server shows for the history; ``None``: it fits what is remembered.

        Raises ``HistoryBroken`` when it is none, in itself.
        """
        try:
            await self.check(description, newest)
        except AnotherClient:
            raise
        except HistoryBroken:
            client = description.client
            remembered = (await self.load()).newest.get(client)
            if remembered is None:
                raise
        else:
            return None
        shown = None if newest is None else newest.shown()
        checked = trust.check(client, None, [] if shown is None else [shown])
        gone = remembered.sequence - (0 if shown is None else shown.link.sequence)
        proof = None if newest is None else self.proof_of(newest)
        accepted: list[Loss] = []

        def change(memory: Remembered) -> Remembered:
            lost = memory.receipts.get(client)
            loss = Loss(client, remembered.generation, max(1, gone), now_ns, lost)
            accepted.append(loss)
            return memory.without(loss, checked.newest, proof)

        await self._change(change)
        return accepted[-1]

    async def load(self) -> Remembered:
        """What is remembered."""
        return await self._thread.call(state.load, self._state_file)

    async def remembered(self, client: ClientName) -> trust.Link | None:
        """The newest manifest of a client that was seen from here."""
        return (await self.load()).newest.get(client)

    async def remember(self, client: ClientName, link: trust.Link) -> None:
        """Note the newest manifest of a client."""
        await self._change(lambda memory: memory.with_newest(client, link))

    async def told(self, client: ClientName) -> None:
        """Note that the user has seen the losses of a client."""
        await self._try_change(lambda memory: memory.all_told(client))

    async def _change(self, changed: Callable[[Remembered], Remembered]) -> None:
        await self._thread.call(state.change, self._state_file, changed)

    async def _try_change(self, changed: Callable[[Remembered], Remembered]) -> None:
        try:
            await self._change(changed)
        except OSError as error:
            self.unwritten = error

    async def _chain(
        self, remembered: trust.Link | None, newest: OpenedGeneration | None
    ) -> list[trust.Shown]:
        """The newest manifest and its ancestors, as many as the check wants and there are."""
        shown = [] if newest is None else [newest.shown()]
        wanted = trust.ancestors_wanted(remembered, shown[0] if shown else None)
        while shown and len(shown) < wanted:
            before = shown[-1].previous
            if before is None:
                break
            try:
                shown.append((await self._fetch(before[0])).shown())
            except NotFound:
                break
        return shown

    def _receipt_of(
        self, client: ClientName, newest: OpenedGeneration | None, kept: Proof | None
    ) -> Proof | None:
        """The receipt of the newest generation shown, which cannot be older than ``kept``."""
        if newest is None or self.server is None:
            return None
        proof = self.proof_of(newest)
        if kept is None or kept.server_key != self.server.key:
            # What was committed before the server had a key, or this one, is not signed by it.
            return proof
        if proof is None:
            problem = f"the receipt of {newest.manifest.generation} is not signed by its key"
            raise HistoryBroken(client, problem)
        order = order_problem(kept, proof)
        if order is not None:
            raise ServerForked(client, order)
        return proof

    def proof_of(self, opened: OpenedGeneration) -> Proof | None:
        """The receipt of a generation, if it is signed by the server's key, and of this one."""
        if self.server is None:
            return None
        manifest = opened.manifest
        proof = self.server.proof_of(opened.receipt, manifest.client)
        if proof is None or not proof.holds():
            return None
        said = (proof.statement.generation, proof.statement.manifest_id)
        return proof if said == (manifest.generation, opened.manifest_id) else None

    async def _explained(
        self, broken: HistoryBroken, memory: Remembered, newest: OpenedGeneration | None
    ) -> HistoryBroken:
        client = ClientName(broken.client)
        kept, remembered = memory.receipts.get(client), memory.newest.get(client)
        if self.server is None or kept is None or kept.server_key != self.server.key:
            return broken
        if kept.statement.repository_id != self.server.repository_id:
            name = self.server.repository
            problem = f"repository {name} was made anew: it has another id than the one before"
            return ServerRolledBack(client, problem)
        shown = 0 if newest is None else newest.manifest.sequence
        gone = 0 if remembered is None else remembered.sequence - shown
        listed = [each.summary for each in await self._repository.list_generations()]
        return await self._thread.call(judge, broken, self.server, kept, gone, listed)

    async def _note(
        self,
        known: Remembered,
        client: ClientName,
        newest: trust.Link | None,
        proof: Proof | None,
    ) -> None:
        def change(memory: Remembered) -> Remembered:
            if newest is not None:
                memory = memory.with_newest(client, newest)
            return memory if proof is None else memory.with_receipt(client, proof)

        if change(known) != known:
            await self._try_change(change)
