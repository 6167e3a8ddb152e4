"""Who may talk to the server: clients, their tokens (hashed), and invitations.

Kept apart from the repositories, in ``DATA/server.sqlite``; the `obnam-server` command changes it
while the server runs, so the server asks it anew each time. Tokens and codes are random and long,
so a plain SHA-256 of them tells nothing.
"""

import hashlib
import hmac
import secrets
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import define, evolve, field, frozen

from obnam.errors import AccessDenied, NotFound
from obnam.model.ids import ClientName, RepositoryName
from obnam.wire.messages import SCOPES, EnrolmentAnswer
from obnam_server.store.accounts.audit import Audit
from obnam_server.store.accounts.repository_settings import RepositorySettings
from obnam_server.store.disk.database import Database, database_errors, is_damaged
from obnam_server.store.disk.files import LOCAL_FILES
from obnam_server.store.disk.layout import prepare_directory
from obnam_server.store.errors import BadDataDirectory, StoreFailed

SCHEMA_VERSION = (1, 1)
DATABASE_NAME = "server.sqlite"

CODE_BYTES = 18
"""Random bytes of a one-time code: 24 characters."""

_COLUMNS = "name, repository, scopes, created, token IS NOT NULL, revoked"


@frozen
class Client:
    """One client. Times: ns since the epoch. ``enrolled`` false: only invited so far.

    ``by_next_token``: it came with the token that is to take over: see `Clients.take_over`.
    ``token_sha256``: the token that it came with; empty when it did not come with any.
    """

    name: ClientName
    repository: RepositoryName
    scopes: tuple[str, ...]
    created_ns: int
    enrolled: bool
    revoked_ns: int | None
    by_next_token: bool = False
    token_sha256: bytes = field(default=b"", repr=False, eq=False)


@define(eq=False)
class Clients:
    """All clients of a server. Any thread; several processes at a time."""

    _database: Database = field(repr=False)
    _clock: Callable[[], int]
    _audit: Audit | None = None

    @classmethod
    def open(
        cls, data_directory: Path, clock: Callable[[], int], audit: Audit | None = None
    ) -> "Clients":
        """Open (or make) the clients of a data directory, without taking hold of the rest of it.

        ``clock``: ns since the epoch; ``audit``: where enrolments are logged. `BadDataDirectory`,
        `UnknownFormat`, `StoreFailed`.
        """
        data = data_directory.absolute()
        prepare_directory(data, LOCAL_FILES)
        database = Database(data / DATABASE_NAME, "server", SCHEMA_VERSION)
        try:
            database.prepare()
        except StoreFailed as error:
            if not is_damaged(error.__cause__):
                raise
            problem = (
                f"is damaged ({error.problem}): put back a copy of it. If there is none, move it "
                f"away, and invite every client again"
            )
            raise BadDataDirectory(str(data / DATABASE_NAME), problem) from error
        return cls(database, clock, audit)

    def repository_settings(self) -> RepositorySettings:
        """What was set for repositories: it is kept in the same file."""
        return RepositorySettings(self._database)

    def invite(
        self,
        client: ClientName,
        repository: RepositoryName,
        scopes: Sequence[str],
        expires_ns: int,
    ) -> str:
        """A one-time code. Inviting a client again withdraws its earlier codes, not its token.

        The token it makes with the code takes the place of the one it had, and may have other
        scopes or another repository. ``ValueError``: an unknown scope.
        """
        if not scopes or not set(scopes) <= set(SCOPES):
            raise ValueError(f"scopes are {', '.join(SCOPES)}")
        code = secrets.token_urlsafe(CODE_BYTES)
        with self._database.transaction(durable=True) as connection:
            connection.execute(
                "INSERT INTO clients (name, repository, scopes, created) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (name) DO NOTHING",
                (client, repository, " ".join(scopes), self._clock()),
            )
            connection.execute(
                "DELETE FROM codes WHERE client = ? OR expires <= ?", (client, self._clock())
            )
            connection.execute(
                "INSERT INTO codes (code, client, repository, scopes, expires) "
                "VALUES (?, ?, ?, ?, ?)",
                (_digest(code), client, repository, " ".join(scopes), expires_ns),
            )
        return code

    def enrol(self, code: str, token_sha256: str) -> EnrolmentAnswer:
        """Use a code: from now on the token with this SHA-256 (64 hexadecimal digits) is good.

        Repeating it with the same digest is fine. `AccessDenied`: unknown, expired, or used.
        `StoreFull`: there is no room, be it for the audit log.
        """
        token = bytes.fromhex(token_sha256)
        with self._database.transaction(durable=True) as connection:
            row = connection.execute(
                "SELECT client, repository, scopes, token FROM codes "
                "WHERE code = ? AND expires > ?",
                (_digest(code), self._clock()),
            ).fetchone()
            if row is None or (row[3] is not None and not hmac.compare_digest(row[3], token)):
                raise AccessDenied("the server", "the invitation is unknown, expired or used")
            client, repository, scopes, used = row
            if used is None:
                _check_free(connection, token, client)
                connection.execute(
                    "UPDATE clients SET repository = ?, scopes = ?, token = ?, revoked = NULL, "
                    "next_token = NULL WHERE name = ?",
                    (repository, scopes, token, client),
                )
                connection.execute(
                    "UPDATE codes SET token = ? WHERE code = ?", (token, _digest(code))
                )
                if self._audit is not None:
                    # Last of all, and before it takes effect; if it cannot be, nothing does.
                    self._audit.record(
                        "enrolment",
                        repository=RepositoryName(repository),
                        client=ClientName(client),
                        details={"scopes": scopes.split()},
                    )
        return EnrolmentAnswer(RepositoryName(repository), ClientName(client))

    def rotate(self, client: ClientName, token_sha256: str) -> None:
        """Let another token be good besides the client's: it takes over when it is first used.

        Until then the old one stays good, so that a lost answer locks nobody out. Repeating it is
        fine; another token takes the place of one that was never used. `AccessDenied`: the token
        is another client's, or this client's was revoked meanwhile.
        """
        token = bytes.fromhex(token_sha256)
        with self._database.transaction(durable=True) as connection:
            _check_free(connection, token, client)
            changed = connection.execute(
                "UPDATE clients SET next_token = CASE WHEN token = ?1 THEN next_token ELSE ?1 END "
                "WHERE name = ?2 AND token IS NOT NULL",
                (token, client),
            ).rowcount
            if not changed:
                raise AccessDenied("the server", "the token was revoked")

    def take_over(self, token: str) -> None:
        """A next token was used: from now on it is the client's only one. Repeating it is fine."""
        digest = _digest(token)
        with self._database.transaction(durable=True) as connection:
            connection.execute(
                "UPDATE clients SET token = next_token, next_token = NULL WHERE next_token = ?",
                (digest,),
            )

    def authenticate(self, token: str) -> Client | None:
        """The client with this token, now or next, unless revoked."""
        digest = _digest(token)
        with database_errors(self._database.path):
            row = (
                self._database.get()
                .execute(
                    f"SELECT {_COLUMNS}, token, next_token FROM clients "
                    "WHERE (token = ?1 OR next_token = ?1) AND revoked IS NULL",
                    (digest,),
                )
                .fetchone()
            )
        # The look-up goes by the digest, so its time tells nothing of any token.
        if row is None:
            return None
        now, later = (hmac.compare_digest(known or b"", digest) for known in row[6:8])
        if not now and not later:
            return None
        return evolve(_client(row), by_next_token=later, token_sha256=digest)

    def check(self, client: Client) -> None:
        """Whether a client that `authenticate` found may still change anything.

        To be called where nothing else changes meanwhile: between a request's headers and its
        end it may have been revoked, or invited again. `AccessDenied`.
        """
        with database_errors(self._database.path):
            row = self._database.get().execute(
                "SELECT 1 FROM clients "
                "WHERE name = ?1 AND (token = ?2 OR next_token = ?2) AND revoked IS NULL",
                (client.name, client.token_sha256),
            )
            if row.fetchone() is None:
                raise AccessDenied("the server", "the token was revoked")

    def revoke(self, name: ClientName) -> None:
        """Revoke the token and the codes of a client. `NotFound`."""
        with self._database.transaction(durable=True) as connection:
            connection.execute("DELETE FROM codes WHERE client = ?", (name,))
            changed = connection.execute(
                "UPDATE clients SET revoked = coalesce(revoked, ?), token = NULL, "
                "next_token = NULL WHERE name = ?",
                (self._clock(), name),
            ).rowcount
            if not changed:
                raise NotFound(f"client {name}")

    def revoke_all(self, repository: RepositoryName) -> list[ClientName]:
        """Revoke every client of a repository, and the codes for it; who that was."""
        with self._database.transaction(durable=True) as connection:
            connection.execute(
                "DELETE FROM codes WHERE repository = ? OR client IN "
                "(SELECT name FROM clients WHERE repository = ?)",
                (repository, repository),
            )
            rows = connection.execute(
                "UPDATE clients SET revoked = ?, token = NULL, next_token = NULL "
                "WHERE repository = ? AND revoked IS NULL RETURNING name",
                (self._clock(), repository),
            ).fetchall()
        return sorted(ClientName(name) for (name,) in rows)

    def may_use(self, repository: RepositoryName) -> bool:
        """Whether any client has a good token for a repository."""
        with database_errors(self._database.path):
            row = self._database.get().execute(
                "SELECT 1 FROM clients WHERE repository = ? AND token IS NOT NULL LIMIT 1",
                (repository,),
            )
            return row.fetchone() is not None

    def list(self) -> list[Client]:
        """All, by name."""
        with database_errors(self._database.path):
            rows = self._database.get().execute(f"SELECT {_COLUMNS} FROM clients ORDER BY name")
            return [_client(row) for row in rows]

    def close(self) -> None:
        """Close the database, for all threads."""
        self._database.close()


def _check_free(connection: sqlite3.Connection, token: bytes, client: ClientName) -> None:
    """Raises `AccessDenied` when another client has the token."""
    taken = connection.execute(
        "SELECT 1 FROM clients WHERE (token = ?1 OR next_token = ?1) AND name <> ?2",
        (token, client),
    ).fetchone()
    if taken:
        raise AccessDenied("the server", "the token is another client's")


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def _client(row: tuple[Any, ...]) -> Client:
    return Client(
        name=ClientName(row[0]),
        repository=RepositoryName(row[1]),
        scopes=tuple(row[2].split()),
        created_ns=row[3],
        enrolled=bool(row[4]),
        revoked_ns=row[5],
    )
