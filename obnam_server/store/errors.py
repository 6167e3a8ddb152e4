"""What can go wrong in the store, beyond what `obnam.errors` names already.

The API turns each into one answer; the texts name the thing and the way out.
"""

from datetime import UTC, datetime

from attrs import define

from obnam.errors import GenerationKept, ObnamError, RequestRefused, UsageError


class StoreError(ObnamError):
    """The root of the store's own errors."""


@define(eq=False)
class StoreFull(StoreError):
    """No room on the disk, or no ``inodes`` (ENOSPC, EDQUOT); HTTP 507.

    What was acknowledged is kept.
    """

    path: str
    inodes: bool = False

    def __str__(self) -> str:
        if self.inodes:
            return (
                f"{self.path}: the disk has no inodes left (`df -i`), so that no file can be made; "
                f"remove files there and try again"
            )
        return f"{self.path}: the disk is full; make room and try again"


@define(eq=False)
class StoreInUse(StoreError):
    """Another process has the data directory open."""

    path: str
    pid: int | None

    def __str__(self) -> str:
        who = f"process {self.pid}" if self.pid else "another process"
        return f"{self.path}: in use by {who}; wait until it has ended, or stop it"


@define(eq=False)
class BadDataDirectory(StoreError):
    """The data directory cannot be used: missing, wrong owner or mode, or not one of ours."""

    path: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


class BadRepositoryFile(BadDataDirectory):
    """The file with the id of a repository is missing or damaged. Its segments carry it, too."""

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}; run: obnam-server rebuild-index"


@define(eq=False)
class StoreFailed(StoreError):
    """The disk or the index failed. What was asked for was not done."""

    path: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}; look at the disk and the system's log"


class StoreUncertain(StoreFailed):
    """It is not known whether what was asked for was done.

    The repository takes no more changes until it is opened again, which finds out.
    """

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}; look at the disk, then restart the server"


@define(eq=False)
class DamagedIndex(StoreError):
    """A repository's index cannot be read. Its chunks are not concerned."""

    path: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}; run: obnam-server rebuild-index"


@define(eq=False)
class DamagedAudit(StoreError):
    """The audit log is not as it was written. ``place``: file and line."""

    place: str
    problem: str

    def __str__(self) -> str:
        return f"audit log: {self.place}: {self.problem}"


@define(eq=False)
class DamagedSegment(StoreError):
    """A segment is not what it says: cut short, changed, or of another repository."""

    segment: str
    problem: str

    def __str__(self) -> str:
        return f"segment {self.segment}: {self.problem}"


class DamagedKeyring(DamagedSegment):
    """The keyring cannot be read. Whoever has the key can make another one, without this one."""

    def __str__(self) -> str:
        return (
            f"the keyring is damaged ({super().__str__()}); run: obnam-server rebuild-index, which "
            f"gives it up; then `obnam key add` on a computer that has the key"
        )


@define(eq=False)
class QuotaBelowUse(UsageError):
    """A quota is not set, because the repository has more already."""

    repository: str
    quota_bytes: int
    used_bytes: int

    def __str__(self) -> str:
        return (
            f"repository {self.repository} has {self.used_bytes:,} bytes already, more than "
            f"{self.quota_bytes:,}: nothing could be backed up. Give a larger quota, or force it"
        )


class SetDiffers(RequestRefused):
    """A commit's count or XOR differ from the session's set; HTTP 409 ``set-differs``."""


class KeyringChanged(RequestRefused):
    """Somebody else replaced the keyring since it was read; HTTP 412."""


class Kept(GenerationKept):
    """A generation is not deleted, because something keeps it; HTTP 409 ``kept``."""


@define(eq=False)
class CollectionWaits(StoreError):
    """It is not known what backups rely on that began before the server was restarted.

    ``clients``: whose they are; ``until_ns``: when the last of them is given up, unless it is heard
    of until then (ns since the epoch).
    """

    repository: str
    clients: tuple[str, ...]
    until_ns: int

    def __str__(self) -> str:
        until = datetime.fromtimestamp(self.until_ns // 10**9, UTC)
        return (
            f"repository {self.repository}: collection waits for backups that began before the "
            f"server was restarted (of {', '.join(self.clients)}): until they end, or till "
            f"{until:%Y-%m-%d %H:%M} UTC, a day after their last request"
        )
