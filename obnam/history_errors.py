"""What can be wrong with the history that a server shows: see `obnam.repository.history`."""

from typing import ClassVar

from attrs import define

from obnam.errors import ObnamError


@define(eq=False, repr=False)
class HistoryBroken(ObnamError):
    """The server shows an older, forked or incomplete history of a client's generations."""

    client: str
    problem: str
    because: ClassVar[str] = "It may have been restored from an old copy, or it lies"

    def __str__(self) -> str:
        said = f"the server does not show the whole history of client {self.client}: {self.problem}"
        return f"{said}. {self.because}. Ask its administrator, then say: obnam accept-history"


class ServerRolledBack(HistoryBroken):
    """The server has an older copy of a repository than the one that it signed receipts for."""


class ServerForked(HistoryBroken):
    """The server has signed two histories of one repository: two receipts with one number."""

    because = "It went on from an old copy of itself, or it lies; `obnam receipt` shows the proof"


@define(eq=False, repr=False)
class AnotherClient(HistoryBroken):
    """The server says that this computer is a client that it is not.

    So it could show the history of that one instead, and hide all that was seen here.
    """

    def __str__(self) -> str:
        return (
            f"the server takes this computer for client {self.problem}, and by secrets.yaml it is "
            f"{self.client}, whose generations were seen here. It lies, or the token is that of "
            f"{self.problem}: then say so in secrets.yaml"
        )


@define(eq=False, repr=False)
class ServerKeyChanged(ObnamError):
    """The server signs receipts with another key than the one that is known here, or with none."""

    known: str
    shown: str | None

    def __str__(self) -> str:
        before = f"the server's key was {self.known}, and now it"
        if self.shown is None:
            return f"{before} shows none: it is another server, or an older Obnam; update it"
        way = f"If its administrator confirms this key, say: obnam accept-server {self.shown}"
        return f"{before} is {self.shown}: it is another server, or was set up anew. {way}"


@define(eq=False, repr=False)
class BadReceipt(ObnamError):
    """A commit went through, but the server's signed receipt for it is missing or wrong."""

    generation: str
    problem: str

    def __str__(self) -> str:
        return f"generation {self.generation} is committed, but {self.problem}; see `obnam list`"
