"""Everything that can go wrong and is foreseen, as one tree.

Each error holds fields, has one message that names the thing and the way out, an exit code,
and says whether trying again may help (``temporary``). Whoever raises one because of another
error raises it ``from`` that cause.

attrs makes no ``__repr__`` for them: that of an exception shows the fields, too, and to compile 27
others would be a hundredth of each start.

The exit codes are those of ``docs/exit-codes.md``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike, fspath
from typing import ClassVar

from attrs import define

FAILED = 1
WRONG_USAGE = 2
DONE_WITH_WARNINGS = 3
"""Exit codes of both programs. The last is no error's: what was asked for was done."""


class ObnamError(Exception):
    """The root of the tree. Its text is one line, fit to be shown to a user as it is."""

    exit_code: ClassVar[int] = FAILED
    temporary: ClassVar[bool] = False


@contextmanager
def naming(path: PathLike[str] | str) -> Iterator[None]:
    """An ``OSError`` raised within says where: that of a write, for one, does not by itself."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.strerror is not None:
            raise OSError(error.errno, error.strerror, fspath(path)) from error
        raise


# What the user gave us


class UsageError(ObnamError):
    """The command cannot be carried out as it was given."""

    exit_code = WRONG_USAGE


@define(eq=False, repr=False)
class ConfigurationError(UsageError):
    """A configuration or secrets file is missing, unreadable, or holds something wrong."""

    path: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


@define(eq=False, repr=False)
class UnknownReference(UsageError):
    """No generation answers to a REF."""

    reference: str
    problem: str = (
        "no such generation; `obnam list` shows those there are, and with --trash those deleted"
    )

    def __str__(self) -> str:
        return f"{self.reference or repr('')}: {self.problem}"


@define(eq=False, repr=False)
class BadInvitation(UsageError):
    """What was given as an invitation is none. The text does not repeat it: it may be secret."""

    problem: str

    def __str__(self) -> str:
        return f"the invitation cannot be used: {self.problem}"


@define(eq=False, repr=False)
class BadTarget(UsageError):
    """A restore cannot use the target it was given."""

    path: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


@define(eq=False, repr=False)
class UnknownPath(UsageError):
    """A path that is to be restored is not in the generation."""

    path: str
    problem: str = "not in the generation; `obnam list-files` shows what is"

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


@define(eq=False, repr=False)
class TargetFull(ObnamError):
    """There is no room left where a restore writes."""

    path: str
    inodes: bool = False

    def __str__(self) -> str:
        what = "no inodes (see `df -i`)" if self.inodes else "no space"
        return (
            f"{self.path}: {what} left. What was restored so far is there; make room, and "
            f"restore the rest with --overwrite if-changed"
        )


@define(eq=False, repr=False)
class BadRoot(ObnamError):
    """A root is missing or cannot be read: fatal, so that a forgotten mount is noticed."""

    path: str
    problem: str

    def __str__(self) -> str:
        return (
            f"root {self.path}: {self.problem}; nothing was backed up. "
            f"Mount what is not mounted, or correct `roots`"
        )


# Keys and seals


class WrongPassphrase(ObnamError):
    """No slot of the keyring opens with the passphrase."""

    def __str__(self) -> str:
        return "the passphrase opens no slot of the repository's keyring; check it and try again"


@define(eq=False, repr=False)
class KeyringTooDear(ObnamError):
    """A slot of the keyring asks for more memory than this machine gives."""

    memory_bytes: int

    def __str__(self) -> str:
        return (
            f"opening the keyring takes {self.memory_bytes >> 20} MiB of memory, "
            f"which this machine cannot give; free some, or use a larger machine"
        )


@define(eq=False, repr=False)
class SealBroken(ObnamError):
    """A sealed chunk does not open: damaged, swapped, truncated or made by someone else.

    The one public failure of opening: it does not say which check failed.
    """

    what: str

    def __str__(self) -> str:
        return f"{self.what} is damaged or not what was asked for; it was not used"


@define(eq=False, repr=False)
class UnknownFormat(ObnamError):
    """Something was written by a newer Obnam than this one."""

    what: str
    version: str
    known: str

    def __str__(self) -> str:
        return (
            f"{self.what} has format {self.version}, this Obnam knows {self.known}: "
            f"install a newer Obnam"
        )


# Generations


@define(eq=False, repr=False)
class DamagedGeneration(ObnamError):
    """A generation's database or manifest cannot be used."""

    generation: str
    problem: str

    def __str__(self) -> str:
        return f"generation {self.generation}: {self.problem}"


@define(eq=False, repr=False)
class ManifestLost(DamagedGeneration):
    """There is no manifest of a generation any more that its seal and signature hold together."""


@define(eq=False, repr=False)
class HostileEntry(ObnamError):
    """A generation has an entry that no backup makes, such as a name with ``/`` in it."""

    name: str
    problem: str

    def __str__(self) -> str:
        return f"{self.name}: {self.problem}; it was not restored"


@define(eq=False, repr=False)
class GenerationKept(ObnamError):
    """A generation cannot be deleted, or what is in the trash not pinned. ``problem``: why."""

    what: str
    problem: str

    def __str__(self) -> str:
        return f"{self.what} is kept: {self.problem}"


# The server and the way to it


@define(eq=False, repr=False)
class ServerUnreachable(ObnamError):
    """No answer from the server, after all tries. ``silent_s``: for so long it was listened for.

    ``carried_bytes``: so much of the request's and of the answer's body was under way, or through,
    when the connection broke off. ``whole_chunks``: so many of those asked for had come.
    """

    temporary = True
    server: str
    problem: str
    silent_s: float = 0.0
    carried_bytes: int = 0
    whole_chunks: int = 0

    def __str__(self) -> str:
        return f"{self.server} cannot be reached: {self.problem}"


@define(eq=False, repr=False)
class EmbeddedServerFailed(ObnamError):
    """The server of a repository in a directory does not start, or its command fails."""

    directory: str
    problem: str

    def __str__(self) -> str:
        return f"the repository in {self.directory} cannot be used: {self.problem}"


@define(eq=False, repr=False)
class ServerBusy(ObnamError):
    """The server asks to come back later (429, 503, 5xx)."""

    temporary = True
    server: str
    status: int
    retry_after_s: float | None = None
    problem: str = ""

    def __str__(self) -> str:
        said = f": {self.problem}" if self.problem else ""
        return f"{self.server} cannot answer now (HTTP status {self.status}{said}); try again later"


@define(eq=False, repr=False)
class UntrustedServer(ObnamError):
    """The server's certificate is not trusted, or not the pinned one."""

    server: str
    problem: str

    def __str__(self) -> str:
        return f"{self.server} is not trusted: {self.problem}"


@define(eq=False, repr=False)
class AccessDenied(ObnamError):
    """The token is unknown, revoked, or lacks a scope (401, 403)."""

    server: str
    problem: str

    def __str__(self) -> str:
        return f"{self.server} refuses access: {self.problem}"


@define(eq=False, repr=False)
class NotFound(ObnamError):
    """The server does not have it, or it is not ours: both give the same answer (404)."""

    what: str

    def __str__(self) -> str:
        return f"the server does not have {self.what}"


@define(eq=False, repr=False)
class ServerFull(ObnamError):
    """The server has no room (507)."""

    server: str

    def __str__(self) -> str:
        return (
            f"{self.server} is full. What was sent so far is kept; "
            f"make room there and run the command again"
        )


@define(eq=False, repr=False)
class OverQuota(ObnamError):
    """The repository would exceed its quota (507). Sizes in bytes, 0: the server did not say."""

    server: str
    used_bytes: int
    quota_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.server} has no room for what was to come: the repository has "
            f"{self.used_bytes:,} bytes of at most {self.quota_bytes:,}. What was sent so far is "
            f"kept; ask the server's administrator for a larger quota or to delete generations, "
            f"and run the command again"
        )


@define(eq=False, repr=False)
class ServerMisbehaved(ObnamError):
    """An answer that the protocol does not allow: the server's mistake, not ours."""

    server: str
    problem: str

    def __str__(self) -> str:
        return f"{self.server} gave an answer that makes no sense: {self.problem}"


@define(eq=False, repr=False)
class RequestRefused(ObnamError):
    """The server says that our request was wrong (400, 413, 422)."""

    server: str
    problem: str

    def __str__(self) -> str:
        return f"{self.server} refused a request: {self.problem}"


@define(eq=False, repr=False)
class CommitConflict(ObnamError):
    """Another backup of the same client was committed meanwhile (compare and swap)."""

    expected: str | None
    latest: str | None

    def __str__(self) -> str:
        return (
            f"another backup of this client was committed meanwhile: expected "
            f"{self.expected or 'none'} as the latest generation, the server has "
            f"{self.latest or 'none'}. Nothing was lost; run the backup again"
        )


@define(eq=False, repr=False)
class ChunksMissing(ObnamError):
    """A commit was refused, because chunks that it needs are not on the server."""

    count: int
    first: tuple[bytes, ...] = ()

    def __str__(self) -> str:
        return (
            f"the server lacks {self.count} chunks of the generation "
            f"(first: {', '.join(i.hex()[:16] for i in self.first[:3])}); run the backup again"
        )


@define(eq=False, repr=False)
class SessionLost(ObnamError):
    """The server no longer knows the session of the running backup."""

    session: str

    def __str__(self) -> str:
        return "the server no longer knows this backup's session; run the backup again"
