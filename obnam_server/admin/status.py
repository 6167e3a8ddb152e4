"""How the server is."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from attrs import frozen

from obnam.model.figures import counted, size_text
from obnam.wire.members import Json
from obnam_server.admin.calling import about_running, call
from obnam_server.config import Settings


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
            f"repository {each['name']}: {size_text(each['size_bytes'])}, "
            f"{counted(each['clients'], 'client')}"
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
        f"{size_text(running['received_bytes'])} received, "
        f"{size_text(running['sent_bytes'])} sent",
    ]


def status(settings: Settings) -> Status:
    """Ask the running server, or look at its data directory. Nothing is changed."""
    kept = call(settings, "status", {})
    return Status(kept, about_running(settings))
