"""``secrets.yaml``: what lets this computer use its repository without asking anybody.

Token and master key stand in it in clear, so that backups run by themselves; so only its owner
may read it. `joining_token` keeps what ``obnam init`` needs while it has not come to its end.
"""

import base64
import fcntl
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from attrs import field, frozen

from obnam.crypto.keys import MasterKey
from obnam.errors import ConfigurationError
from obnam.model.ids import ClientName, RepositoryName, parse_client_name, parse_repository_name
from obnam.settings_file import read_yaml
from obnam.wire.receipts import PUBLIC_KEY_BYTES

FORMAT = 1

_PRIVATE = 0o600
_HEADER = (
    "# Made by `obnam init`. Whoever has this file can read all backups of the repository:\n"
    "# keep it to yourself, and keep a copy where a fire does not reach both.\n"
)


@frozen
class Location:
    """Where the repository is: a server's ``url``, perhaps with its ``pin``, or a ``directory``."""

    url: str | None = None
    pin: str | None = None
    directory: Path | None = None


@frozen
class Credentials:
    """What ``secrets.yaml`` holds.

    ``server_key``: the public key that the server's receipts are signed with; ``None``: the server
    had none yet when the computer joined. ``next_token``: the one that is to take over; see
    `obnam.repository.rotation`.
    """

    location: Location
    client: ClientName
    repository: RepositoryName
    token: str = field(repr=False)
    master: MasterKey = field(repr=False)
    server_key: bytes | None = None
    next_token: str | None = field(repr=False, default=None)

    @property
    def tokens(self) -> tuple[str, ...]:
        """Those of which the server takes at least one."""
        return (self.token,) if self.next_token is None else (self.token, self.next_token)


def load(path: Path) -> Credentials:
    """Read ``secrets.yaml``. Raises `ConfigurationError`, also when others can read it."""
    try:
        mode = path.stat().st_mode
    except OSError:
        mode = _PRIVATE  # What is wrong with it is said by `read_yaml`.
    if mode & 0o077 and not stat.S_ISDIR(mode):
        problem = f"others can read it; say: chmod 600 {path}. If others use this computer, "
        raise ConfigurationError(str(path), problem + "they may have seen the keys")
    data = read_yaml(path, advice="`obnam init` joins a repository and makes it")
    try:
        return _credentials(data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        problem = "is damaged, or of another Obnam; put back a copy, or remove it and join again"
        raise ConfigurationError(str(path), problem) from error


def save(path: Path, credentials: Credentials) -> None:
    """Write it, durably and whole. Raises `ConfigurationError`; never replaces one."""
    temporary = path.with_suffix(".new")
    try:
        _write(temporary, _text_of(credentials))
        os.link(temporary, path)
        temporary.unlink()
        _sync_directory(path.parent)
    except FileExistsError as error:
        raise already_there(path) from error
    except OSError as error:
        raise ConfigurationError(str(path), f"cannot be written: {error.strerror}") from error


def replace(path: Path, credentials: Credentials) -> None:
    """Write it anew, durably: whenever it is read, it is the old one or this one, whole.

    Only while it is `held`. Raises `ConfigurationError`.
    """
    try:
        real = path.resolve(strict=True)  # it may be a link
        temporary = real.with_suffix(".new")
        _write(temporary, _text_of(credentials))
        temporary.replace(real)
        _sync_directory(real.parent)
    except OSError as error:
        raise ConfigurationError(str(path), f"cannot be written: {error.strerror}") from error


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep other processes from replacing it meanwhile. Raises `ConfigurationError` if one is."""
    try:
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigurationError(str(path), f"cannot be read: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            problem = "is being changed by another obnam; wait"
            raise ConfigurationError(str(path), problem) from error
        yield
    finally:
        os.close(descriptor)


def _text_of(credentials: Credentials) -> str:
    location = credentials.location
    document = {
        "format": FORMAT,
        "url": location.url,
        "pin": location.pin,
        "repository_directory": None if location.directory is None else str(location.directory),
        "client": credentials.client,
        "repository": credentials.repository,
        "token": credentials.token,
        "server_key": None if credentials.server_key is None else credentials.server_key.hex(),
        "master_key": base64.b64encode(credentials.master.secret).decode("ascii"),
    }
    if credentials.next_token is not None:
        document["next_token"] = credentials.next_token
    # JSON's texts are YAML's.
    return _HEADER + "".join(f"{key}: {json.dumps(value)}\n" for key, value in document.items())


def already_there(path: Path) -> ConfigurationError:
    """What is said when a computer that has joined is to join again."""
    problem = "is there already: this computer has joined a repository. To join once more, or "
    return ConfigurationError(str(path), f"{problem}another one, move it to a safe place first")


def joining_token(path: Path, code: str, new: str) -> str:
    """The token for an invitation's code: ``new``, or the one that an earlier try noted.

    It must be kept before the server learns of it, since the code can be used with no other.
    ``path`` is that of ``secrets.yaml``; the note lies beside it, and `forget_joining` removes it.
    """
    note = _note(path)
    try:
        noted = json.loads(note.read_text("utf-8"))
        if noted["code"] == code and isinstance(noted["token"], str):
            return str(noted["token"])
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError):
        pass  # Not a note of ours, or cut short by a crash: nothing was sent before it was whole.
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write(note, json.dumps({"code": code, "token": new}))
        _sync_directory(path.parent)
    except OSError as error:
        raise ConfigurationError(str(note), f"cannot be written: {error.strerror}") from error
    return new


@frozen
class KeyNote:
    """A key that `init` makes, kept beside ``secrets.yaml`` (``path``) before the server knows.

    Without it, who is cut short between the two would leave a repository whose key nobody has.
    """

    path: Path

    def load(self) -> MasterKey | None:
        """What an earlier try kept; ``None``: nothing that can be used."""
        try:
            return MasterKey(base64.b64decode(self._note.read_bytes(), validate=True))
        except (OSError, ValueError):
            return None  # None, or cut short by a crash: the server knew nothing of it then.

    def save(self, master: MasterKey) -> None:
        """Keep it, durably. Raises `ConfigurationError`."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write(self._note, base64.b64encode(master.secret).decode("ascii"))
            _sync_directory(self.path.parent)
        except OSError as error:
            raise ConfigurationError(
                str(self._note), f"cannot be written: {error.strerror}"
            ) from error

    @property
    def _note(self) -> Path:
        return self.path.with_suffix(".begun")


def forget_joining(path: Path) -> None:
    """Remove the notes of `joining_token` and `KeyNote`."""
    _note(path).unlink(missing_ok=True)
    path.with_suffix(".begun").unlink(missing_ok=True)


def _note(path: Path) -> Path:
    return path.with_suffix(".joining")


def _credentials(data: object) -> Credentials:
    if not isinstance(data, Mapping) or data["format"] != FORMAT:
        raise ValueError("another format")
    url, pin, directory = data["url"], data["pin"], data["repository_directory"]
    if (url is None) == (directory is None):
        raise ValueError("neither a server nor a directory")
    return Credentials(
        location=Location(
            url=None if url is None else _text(url),
            pin=None if pin is None else _text(pin),
            directory=None if directory is None else Path(_text(directory)),
        ),
        client=parse_client_name(_text(data["client"])),
        repository=parse_repository_name(_text(data["repository"])),
        token=_text(data["token"]),
        master=MasterKey(base64.b64decode(_text(data["master_key"]), validate=True)),
        server_key=_server_key(data.get("server_key")),
        next_token=None if data.get("next_token") is None else _text(data["next_token"]),
    )


def _server_key(value: object) -> bytes | None:
    if value is None:
        return None
    key = bytes.fromhex(_text(value))
    if len(key) != PUBLIC_KEY_BYTES:
        raise ValueError("not a key")
    return key


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError("not a text")
    return value


def _write(path: Path, text: str) -> None:
    """A new file that only we can read, on disk when this returns."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
