"""``obnam-server init``: what a new server needs before it is started."""

import json
import os
import pwd
import shlex
import shutil
import sys
import time
from pathlib import Path

import click

from obnam.errors import ConfigurationError
from obnam_server.admin.context import Context
from obnam_server.config import load
from obnam_server.store.disk.files import LOCAL_FILES, write_durably

DEFAULT_DATA_DIRECTORY = Path("/var/lib/obnam")

_TEMPLATE = """\
# The configuration of an Obnam server. Relative paths start from the folder of this file.
# What is behind a # is what holds when nothing is said. See docs/operations/.

# Where everything is kept. It belongs to the user that the server runs as, with mode 700.
data_directory: {data_directory}

# Where the server listens: Twisted endpoint strings. With socket activation by systemd:
# systemd:domain=INET6:index=0
{listen}

# What invitations name: how clients reach this server from outside.
{public_url}

# PEM files, the certificate with its chain. Without them: a self-signed pair of the server's own.
#certificate: /etc/letsencrypt/live/backup.example.org/fullchain.pem
#private_key: /etc/letsencrypt/live/backup.example.org/privkey.pem

# Where Prometheus may read figures, plain HTTP. Without it: GET /metrics with a token.
#metrics_listen: tcp:9464:interface=127.0.0.1

# Processes that speak with clients, besides the one that has the store: for fast networks.
#workers: 0

# How often the server looks after its repositories (0: never), and how fast at most.
#upkeep_every_minutes: 60
#upkeep_bytes_per_second: 32000000

# Whom to tell of events.
#webhooks:
#  - url: https://example.org/obnam
#    secret_file: webhook-secret
#    events: [anomaly, damage, quota-full, missed-backup]
"""


@click.command(short_help="Write a new server's configuration.")
@click.option(
    "--data-directory",
    type=click.Path(path_type=Path),
    default=DEFAULT_DATA_DIRECTORY,
    show_default=True,
    help="Where the server is to keep everything.",
)
@click.option("--listen", multiple=True, help="An endpoint such as tcp:8443; several times.")
@click.option("--public-url", help="How clients reach the server: https://HOST:PORT.")
@click.pass_obj
def init(
    context: Context, data_directory: Path, listen: tuple[str, ...], public_url: str | None
) -> None:
    """Write a new server's configuration and make its data directory."""
    # Only now: the other commands do without the store while the server runs.
    from obnam_server.store.store import Store

    if context.data_directory is not None:
        raise click.UsageError("--data-directory stands behind the command `init`")
    path = context.path.absolute()
    data = data_directory.absolute()
    if path.exists():
        raise ConfigurationError(str(path), "is there already; nothing was changed")
    text = _TEMPLATE.format(
        data_directory=json.dumps(str(data)),  # JSON is YAML
        listen=f"listen: {json.dumps(list(listen))}" if listen else "#listen: [tcp:8443]",
        public_url=_line("public_url", public_url, "https://backup.example.org:8443"),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    write_durably(LOCAL_FILES, new, text.encode("utf-8"))
    try:
        load(new)
        Store.open(data, time.time_ns).close()
        # Unlike a rename, this never takes the place of a file that came meanwhile.
        os.link(new, path)
    except ConfigurationError as error:
        raise ConfigurationError(str(path), error.problem) from error
    finally:
        new.unlink()
    owner = _user(data.stat().st_uid)
    context.say(
        {"config": str(path), "data_directory": str(data), "user": owner},
        [
            f"configuration: {path}",
            f"data directory: {data}, for a server that runs as {owner}",
            f"start it: {_twistd()} --nodaemon --pidfile= obnam-server "
            f"--config {shlex.quote(str(path))}",
        ],
    )


def _line(key: str, value: str | None, example: str) -> str:
    return f"#{key}: {example}" if value is None else f"{key}: {json.dumps(value)}"


def _twistd() -> str:
    """That of this installation, as a shell finds it: with its whole path, if need be."""
    ours = Path(sys.executable).with_name("twistd")
    return "twistd" if shutil.which("twistd") == str(ours) else shlex.quote(str(ours))


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


COMMANDS = {"init": init}
