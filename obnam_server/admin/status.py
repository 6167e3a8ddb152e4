"""How the server is, and making an index anew."""

import os
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from attrs import frozen

from obnam.errors import NotFound
from obnam.model.ids import RepositoryName
from obnam.wire.members import Json
from obnam_server.admin.calling import about_running, call
from obnam_server.config import Settings
from obnam_server.store import layout
from obnam_server.store.audit import Audit, RepositoryAudit
from obnam_server.store.files import LOCAL_FILES
from obnam_server.store.rebuild import rebuild_index


@frozen
class Status:
    """A whole server. ``kept``: what it keeps; ``running``: what the running one says of itself."""

    kept: Json
    running: Json | None

    def to_json(self) -> Json:
        """As JSON."""
        running = self.running
        return {
            **self.kept,
            "running": running is not None,
            "pid": None if running is None else running["pid"],
            "addresses": [] if running is None else running["addresses"],
            "server": running,
        }

    def lines(self, now_ns: int) -> list[str]:
        """For people. ``now_ns``: since the epoch."""
        lines = [f"data directory: {self.kept['data_directory']}"]
        missed = self.kept["audit_missed"]
        if missed is not None:
            lines.append(f"audit log: {missed['missed']} events are missing: {missed['problem']}")
        lines.append(f"server key: {self.kept['server_key']}")
        lines += ["server: not running"] if self.running is None else _running(self.running, now_ns)
        return lines + [
            f"repository {each['name']}: {each['size_bytes'] / 1e6:.1f} MB, "
            f"{each['clients']} clients"
            for each in self.kept["repositories"]
        ]


def _running(running: Mapping[str, Any], now_ns: int) -> list[str]:
    up = timedelta(seconds=max(0, now_ns - running["started_ns"]) // 10**9)
    return [
        f"server: running as process {running['pid']}, version {running['version']}, for {up}",
        *[f"address: {address}" for address in running["addresses"]],
        *([f"workers: {len(running['workers'])} processes"] if running["workers"] else []),
        f"now: {running['connections']} connections, {running['uploads']} uploads",
        f"since its start: {running['answers']} requests, {running['failed']} failed, "
        f"{running['received_bytes'] / 1e6:.1f} MB received, "
        f"{running['sent_bytes'] / 1e6:.1f} MB sent",
    ]


def status(settings: Settings) -> Status:
    """Ask the running server, or look at its data directory. Nothing is changed."""
    kept = call(settings, "status", {})
    return Status(kept, about_running(settings))


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
