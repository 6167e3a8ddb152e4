"""What a client is told of itself and its repository."""

from obnam.wire.messages import RepositoryDescription
from obnam_server.store.accounts.clients import Client
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.store import Store


def describe(store: Store, repository: RepositoryStore, caller: Client) -> RepositoryDescription:
    """Names, scopes, use, and the client's latest generation. Any thread."""
    return RepositoryDescription(
        repository=caller.repository,
        client=caller.name,
        scopes=caller.scopes,
        server_time_ns=store.now_ns(),
        used_bytes=repository.used_bytes(),
        quota_bytes=store.settings.quota(caller.repository),
        generation_count=repository.generation_count(),
        damaged_chunk_count=repository.damaged_chunk_count(),
        latest=repository.latest(caller.name),
        repository_id=repository.repository_id,
        server_key=store.key.public,
        newest=repository.newest(),
        has_chunks=repository.has_chunks(),
    )
