"""The state file: what this computer remembers of a repository and its server.

One small JSON file a repository. It is the memory that a server cannot turn back: the newest
manifest of each client that was seen, the newest receipt that each client was given, and the
server's key where it was not part of the invitation. Everything here blocks.
"""

import fcntl
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from obnam.errors import ConfigurationError, naming
from obnam.model.ids import (
    ClientName,
    GenerationId,
    parse_chunk_id,
    parse_client_name,
    parse_generation_id,
)
from obnam.repository.proofs import Proof
from obnam.repository.trust import Link
from obnam.wire.receipts import PUBLIC_KEY_BYTES

FORMAT = 1

STATE_MAX = 1 << 20
"""Bytes of a state file: some 1000 clients."""

LOSSES_MAX = 20
"""Accepted losses that are remembered; older ones are forgotten."""


@frozen
class Loss:
    """Generations that the server no longer has, accepted by the user at ``accepted_ns``.

    ``generation`` was the newest of at least ``count``; ``proof`` is the server's receipt for it,
    if there was one. ``told``: `obnam status` has shown it since.
    """

    client: ClientName
    generation: GenerationId
    count: int
    accepted_ns: int
    proof: Proof | None = None
    told: bool = False


@frozen
class Remembered:
    """The content of a state file.

    ``newest``: the newest manifest seen of each client; ``receipts``: the newest receipt given to
    each; ``server_key``: the key accepted here, which counts more than that of ``secrets.yaml``.
    """

    newest: Mapping[ClientName, Link] = field(factory=dict)
    receipts: Mapping[ClientName, Proof] = field(factory=dict)
    server_key: bytes | None = None
    losses: tuple[Loss, ...] = ()

    def with_newest(self, client: ClientName, link: Link) -> "Remembered":
        """Remember ``link`` too, unless a newer one is remembered already."""
        known = self.newest.get(client)
        if known is not None and known.sequence > link.sequence:
            return self
        return evolve(self, newest={**self.newest, client: link})

    def with_receipt(self, client: ClientName, proof: Proof) -> "Remembered":
        """Remember ``proof`` too, unless a newer one of the same server is remembered already."""
        known = self.receipts.get(client)
        if (
            known is not None
            and known.is_of_the_same(proof)
            and known.statement.sequence > proof.statement.sequence
        ):
            return self
        return evolve(self, receipts={**self.receipts, client: proof})

    def without(self, loss: Loss, newest: Link | None, proof: Proof | None) -> "Remembered":
        """Accept a loss: ``newest``, with its receipt, is all there is of the client now."""
        links, receipts = dict(self.newest), dict(self.receipts)
        links.pop(loss.client, None)
        receipts.pop(loss.client, None)
        if newest is not None:
            links[loss.client] = newest
        if proof is not None:
            receipts[loss.client] = proof
        losses = (*self.losses, loss)[-LOSSES_MAX:]
        return evolve(self, newest=links, receipts=receipts, losses=losses)

    def all_told(self, client: ClientName) -> "Remembered":
        """The user has seen the losses of a client."""
        told = tuple(evolve(e, told=True) if e.client == client else e for e in self.losses)
        return evolve(self, losses=told)

    def proof_for(self, client: ClientName, generation: str) -> Proof | None:
        """The receipt kept here whose generation's id begins so."""
        kept = self.receipts.get(client)
        lost = [e.proof for e in reversed(self.losses) if e.client == client]
        for proof in (kept, *lost):
            if proof is not None and proof.statement.generation.startswith(generation):
                return proof
        return None


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
    except (FileNotFoundError, NotADirectoryError):
        return Remembered()
    except OSError as error:
        raise ConfigurationError(str(path), f"cannot be read: {error.strerror}") from error
    try:
        return _decode(data)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ConfigurationError(
            str(path),
            "is damaged. It guards against a server that hides generations: move it away, and look "
            "whether `obnam list` shows all that you expect",
        ) from error


def change(path: Path, changed: Callable[[Remembered], Remembered]) -> None:
    """Write down what ``changed`` makes of the state, durably and whole, beside other runs.

    Raises ``OSError``, which names it, when it cannot be written.
    """
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.with_suffix(".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = load(path)
            after = changed(before)
            if after != before:
                _replace(path, _encode(after))


def remember(path: Path, client: ClientName, link: Link) -> None:
    """Write down the newest manifest of a client. Raises ``OSError``."""
    change(path, lambda state: state.with_newest(client, link))


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


def _encode(state: Remembered) -> bytes:
    document: dict[str, Any] = {
        "format": FORMAT,
        "clients": {
            client: [link.sequence, link.generation, link.manifest_id.hex()]
            for client, link in state.newest.items()
        },
    }
    if state.receipts:
        document["receipts"] = {c: proof.to_json() for c, proof in state.receipts.items()}
    if state.server_key is not None:
        document["server_key"] = state.server_key.hex()
    if state.losses:
        document["losses"] = [
            {
                "client": loss.client,
                "generation": loss.generation,
                "count": loss.count,
                "accepted_ns": loss.accepted_ns,
                "proof": None if loss.proof is None else loss.proof.to_json(),
                "told": loss.told,
            }
            for loss in state.losses
        ]
    return json.dumps(document, indent=1).encode("ascii")


def _decode(data: bytes) -> Remembered:
    document = json.loads(data)
    if document["format"] != FORMAT or len(data) > STATE_MAX:
        raise ValueError("another format")
    newest = {}
    for client, (sequence, generation, manifest_id) in document["clients"].items():
        newest[parse_client_name(client)] = Link(
            _counted(sequence),
            parse_generation_id(generation),
            parse_chunk_id(bytes.fromhex(manifest_id)),
        )
    receipts = {
        parse_client_name(client): Proof.from_json(proof)
        for client, proof in document.get("receipts", {}).items()
    }
    key = document.get("server_key")
    if key is not None and len(bytes.fromhex(key)) != PUBLIC_KEY_BYTES:
        raise ValueError("not a key")
    return Remembered(
        newest,
        receipts,
        None if key is None else bytes.fromhex(key),
        tuple(_loss(each) for each in document.get("losses", [])),
    )


def _loss(value: Mapping[str, Any]) -> Loss:
    proof = value["proof"]
    return Loss(
        parse_client_name(value["client"]),
        parse_generation_id(value["generation"]),
        _counted(value["count"]),
        _counted(value["accepted_ns"]),
        None if proof is None else Proof.from_json(proof),
        value["told"] is True,
    )


def _counted(value: object) -> int:
    if type(value) is not int or value < 1:
        raise ValueError("not a number from 1 on")
    return value
