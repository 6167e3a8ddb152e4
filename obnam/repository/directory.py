"""Whose a repository in a directory is: letting a computer in, and in again.

Whoever can use the directory may let himself in; a token keeps nobody out there. But two computers
of one name, or two users of one computer, have one client's name, and the server remembers one
token for each: who came last. The other one is let in again with the token that it has.
"""

from pathlib import Path

from twisted.internet.base import ReactorBase

from obnam.crypto.key_mark import is_marked
from obnam.crypto.keys import MasterKey, RepositoryKeys
from obnam.crypto.seal import Opener
from obnam.errors import AccessDenied, EmbeddedServerFailed, SealBroken
from obnam.model.chunk import ChunkKind
from obnam.model.ids import ClientName, RepositoryName
from obnam.repository.answers import RepositoryUnusable
from obnam.repository.connect import Connections, open_embedded, unix_exchange
from obnam.repository.embedded import EmbeddedServer
from obnam.repository.enrol import Invitation, enrol
from obnam.repository.http import HttpRepository
from obnam.wire.messages import SCOPES, CommittedGeneration, EnrolmentAnswer


async def let_in(
    reactor: ReactorBase,
    server: EmbeddedServer,
    client: ClientName,
    repository: RepositoryName,
    token: str,
) -> EnrolmentAnswer:
    """Invite ourselves, and accept. Raises `EmbeddedServerFailed`."""
    code = await server.invite(client, repository, SCOPES)
    connections = Connections.none_yet(reactor)
    try:
        exchange = unix_exchange(connections, server.socket_path, None)
        return await enrol(exchange, Invitation("unix:", code, None), token)
    finally:
        await connections.close()


async def reach(
    reactor: ReactorBase,
    server: EmbeddedServer,
    client: ClientName,
    repository: RepositoryName,
    token: str,
    master: MasterKey,
) -> HttpRepository:
    """The repository in a directory that we joined before; its ``server`` ends with it.

    Raises `EmbeddedServerFailed`, also when nothing of ours is in the directory.
    """
    found = open_embedded(reactor, server, token)
    try:
        try:
            await found.describe()
        except RepositoryUnusable as error:
            # Whoever has the directory runs the server.
            command = f"obnam-server --data-directory {server.data_directory} rebuild-index"
            problem = error.problem.replace("obnam-server rebuild-index", command)
            raise EmbeddedServerFailed(str(server.data_directory), problem) from error
        except AccessDenied as error:
            await let_in(reactor, server, client, repository, token)
            latest = (await found.describe()).latest
            if latest is None and not is_marked((await found.get_keyring()).slots, master):
                problem = (
                    "it has nothing of this computer. If it is the right one, move secrets.yaml "
                    "away, and join again"
                )
                raise EmbeddedServerFailed(str(server.data_directory), problem) from error
            if latest is not None:
                _check_ours(server.data_directory, latest, RepositoryKeys.derive(master))
    except BaseException:
        await found.close()
        raise
    return found


def _check_ours(directory: Path, latest: CommittedGeneration, keys: RepositoryKeys) -> None:
    """Another disk may be mounted there, with a repository of others."""
    try:
        Opener(keys).open(ChunkKind.MANIFEST, latest.manifest_id, latest.manifest)
    except SealBroken as error:
        problem = "it is not the one that was joined, or its newest generation is damaged"
        raise EmbeddedServerFailed(str(directory), problem) from error
