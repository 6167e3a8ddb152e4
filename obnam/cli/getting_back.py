"""``obnam restore``."""

import os
from typing import TYPE_CHECKING

import click

from obnam.cli.endings import DONE_WITH_WARNINGS
from obnam.cli.session import Session, session

if TYPE_CHECKING:
    from obnam.restore.settings import Restored
    from obnam.wiring import Client


@click.command()
@click.argument("reference", metavar="REF")
@click.argument("target", type=click.Path())
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path())
@click.option(
    "--overwrite",
    type=click.Choice(["never", "if-changed", "always"]),
    help="Use a TARGET that is not empty, and do this about files that are there.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--verify", is_flag=True, help="Read everything again after it was written.")
@session
def restore(
    session: Session,
    reference: str,
    target: str,
    paths: tuple[str, ...],
    overwrite: str | None,
    dry_run: bool,
    verify: bool,
) -> int:
    """Restore the generation REF, or the PATHs in it, below the directory TARGET."""

    async def run(client: "Client") -> "Restored":
        from obnam.live.overwrite import Overwrite
        from obnam.restore.settings import RestoreSettings

        settings = RestoreSettings(
            generation=await session.find(client, reference),
            target=os.fsencode(os.path.abspath(target)),
            paths=tuple(os.fsencode(os.path.abspath(path)) for path in paths),
            overwrite=None if overwrite is None else Overwrite(overwrite),
            verify=verify,
            dry_run=dry_run,
        )
        return await client.restore(settings).run()

    done = session.with_client(run, patient=True)
    values = {
        "status": "OK",
        "warnings": done.warnings,
        "duration": round(done.duration_s, 3),
        "files": done.files,
        "bytes": done.size_bytes,
        "directories": done.directories,
        "others": done.others,
        "kept": done.kept,
    }
    session.say(values, [f"{name}: {value}" for name, value in values.items()])
    return DONE_WITH_WARNINGS if done.warnings else 0


COMMANDS = {"restore": restore}
