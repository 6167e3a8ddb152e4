"""A repository that is full: the backup ends cleanly, and goes on when there is room."""

import random
import time

from obnam.model.ids import RepositoryName
from obnam_server.store.accounts.clients import Clients
from obnam_server.store.accounts.repository_settings import RepositorySettings
from tests.acceptance.computer import Computer, tree
from tests.support.server_process import ServerProcess


def settings_of(server: ServerProcess) -> RepositorySettings:
    """As the administrator's command changes them, while the server runs."""
    return Clients.open(server.data, time.time_ns).repository_settings()


def test_a_backup_over_the_quota(joined: Computer, server: ServerProcess, name: str) -> None:
    settings, repository = settings_of(server), RepositoryName(name)
    (joined.live / "small").write_bytes(random.Random(1).randbytes(400_000))
    joined.backup()
    settings.set_quota(repository, 20_000_000)
    for number in range(8):
        content = random.Random(number + 2).randbytes(8_000_000)
        (joined.live / f"large {number}").write_bytes(content)

    complaint = joined.refused("backup", code=1)

    assert "of at most 20,000,000" in complaint
    assert "ask the server's administrator" in complaint
    assert len(joined.obnam("list").lines) == 1
    incoming = server.data / "repositories" / name / "incoming"
    assert list(incoming.iterdir()) == []
    segments = (server.data / "repositories" / name / "segments").rglob("*")
    assert sum(path.stat().st_size for path in segments if path.is_file()) < 20_100_000

    settings.set_quota(repository, 70_000_000)
    done = joined.backup()
    assert "warning: the repository has" in done.err
    assert "warnings: 0" in done.lines
    assert tree(joined.restored()) == tree(joined.live)
    status = joined.obnam("status", code=3)
    assert "quota: 70.0 MB" in status.lines
    assert "of at most 70,000,000" in status.err
