"""``obnam init``: join a repository, or make one."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from obnam import config, credentials
from obnam.cli.passphrase import passphrases, read_invitation
from obnam.cli.session import Session, session
from obnam.credentials import Credentials
from obnam.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    from obnam.wiring import Surroundings


@click.command()
@click.argument("invitation", required=False)
@click.option(
    "--repository",
    "directory",
    type=click.Path(),
    help="Keep backups in this directory, on another disk; no server is needed.",
)
@click.option(
    "--invitation-file",
    type=click.Path(path_type=Path),
    help="Take the invitation from the first line of this file.",
)
@click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    help="Do not ask for the passphrase: it is the first line of this file.",
)
@click.option(
    "--no-passphrase",
    is_flag=True,
    help="Make none: then secrets.yaml is the only copy of the key.",
)
@session
def init(
    session: Session,
    invitation: str | None,
    directory: str | None,
    invitation_file: Path | None,
    passphrase_file: Path | None,
    no_passphrase: bool,
) -> None:
    """Join the repository that INVITATION leads to.

    The server's administrator makes it with `obnam-server client add NAME`. It is a secret until
    it is used: with `-` in its place it is asked for, or read from standard input.
    """
    given = [each for each in (invitation, invitation_file, directory) if each is not None]
    if len(given) != 1:
        raise UsageError(
            "give either an INVITATION (`-`: it is asked for), or --invitation-file, or "
            "--repository and a directory"
        )
    if directory is not None and not (directory and os.path.abspath(directory).isprintable()):
        raise UsageError("--repository: name a directory whose path is plain text")
    if passphrase_file is not None and no_passphrase:
        raise UsageError("--passphrase-file and --no-passphrase exclude each other")
    ask = passphrases(passphrase_file, none=no_passphrase)
    secrets = session.places.secrets
    # Also a link that leads nowhere is in the way, and must be found before the invitation is used.
    if os.path.lexists(secrets):
        raise credentials.already_there(secrets)
    if invitation_file is not None or invitation == "-":
        invitation = read_invitation(invitation_file)
    settings = _configuration(session)

    async def join(surroundings: "Surroundings") -> tuple[Credentials, bool]:
        from obnam.enrolling import enrol_at_server, enrol_in_directory
        from obnam.pool.thread import OwnThread
        from obnam.repository.enrol import parse_invitation
        from obnam.wiring import slots_of

        if directory is not None:
            enrolled = await enrol_in_directory(surroundings, Path(directory))
        else:
            parsed = parse_invitation(invitation or "")
            enrolled = await enrol_at_server(surroundings, settings, parsed)
        thread = OwnThread(surroundings.reactor, "keyring")
        try:
            slots = slots_of(enrolled.repository, thread, enrolled.client)
            joined = await slots.join(ask, credentials.KeyNote(secrets))
            known = Credentials(
                location=enrolled.location,
                client=enrolled.client,
                repository=enrolled.repository_name,
                token=enrolled.token,
                master=joined.master,
                server_key=enrolled.server_key,
            )
            credentials.save(secrets, known)
            credentials.forget_joining(secrets)
            return known, joined.protected
        finally:
            thread.close()
            await enrolled.repository.close()

    known, protected = session.run(join)
    _tell(session, known, protected)


def _configuration(session: Session) -> config.Settings:
    """The settings; where there are none yet, a file to begin with is written."""
    path = session.places.configuration
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.open("x", encoding="utf-8") as file:
            file.write(config.TEMPLATE)
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigurationError(str(path), f"cannot be written: {error.strerror}") from error
    return config.load(path)


def _tell(session: Session, known: Credentials, protected: bool) -> None:
    places = session.places
    lines = [
        f"client {known.client} has joined repository {known.repository}",
        f"keys: {places.secrets}",
        f"configuration: {places.configuration}",
    ]
    directory = known.location.directory
    if directory is not None:
        lines.append(
            "everything is kept until there is a policy: "
            f"obnam-server --data-directory {directory} retention set {known.repository} FILE"
        )
    if not protected:
        from obnam.cli.progress import progress_for

        progress_for(session.options, sys.stderr, session.options.reactor()).warn(
            f"there is no passphrase: if {places.secrets} is lost, so are all backups. "
            f"Keep a copy of it elsewhere, or run `obnam key add`"
        )
    session.say(
        {
            "client": known.client,
            "repository": known.repository,
            "secrets": str(places.secrets),
            "configuration": str(places.configuration),
            "passphrase": protected,
        },
        lines,
    )


COMMANDS = {"init": init}
