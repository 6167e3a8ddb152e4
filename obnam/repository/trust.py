"""What this computer remembers of each client's history, so that a server cannot turn it back.

Manifests are signed and chained: each says its number in its client's chain, and which manifest
came before it. A server cannot make one up, but it can hide the newest, or show a copy of itself
from last month. So the newest that was seen is kept (`obnam.repository.state`), and what the
server shows must be that, or have it among its ancestors. When it has not, the receipts that the
server has signed tell more (`obnam.repository.history`). Pure.
"""

from collections.abc import Sequence
from itertools import pairwise

from attrs import frozen

from obnam.history_errors import HistoryBroken
from obnam.model.ids import ChunkId, ClientName, GenerationId


@frozen
class Link:
    """One manifest of a client's chain: its number (from 1), its generation, and its own name."""

    sequence: int
    generation: GenerationId
    manifest_id: ChunkId


@frozen
class Shown:
    """A manifest that the server shows: opened, its signature checked, and what it says of itself.

    ``previous`` is generation and manifest id of the one before it, ``None`` for the first.
    """

    client: ClientName
    link: Link
    previous: tuple[GenerationId, ChunkId] | None


@frozen
class Checked:
    """A history that holds. ``newest`` is to be remembered.

    ``unseen`` counts manifests between the remembered one and the newest that the server no
    longer has: generations that someone forgot, or that are hidden. They cannot be told apart.
    """

    newest: Link | None
    unseen: int = 0


def ancestors_wanted(remembered: Link | None, newest: Shown | None) -> int:
    """How many manifests, the newest among them, `check` wants to see."""
    if remembered is None or newest is None:
        return min(1, 0 if newest is None else 1)
    return max(1, newest.link.sequence - remembered.sequence)


def check(client: ClientName, remembered: Link | None, shown: Sequence[Shown]) -> Checked:
    """Compare what is remembered of ``client`` with the chain that the server shows.

    ``shown``: the newest manifest and its ancestors, newest first, as many as
    `ancestors_wanted` says or, where the server does not have them any more, fewer.
    Raises `HistoryBroken` when the history is older than what was seen, another one, or gone.
    """
    if not shown:
        if remembered is not None:
            raise HistoryBroken(
                client, f"generation {remembered.generation} and all before it are gone"
            )
        return Checked(None)
    _check_chain(client, shown)
    newest, oldest = shown[0], shown[-1]
    if remembered is None:
        return Checked(newest.link)
    if newest.link.sequence < remembered.sequence:
        raise HistoryBroken(
            client,
            f"its newest generation, {newest.link.generation}, has number "
            f"{newest.link.sequence}, but number {remembered.sequence}, "
            f"{remembered.generation}, was there before",
        )
    for manifest in shown:
        if manifest.link.sequence == remembered.sequence and manifest.link != remembered:
            raise _forked(client, remembered, manifest.link.generation)
    unseen = max(0, oldest.link.sequence - remembered.sequence - 1)
    if oldest.link.sequence == remembered.sequence + 1:
        before = (remembered.generation, remembered.manifest_id)
        if oldest.previous != before:
            other = "none" if oldest.previous is None else oldest.previous[0]
            raise _forked(client, remembered, other)
    return Checked(newest.link, unseen)


def _check_chain(client: ClientName, shown: Sequence[Shown]) -> None:
    """Each must be the client's, and the one that the manifest after it names."""
    for manifest in shown:
        if manifest.client != client:
            raise HistoryBroken(client, f"{manifest.link.generation} is of {manifest.client}")
        if (manifest.previous is None) != (manifest.link.sequence == 1):
            raise HistoryBroken(client, f"{manifest.link.generation} does not follow any other")
    for after, before in pairwise(shown):
        named = (before.link.generation, before.link.manifest_id)
        if after.previous != named or after.link.sequence != before.link.sequence + 1:
            raise HistoryBroken(
                client, f"{before.link.generation} is not what {after.link.generation} follows"
            )


def _forked(client: ClientName, remembered: Link, other: str) -> HistoryBroken:
    return HistoryBroken(
        client,
        f"there are two generations number {remembered.sequence}: {remembered.generation}, "
        f"which was there before, and {other}",
    )
