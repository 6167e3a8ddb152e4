"""What the index keeps of running backups: a part of `obnam_server.store.seams.index.IIndex`."""

from attrs import frozen
from pyroaring import BitMap64
from zope.interface import Interface

from obnam.model.chunk import SetSum
from obnam.model.ids import ClientName, GenerationId, SessionId


@frozen
class SessionRecord:
    """What the index keeps of one session, apart from its chunk set. Times: ns since the epoch."""

    session: SessionId
    client: ClientName
    base: GenerationId | None
    sum: SetSum
    touched_ns: int


class ISessionIndex(Interface):
    """Sessions, so that they survive a restart."""

    def put_session(record: SessionRecord) -> None:
        """Note a new session whose set is that of its base."""

    def change_session(
        session: SessionId, added: BitMap64, removed: BitMap64, total: SetSum, touched_ns: int
    ) -> None:
        """Note one change of a session's set (first added, then removed) and its new sum."""

    def step_count(session: SessionId) -> int:
        """How many changes are noted."""

    def forget_steps(session: SessionId) -> None:
        """Forget them all: the set is that of the base again. Its sum stays."""

    def touch_session(session: SessionId, touched_ns: int) -> None:
        """Note that a session was used."""

    def get_session(
        session: SessionId, client: ClientName | None
    ) -> tuple[SessionRecord, BitMap64] | None:
        """A session (of one client) and its set."""

    def sessions(client: ClientName | None) -> list[SessionRecord]:
        """All sessions (of one client), the longest unused first."""

    def sessions_untouched_since(time_ns: int) -> list[SessionRecord]:
        """Sessions that were last used before then. However many others there are, it is fast."""

    def end_session(session: SessionId) -> None:
        """Forget a session. An unknown one is fine."""
