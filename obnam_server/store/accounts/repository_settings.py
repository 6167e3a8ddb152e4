"""What an administrator set for each repository: its quota, and when to miss a backup.

Kept with the clients in ``DATA/server.sqlite``, apart from the repositories' own data.
"""

from collections.abc import Mapping

from attrs import define, field

from obnam.model.ids import ClientName, RepositoryName
from obnam_server.store.disk.database import Database, database_errors

_WHOLE = ""
"""Stands for all clients of a repository; no client is called so."""


@define(eq=False)
class RepositorySettings:
    """The settings of all repositories. Any thread; several processes at a time."""

    _database: Database = field(repr=False)

    def quota(self, repository: RepositoryName) -> int | None:
        """How many bytes its segments may have together; ``None``: no limit."""
        with database_errors(self._database.path):
            row = (
                self._database.get()
                .execute("SELECT quota FROM repositories WHERE name = ?", (repository,))
                .fetchone()
            )
            return None if row is None or row[0] is None else int(row[0])

    def set_quota(self, repository: RepositoryName, quota_bytes: int | None) -> None:
        """Change it. ``ValueError``: not above 0."""
        if quota_bytes is not None and quota_bytes <= 0:
            raise ValueError("a quota must be above 0")
        with self._database.transaction(durable=True) as connection:
            connection.execute(
                "INSERT INTO repositories (name, quota) VALUES (?, ?) "
                "ON CONFLICT (name) DO UPDATE SET quota = excluded.quota",
                (repository, quota_bytes),
            )

    def alert_after_s(self, repository: RepositoryName) -> Mapping[ClientName | None, int]:
        """After how many seconds without a good generation a client's backup is missed.

        Under ``None`` for those clients that are not named.
        """
        with database_errors(self._database.path):
            rows = self._database.get().execute(
                "SELECT client, seconds FROM alert_after WHERE repository = ?", (repository,)
            )
            return {None if row[0] == _WHOLE else ClientName(row[0]): row[1] for row in rows}

    def set_alert_after_s(
        self, repository: RepositoryName, client: ClientName | None, seconds: int | None
    ) -> None:
        """Change it for one client, or for all that are not named. ``ValueError``: not above 0."""
        if seconds is not None and seconds <= 0:
            raise ValueError("the time until a backup is missed must be above 0")
        key = (repository, client or _WHOLE)
        with self._database.transaction(durable=True) as connection:
            connection.execute("DELETE FROM alert_after WHERE (repository, client) = (?, ?)", key)
            if seconds is not None:
                connection.execute("INSERT INTO alert_after VALUES (?, ?, ?)", (*key, seconds))

    def forget(self, repository: RepositoryName) -> None:
        """Forget all settings of a repository that is no more."""
        with self._database.transaction(durable=True) as connection:
            connection.execute("DELETE FROM repositories WHERE name = ?", (repository,))
            connection.execute("DELETE FROM alert_after WHERE repository = ?", (repository,))
