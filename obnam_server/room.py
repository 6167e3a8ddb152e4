"""Room in a repository: whether an upload fits into its quota, decided from its headers.

What counts is the size of all segments, and with it the bodies that are being received. Bodies that
came first have their room first; one that has just been stored may count twice for a moment, so
that near the quota an upload can be refused that would just fit, and never the other way round.
"""

from attrs import define, field

from obnam.model.ids import RepositoryName
from obnam.wire.problems import OVER_QUOTA
from obnam_server.events import Events, Kind
from obnam_server.problems import Refused
from obnam_server.store.quotas import Quota
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.repository_settings import RepositorySettings
from obnam_server.work import Work


@define(eq=False)
class Place:
    """Room that one body has taken."""

    size_bytes: int
    _taken: set["Place"]

    def release(self) -> None:
        """The body is stored, or will not come. Harmless when repeated."""
        self._taken.discard(self)


@define
class Room:
    """The room in all repositories. On the reactor's thread."""

    _settings: RepositorySettings
    _work: Work
    _events: Events
    _taken: dict[RepositoryName, set[Place]] = field(init=False, factory=dict)

    async def take(self, repository: RepositoryStore, size_bytes: int) -> Place:
        """Room for a body of ``size_bytes``. Raises `Refused`."""
        taken = self._taken.setdefault(repository.name, set())
        before = sum(place.size_bytes for place in taken)
        place = Place(size_bytes, taken)
        taken.add(place)
        try:
            quota = await self._work.read(self._look, repository)
        except BaseException:
            place.release()
            raise
        full = (
            quota.quota_bytes is not None
            and quota.used_bytes + before + size_bytes > quota.quota_bytes
        )
        self._announce(repository.name, quota, refused=full)
        if full:
            place.release()
            members = {"used": quota.used_bytes, "quota": quota.quota_bytes}
            raise Refused(OVER_QUOTA, members=members)
        return place

    @property
    def count(self) -> int:
        """How many bodies are being received."""
        return sum(map(len, self._taken.values()))

    def _announce(self, repository: RepositoryName, quota: Quota, *, refused: bool) -> None:
        events = self._events
        text = f"{quota.used_bytes:,} bytes of at most {quota.quota_bytes or 0:,} are used"
        if refused:
            text += "; uploads are refused"
            events.announce_seldom(Kind.QUOTA_FULL, text, repository=repository)
        elif quota.is_near:
            events.announce_seldom(Kind.QUOTA_SOFT, text, repository=repository)
        else:
            events.over(Kind.QUOTA_FULL, repository)
            events.over(Kind.QUOTA_SOFT, repository)

    def _look(self, repository: RepositoryStore) -> Quota:
        return Quota(repository.used_bytes(), self._settings.quota(repository.name))
