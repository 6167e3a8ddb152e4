"""Where the server of a data directory listens, whether it runs now or not."""

import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from obnam.errors import ConfigurationError
from obnam_server.config import Settings

LISTENING_FILE = "listening.json"
"""In the data directory: the addresses that the server really listens on, while it does."""

_ANY = ("0.0.0.0", "[::]", "")


@frozen
class Listening:
    """What a running server says of itself; ``addresses``: ``https://HOST:PORT``, ``unix:PATH``.

    ``started``: see `_start_of`; ``admin``: the socket of the administration.
    """

    pid: int
    started: str
    admin: str
    addresses: tuple[str, ...]


def write_listening(data_directory: Path, addresses: Sequence[str], admin: str = "") -> None:
    """Say where this process listens, atomically."""
    path = data_directory / LISTENING_FILE
    new = path.with_name(path.name + ".new")
    document = {
        "pid": os.getpid(),
        "started": _start_of(os.getpid()),
        "addresses": list(addresses),
        "admin": admin,
    }
    new.write_text(json.dumps(document) + "\n")
    new.replace(path)


def remove_listening(data_directory: Path) -> None:
    """Nobody listens any more."""
    (data_directory / LISTENING_FILE).unlink(missing_ok=True)


def read_listening(data_directory: Path) -> Listening | None:
    """What the running server wrote; ``None``: none runs. A file left by a crash does not count."""
    try:
        data = json.loads((data_directory / LISTENING_FILE).read_text())
        addresses = tuple(str(each) for each in data["addresses"])
        started, admin = str(data["started"]), str(data["admin"])
        found = Listening(int(data["pid"]), started, admin, addresses)
        # Another process may have got its number since.
        return found if _start_of(found.pid) == found.started else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _start_of(pid: int) -> str:
    """When a process began: clock ticks since the boot (proc(5)). `OSError`: there is none."""
    # What comes behind the name, which may have spaces and brackets in it: fields 3 and on.
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return str(int(fields[19]))


def public_url(settings: Settings) -> str:
    """What an invitation names. Raises `ConfigurationError` when there is no telling.

    The configured ``public_url``; else where the running server listens; else where the
    configuration says that it will.
    """
    if settings.public_url is not None:
        return settings.public_url
    running = read_listening(settings.data_directory)
    addresses = running.addresses if running else _expected(settings.listen)
    for address in sorted(addresses, key=lambda each: not each.startswith("https:")):
        return _reachable(address)
    way_out = "start the server, or set public_url"
    if not settings.listen:  # a data directory without a configuration
        way_out = "a computer joins a repository in a directory by `obnam init --repository`"
    raise ConfigurationError(
        str(settings.path), f"the address to put into invitations is not known; {way_out}"
    )


def _expected(listen: Sequence[str]) -> list[str]:
    """The addresses that endpoint strings lead to, as far as one can tell beforehand."""
    addresses = []
    for text in listen:
        kind, _, rest = text.partition(":")
        # A colon within a value is written \: in endpoint strings.
        first, *options = rest.replace("\\:", "\0").split(":")
        if kind == "unix":
            addresses.append(f"unix:{first}")
        elif kind in ("tcp", "tcp6") and first not in ("0", ""):
            named = dict(option.partition("=")[::2] for option in options)
            host = named.get("interface", "").replace("\0", ":")
            host = f"[{host}]" if ":" in host else host
            addresses.append(f"https://{host}:{first}")
    return addresses


def _reachable(address: str) -> str:
    """The address as other computers may use it: a wildcard becomes this one's name."""
    if not address.startswith("https://"):
        return address
    host, _, port = address.removeprefix("https://").rpartition(":")
    return f"https://{socket.gethostname() if host in _ANY else host}:{port}"
