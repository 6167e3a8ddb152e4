"""Room in a repository: whether an upload fits into its quota, decided from its headers."""

from attrs import define

from obnam.model.ids import RepositoryName
from obnam.wire.problems import OVER_QUOTA
from obnam_server.monitoring.event_kinds import Kind
from obnam_server.monitoring.events import Events
from obnam_server.problems import Refused
from obnam_server.store.accounts.repository_settings import RepositorySettings
from obnam_server.store.quotas import Quota
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.reservations import Reservation
from obnam_server.work import Work


def over_quota(quota: Quota) -> Refused:
    """The answer to what would exceed it."""
    return Refused(OVER_QUOTA, members={"used": quota.used_bytes, "quota": quota.quota_bytes})


@define
class Room:
    """The room in all repositories. On the reactor's thread."""

    _settings: RepositorySettings
    _work: Work
    _events: Events

    async def take(self, repository: RepositoryStore, size_bytes: int) -> Reservation:
        """Room for a body of ``size_bytes``. Raises `Refused`."""
        reservation = repository.reservations.new(size_bytes)

        def take() -> tuple[bool, Quota]:
            quota_bytes = self._settings.quota(repository.name)
            fits, used_bytes = repository.reservations.take(reservation, quota_bytes)
            return fits, Quota(used_bytes, quota_bytes)

        try:
            fits, quota = await self._work.read(take)
        except BaseException:
            reservation.release()
            raise
        self._announce(repository.name, quota, refused=not fits)
        if not fits:
            raise over_quota(quota)
        return reservation

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
