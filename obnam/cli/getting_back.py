"""Getting it back, or seeing that one could: ``restore`` and ``verify``."""

import os
from typing import TYPE_CHECKING

import click

from obnam.cli.commands import REFERENCES
from obnam.cli.session import Session, session
from obnam.errors import DONE_WITH_WARNINGS, FAILED, UsageError

if TYPE_CHECKING:
    from obnam.restore.settings import Restored
    from obnam.verify.settings import Verified
    from obnam.wiring import Client


@click.command(short_help="Restore a generation, or PATHs in it, below TARGET.", epilog=REFERENCES)
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

    if not target or not all(paths):
        raise UsageError("a TARGET or PATH is empty; write . for the directory you are in")

    async def run(client: "Client") -> "Restored":
        from obnam.live.overwrite import Overwrite
        from obnam.restore.settings import RestoreSettings

        generation = await session.find(client, reference)
        if session.shows_time_left and not paths:
            await client.estimate_restore(generation)
        settings = RestoreSettings(
            generation=generation,
            target=os.fsencode(os.path.abspath(target)),
            paths=tuple(os.fsencode(os.path.abspath(path)) for path in paths),
            overwrite=None if overwrite is None else Overwrite(overwrite),
            verify=verify,
            dry_run=dry_run,
        )
        return await client.restore(settings).run()

    # What is named is a few files, as a rule. If it is not, workers come a moment later.
    done = session.with_client(run, patient=True, jobs=lambda _: not (dry_run or paths))
    warnings = done.warnings + len(session.warned)
    values = {
        "status": "INCOMPLETE" if done.lost else "OK",
        "warnings": warnings,
        "duration": round(done.duration_s, 3),
        "files": done.files,
        "bytes": done.size_bytes,
        "directories": done.directories,
        "others": done.others,
        "kept": done.kept,
        "not-restored": done.lost,
    }
    session.say(values, [f"{name}: {value}" for name, value in values.items()])
    if done.lost:
        return FAILED
    return DONE_WITH_WARNINGS if warnings else 0


@click.command(short_help="Check all that a restore needs, and write nothing.", epilog=REFERENCES)
@click.argument("reference", metavar="[REF]", default="latest")
@click.option(
    "--sample",
    "sample_percent",
    metavar="PCT",
    type=click.FloatRange(min=0, min_open=True, max=100),
    default=100.0,
    help="Check only so many percent of the data, chosen at random.",
)
@session
def verify(session: Session, reference: str, sample_percent: float) -> int:
    """Fetch, open and check all that a restore of REF needs, and write nothing.

    Without REF: of the latest generation.
    """

    async def run(client: "Client") -> "Verified":
        from obnam.verify.settings import VerifySettings

        generation = await session.find(client, reference)
        if session.shows_time_left and sample_percent == 100:
            await client.estimate_restore(generation)
        return await client.verify(VerifySettings(generation, sample_percent)).run()

    done = session.with_client(run, patient=True, jobs=lambda _: True)
    damaged = bool(done.damaged_files or done.missing_chunks or done.damaged_chunks)
    warnings = done.warnings + len(session.warned)
    values = {
        "status": "DAMAGED" if damaged else "OK",
        "warnings": warnings,
        "duration": round(done.duration_s, 3),
        "files": done.files,
        "bytes": done.size_bytes,
        "chunks": done.chunks,
        "missing-chunks": done.missing_chunks,
        "damaged-chunks": done.damaged_chunks,
        "damaged-files": done.damaged_files,
    }
    session.say(values, [f"{name}: {value}" for name, value in values.items()])
    if damaged:
        return FAILED
    return DONE_WITH_WARNINGS if warnings else 0


COMMANDS = {"restore": restore, "verify": verify}
