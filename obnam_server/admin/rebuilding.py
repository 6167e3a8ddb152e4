"""Indexes made anew: what is done without a server, and beside none."""

import os
import time
from collections.abc import Sequence

from obnam.errors import NotFound
from obnam.model.ids import RepositoryName
from obnam_server.config import Settings
from obnam_server.store.accounts.audit import Audit, RepositoryAudit
from obnam_server.store.disk import layout
from obnam_server.store.disk.files import LOCAL_FILES
from obnam_server.store.rebuild import rebuild_index


def rebuild(settings: Settings, only: RepositoryName | None) -> dict[RepositoryName, list[str]]:
    """Make indexes anew; what was found to be wrong with each repository, one line each.

    Raises `StoreInUse` while the server runs, and `NotFound`.
    """
    names: Sequence[RepositoryName] = layout.names_of(settings.data_directory)
    if only is not None:
        if only not in names:
            raise NotFound(f"repository {only}")
        names = [only]
    data = settings.data_directory.absolute()
    layout.prepare_directory(data, LOCAL_FILES)
    audit = Audit.open(data, time.time_ns)
    log = RepositoryAudit(audit, only)
    with log.change("rebuild-index", administrator=os.getuid()):
        return {name: rebuild_index(data, name, time.time_ns) for name in names}
