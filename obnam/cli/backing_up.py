"""``obnam backup``."""

from typing import TYPE_CHECKING

import click

from obnam.cli.session import Session, session
from obnam.errors import DONE_WITH_WARNINGS, ObnamError, UsageError
from obnam.live.estimate import is_much

if TYPE_CHECKING:
    from obnam.backup.run import Backup, BackupResult
    from obnam.config import Settings
    from obnam.wiring import Client


@click.command()
@click.option("--full", is_flag=True, help="Read every file, even if it seems unchanged.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.argument("paths", metavar="", nargs=-1, type=click.Path())
@session
def backup(session: Session, full: bool, dry_run: bool, paths: tuple[str, ...]) -> int:
    """Back up all roots into a new generation. They are named in obnam.yaml."""
    if paths:  # As with other backup programs.
        where = session.places.configuration
        raise UsageError(f"no paths are named here: what is backed up are the `roots` in {where}")

    async def run(client: "Client") -> "BackupResult":
        backup = client.backup(full=full)
        if dry_run:
            return await backup.dry_run()
        if not session.shows_time_left:
            return await backup.run()
        return await _with_estimate(client, backup)

    def jobs(settings: "Settings") -> bool:
        reads_all = full or session.is_first_backup
        return not dry_run and reads_all and is_much(settings.roots)

    def tell(result: "BackupResult") -> None:
        _tell(session, result, details_too=dry_run or session.options.verbose)

    result = session.with_client(run, patient=True, jobs=jobs, tell=tell, upkeep=not dry_run)
    return DONE_WITH_WARNINGS if result.warnings else session.code


def _tell(session: Session, result: "BackupResult", *, details_too: bool) -> None:
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
        "healed-chunks": result.healed_chunks,
    }
    if details_too:
        lines = [f"{name}: {value}" for name, value in details.items()] + lines
    session.say({**values, **details}, lines)


async def _with_estimate(client: "Client", backup: "Backup") -> "BackupResult":
    """Run the backup, and find out beside it how much there is to do."""
    from twisted.internet.defer import CancelledError, Deferred

    over: list[bool] = []

    async def estimate() -> None:
        try:
            await client.estimate_backup(lambda: bool(over))
        except (ObnamError, CancelledError):
            return  # Whatever keeps it from being made, the backup meets too, and tells.

    estimating = Deferred.fromCoroutine(estimate())
    try:
        return await backup.run()
    finally:
        over.append(True)
        estimating.cancel()


COMMANDS = {"backup": backup}
