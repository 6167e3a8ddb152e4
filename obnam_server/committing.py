"""A commit, and telling of it: also when the client has gone away meanwhile."""

from obnam.model.ids import SessionId
from obnam.wire.messages import Commit, Receipt
from obnam_server.auth import Gate
from obnam_server.monitoring.event_kinds import Kind
from obnam_server.monitoring.events import Events
from obnam_server.requests import ApiRequest
from obnam_server.room import over_quota
from obnam_server.store.accounts.repository_settings import RepositorySettings
from obnam_server.store.quotas import Quota
from obnam_server.work import Work


async def commit_and_tell(
    work: Work,
    gate: Gate,
    events: Events,
    settings: RepositorySettings,
    request: ApiRequest,
    session: SessionId,
    commit: Commit,
) -> Receipt:
    """Commit; announce that, and the alarm that it raised. See `RepositoryStore.commit`.

    `AccessDenied`: the caller's token was revoked meanwhile. `Refused`: far beyond the quota.
    """
    repository, caller = request.repository, request.caller
    client = caller.name

    def committed() -> tuple[Receipt, str | None]:
        quota = Quota(repository.used_bytes(), settings.quota(repository.name))
        if quota.is_beyond:
            raise over_quota(quota)
        receipt = repository.commit(client, session, commit)
        return receipt, repository.decisions.alarm_over(client, receipt.generation)

    async def steps() -> Receipt:
        receipt, alarm = await gate.write(caller, committed)
        generation, name = receipt.generation, repository.name
        if alarm is not None:
            text = f"{alarm}. All generations of the client are kept until that is acknowledged"
            events.announce_seldom(
                Kind.ANOMALY, text, repository=name, client=client, generation=generation
            )
        text = f"generation {receipt.sequence} of the repository"
        events.announce(Kind.COMMIT, text, repository=name, client=client, generation=generation)
        return receipt

    return await work.whole(steps())
