"""The key pair with which a server signs receipts. Made at the first start, and kept for good.

``DATA/server-key`` holds it. Clients know the server by it: with another key, each of them must be
told to accept it. See ``docs/format/receipt.md``.
"""

import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field

from obnam.wire.receipts import PUBLIC_KEY_BYTES, Statement
from obnam_server.store.disk.files import IFiles, disk_errors, write_durably
from obnam_server.store.errors import BadDataDirectory

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_NAME = "server-key"
FORMAT = 1

_FILE_MAX = 4096
_SEED_BYTES = 32


@define(eq=False)
class ServerKey:
    """An Ed25519 key pair. ``public``: 32 bytes."""

    public: bytes
    _path: Path
    _seed: bytes = field(repr=False)
    _private: "Ed25519PrivateKey | None" = field(init=False, repr=False, default=None)

    @classmethod
    def open(cls, data: Path, files: IFiles) -> "ServerKey":
        """The key of a data directory, made if there is none. The caller holds the directory.

        `BadDataDirectory` when it is damaged or others can read it, `StoreFull`, `StoreFailed`.
        """
        path = data / KEY_NAME
        with disk_errors(path):
            for left in data.glob(f"{KEY_NAME}.*.tmp"):
                files.remove(left)
            if not path.exists():
                _make(path, files)
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise BadDataDirectory(str(path), f"others can read it; run: chmod 600 {path}")
            public, seed = _read(path)
        return cls(public, path, seed)

    def sign(self, statement: Statement) -> bytes:
        """64 bytes. `BadDataDirectory` when the two halves of the key do not belong together."""
        return self._opened().sign(statement.encode())

    def _opened(self) -> "Ed25519PrivateKey":
        if self._private is None:
            # Slow to import, and not needed to answer: an embedded server lives for seconds.
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

            private = Ed25519PrivateKey.from_private_bytes(self._seed)
            if private.public_key().public_bytes_raw() != self.public:
                raise _damaged(self._path)
            self._private = private
        return self._private


def _make(path: Path, files: IFiles) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.from_private_bytes(os.urandom(_SEED_BYTES))
    document = {
        "format": FORMAT,
        "public": private.public_key().public_bytes_raw().hex(),
        "secret": private.private_bytes_raw().hex(),
    }
    write_durably(files, path, json.dumps(document, indent=1).encode("ascii") + b"\n")


def _read(path: Path) -> tuple[bytes, bytes]:
    """Public key and seed."""
    with path.open("rb") as file:
        content = file.read(_FILE_MAX)
    try:
        document = json.loads(content)
        public, seed = bytes.fromhex(document["public"]), bytes.fromhex(document["secret"])
        if document["format"] != FORMAT or (len(public), len(seed)) != (
            PUBLIC_KEY_BYTES,
            _SEED_BYTES,
        ):
            raise ValueError("another format")
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path) from error
    return public, seed


def _damaged(path: Path) -> BadDataDirectory:
    return BadDataDirectory(
        str(path),
        "is damaged; put back a copy of it. If there is none, move it away: another key is made, "
        "and each client has to accept it (`obnam accept-server`)",
    )
