"""Who may talk to the server: clients, their tokens (hashed), and invitations.

Kept apart from the repositories, in ``DATA/server.sqlite``; the `obnam-server` command changes it
while the server runs.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import frozen

from obnam.model.ids import ClientName, RepositoryName
from obnam.wire.messages import EnrolmentAnswer


@frozen
class Client:
    """One client. Times: ns since the epoch. ``enrolled`` false: only invited so far."""

    name: ClientName
    repository: RepositoryName
    scopes: tuple[str, ...]
    created_ns: int
    enrolled: bool
    revoked_ns: int | None


class Clients:
    """All clients of a server. Any thread; several processes at a time."""

    @classmethod
    def open(cls, data_directory: Path, clock: Callable[[], int]) -> "Clients":
        """Open (or make) the clients of a data directory, without taking hold of the rest of it."""
        raise NotImplementedError

    def invite(
        self,
        client: ClientName,
        repository: RepositoryName,
        scopes: Sequence[str],
        expires_ns: int,
    ) -> str:
        """A one-time code. Inviting a client again withdraws its earlier codes, not its token."""
        raise NotImplementedError

    def enrol(self, code: str, token_sha256: str) -> EnrolmentAnswer:
        """Use a code. `AccessDenied`; repeating it with the same digest is fine."""
        raise NotImplementedError

    def authenticate(self, token: str) -> Client | None:
        """The client with this token, unless revoked."""
        raise NotImplementedError

    def revoke(self, name: ClientName) -> None:
        """Revoke token and codes of a client. `NotFound`."""
        raise NotImplementedError

    def list(self) -> list[Client]:
        """All, by name."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the database, for all threads."""
        raise NotImplementedError
