"""``obnam backup``."""

from typing import TYPE_CHECKING

import click

from obnam.cli.endings import DONE_WITH_WARNINGS
from obnam.cli.session import Session, session

if TYPE_CHECKING:
    from obnam.backup.run import BackupResult
    from obnam.wiring import Client


@click.command()
@click.option("--full", is_flag=True, help="Read every file, even if it seems unchanged.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@session
def backup(session: Session, full: bool, dry_run: bool) -> int:
    """Back up all roots into a new generation."""

    async def run(client: "Client") -> "BackupResult":
        backup = client.backup(full=full)
        return await (backup.dry_run() if dry_run else backup.run())

    result = session.with_client(run, patient=True)
    values: dict[str, object] = {
        "status": "OK",
        "warnings": result.warnings,
        "duration": round(result.duration_s, 3),
        "file-count": result.entries,
        "generation-id": result.generation,
    }
    lines = [f"{name}: {'none' if value is None else value}" for name, value in values.items()]
    details = {
        "unchanged": result.unchanged,
        "read-files": result.sent.files,
        "read-bytes": result.sent.read_bytes,
        "sent-chunks": result.sent.chunks,
        "sent-bytes": result.sent.sent_bytes,
    }
    if dry_run or session.options.verbose:
        lines = [f"{name}: {value}" for name, value in details.items()] + lines
    session.say({**values, **details}, lines)
    return DONE_WITH_WARNINGS if result.warnings else 0


COMMANDS = {"backup": backup}
