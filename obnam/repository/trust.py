"""What this computer remembers of each client's history, so that a server cannot turn it back.

Manifests are signed and chained: each says its number in its client's chain, and which manifest
came before it. A server cannot make one up, but it can hide the newest, or show a copy of itself
from last month. So the newest that was seen is kept here, in one small file a repository, and
what the server shows must be that, or have it among its ancestors.

`check` decides; `load` and `remember` read and write the file, and block.
"""

import fcntl
import json
import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from attrs import field, frozen

from obnam.errors import ConfigurationError, HistoryBroken
from obnam.model.ids import (
    ChunkId,
    ClientName,
    GenerationId,
    parse_chunk_id,
    parse_client_name,
    parse_generation_id,
)

FORMAT = 1

STATE_MAX = 1 << 20
"""Bytes of a state file: some 7000 clients."""


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


@frozen
class Remembered:
    """The content of a state file: the newest manifest seen of each client."""

    newest: Mapping[ClientName, Link] = field(factory=dict)

    def with_newest(self, client: ClientName, link: Link) -> "Remembered":
        """Remember ``link`` too, unless a newer one is remembered already."""
        known = self.newest.get(client)
        if known is not None and known.sequence > link.sequence:
            return self
        return Remembered({**self.newest, client: link})


def state_file(state_home: Path, fingerprint: str) -> Path:
    """Where it lies: ``XDG_STATE_HOME/obnam/FINGERPRINT.json``."""
    return state_home / "obnam" / f"{fingerprint}.json"


def load(path: Path) -> Remembered:
    """Read the state file; none yet: nothing is remembered.

    Raises `ConfigurationError` for a damaged one: it is not silently forgotten.
    """
    try:
        with path.open("rb") as file:
            data = file.read(STATE_MAX + 1)
    except FileNotFoundError:
        return Remembered()
    except OSError as error:
        raise ConfigurationError(str(path), f"cannot be read: {error.strerror}") from error
    try:
        return _decode(data)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ConfigurationError(
            str(path),
            "is damaged. It guards against a server that hides generations; look at "
            "`obnam list`, and if all you expect is there, remove this file",
        ) from error


def remember(path: Path, client: ClientName, link: Link) -> None:
    """Write it down, durably and whole, beside what other runs of Obnam write.

    Raises `ConfigurationError` when it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.with_suffix(".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = load(path)
            after = before.with_newest(client, link)
            if after != before:
                _replace(path, _encode(after))
    except OSError as error:
        raise ConfigurationError(str(path), f"cannot be written: {error.strerror}") from error


def _replace(path: Path, data: bytes) -> None:
    """Temporary file, fsync, rename, fsync of the directory. The caller holds the lock."""
    temporary = path.with_suffix(".new")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _encode(remembered: Remembered) -> bytes:
    clients = {
        client: [link.sequence, link.generation, link.manifest_id.hex()]
        for client, link in remembered.newest.items()
    }
    return json.dumps({"format": FORMAT, "clients": clients}, indent=1).encode("ascii")


def _decode(data: bytes) -> Remembered:
    document = json.loads(data)
    if document["format"] != FORMAT or len(data) > STATE_MAX:
        raise ValueError("another format")
    newest = {}
    for client, (sequence, generation, manifest_id) in document["clients"].items():
        if type(sequence) is not int or sequence < 1:
            raise ValueError("not a sequence number")
        newest[parse_client_name(client)] = Link(
            sequence,
            parse_generation_id(generation),
            parse_chunk_id(bytes.fromhex(manifest_id)),
        )
    return Remembered(newest)
