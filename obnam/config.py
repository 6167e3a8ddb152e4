"""``obnam.yaml`` -> frozen settings, and where the client's files lie.

Whatever is wrong is one line that names the file, the key, and what there may be. What is secret
is in another file: `obnam.credentials`.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen

from obnam.crypto.envelope import Compression
from obnam.errors import UsageError
from obnam.model.shown import shown
from obnam.settings_file import SettingsFile

CACHE_MAX_BYTES = 1 << 30
"""Databases of generations that are kept on this computer, unless the configuration says more."""

WORKERS_MAX = 256
"""More processes than any computer has use for: most likely a slip."""

UPKEEP_MINUTES = 5
UPKEEP_MINUTES_MAX = 24 * 60

KEYS = (
    "roots",
    "compression",
    "cache_max_bytes",
    "exclude_cache_tag_directories",
    "workers",
    "trusted_certificates",
    "server_url",
    "upkeep_minutes",
)

TEMPLATE = """\
# Obnam's configuration. `obnam config` shows what is in effect.

# The directories to back up. What lies below them is kept, whatever it is.
roots:
  - "~"

# How chunks are compressed: none, or zstd:LEVEL with a level from -7 to 19.
# compression: "zstd:1"

# Directories with a CACHEDIR.TAG are kept without their contents.
# exclude_cache_tag_directories: true

# Processes that read, compress and seal. Default: one for each core.
# workers: 4

# Space for the databases of generations on this computer, in bytes; 0: none.
# cache_max_bytes: 1073741824

# Where the server is now, if it has moved; and authorities, other than the system's, to trust.
# server_url: https://backup.example.org:8443
# trusted_certificates: /etc/ssl/our-authority.pem

# For so long a repository in a directory is looked after once a day, by `backup` and `forget`.
# upkeep_minutes: 5
"""
"""What ``obnam init`` writes where there is no configuration yet."""


@frozen
class Places:
    """Where the client's files lie: by the ``XDG`` rules, or beside the configuration given.

    ``private`` are directories in which an embedded server's socket may be made, best one first.
    """

    configuration: Path
    cache_home: Path
    state_home: Path
    private: tuple[Path, ...]

    @classmethod
    def found(cls, environment: Mapping[str, str], configuration: Path | None) -> "Places":
        """By the environment; ``configuration``: the one named on the command line.

        Raises `UsageError` for a user who has no home directory.
        """

        def home(variable: str, default: str) -> Path:
            # A relative path there is to be ignored, says the XDG Base Directory Specification.
            named = environment.get(variable, "")
            path = named if os.path.isabs(named) else os.path.expanduser(default)
            if not os.path.isabs(path):
                raise UsageError(f"there is no home directory: set HOME, or {variable}")
            return Path(path)

        if configuration is None:
            configuration = home("XDG_CONFIG_HOME", "~/.config") / "obnam" / "obnam.yaml"
        private = (environment.get("XDG_RUNTIME_DIR"), environment.get("TMPDIR"), "/tmp")
        return cls(
            configuration=configuration.absolute(),
            cache_home=home("XDG_CACHE_HOME", "~/.cache"),
            state_home=home("XDG_STATE_HOME", "~/.local/state"),
            private=tuple(Path(each) for each in private if each and os.path.isabs(each)),
        )

    @property
    def secrets(self) -> Path:
        """``secrets.yaml``, beside the configuration."""
        return self.configuration.with_name("secrets.yaml")


@frozen
class Settings:
    """A checked ``obnam.yaml``. ``workers``: processes of the pool. ``upkeep_minutes``: for so long
    at most a command goes on with upkeep of a repository in a directory.
    """

    roots: tuple[bytes, ...] = ()
    compression: Compression = field(factory=Compression)
    cache_max_bytes: int = CACHE_MAX_BYTES
    exclude_cache_tag_directories: bool = True
    workers: int = field(factory=lambda: len(os.sched_getaffinity(0)))
    trusted_certificates: str | None = None
    server_url: str | None = None
    upkeep_minutes: int = UPKEEP_MINUTES

    def to_json(self) -> dict[str, object]:
        """As ``obnam config`` shows them."""
        return {
            "roots": [os.fsdecode(root) for root in self.roots],
            "compression": str(self.compression),
            "cache_max_bytes": self.cache_max_bytes,
            "exclude_cache_tag_directories": self.exclude_cache_tag_directories,
            "workers": self.workers,
            "trusted_certificates": self.trusted_certificates,
            "server_url": self.server_url,
            "upkeep_minutes": self.upkeep_minutes,
        }


def load(path: Path) -> Settings:
    """Read and check a configuration. Raises `ConfigurationError`."""
    file = SettingsFile.read(path, KEYS, advice="`obnam init` makes one")
    default = Settings()
    authority = file.place("trusted_certificates")
    return Settings(
        roots=_roots(file),
        compression=_compression(file) or default.compression,
        cache_max_bytes=file.number("cache_max_bytes", default.cache_max_bytes, 0, 1 << 62),
        exclude_cache_tag_directories=file.flag("exclude_cache_tag_directories", default=True),
        workers=file.number("workers", default.workers, 1, WORKERS_MAX),
        trusted_certificates=None if authority is None else str(authority),
        server_url=_server_url(file),
        upkeep_minutes=file.number("upkeep_minutes", default.upkeep_minutes, 0, UPKEEP_MINUTES_MAX),
    )


def _roots(file: SettingsFile) -> tuple[bytes, ...]:
    given = file.get("roots")
    given = [] if given is None else [given] if isinstance(given, str) else given
    if not isinstance(given, list):
        raise file.wrong("roots", "must be a list of directories")
    roots = tuple(_root(file, each) for each in given)
    for root in roots:
        name = os.fsdecode(root)
        if roots.count(root) > 1:
            raise file.wrong("roots", f"{name!r} is there twice: roots must not overlap")
        for other in roots:
            if other != root and other.startswith(root.rstrip(b"/") + b"/"):
                problem = (
                    f"{name!r} is there twice: {os.fsdecode(other)!r} lies in it, and roots "
                    f"must not overlap"
                )
                raise file.wrong("roots", problem)
    return roots


def _root(file: SettingsFile, given: object) -> bytes:
    if given is None:
        raise file.wrong("roots", 'a name is missing (your home directory is "~", in quotes)')
    if not isinstance(given, str) or not given or "\0" in given:
        raise file.wrong("roots", f"{shown(given)} is not a directory's name")
    path = os.path.expanduser(given)
    if given.startswith("~") and path == given:
        raise file.wrong("roots", f"{given!r}: there is no such user, or no home directory")
    if not os.path.isabs(path):
        raise file.wrong("roots", f"{given!r} must begin with / or ~")
    # Two slashes at the start stay two for POSIX's sake; Linux knows no difference.
    return os.fsencode("/" + os.path.normpath(path).lstrip("/"))


def _compression(file: SettingsFile) -> Compression | None:
    text = file.text("compression")
    try:
        return None if text is None else Compression.parse(text)
    except ValueError as error:
        raise file.wrong("compression", str(error)) from error


def _server_url(file: SettingsFile) -> str | None:
    text = file.text("server_url")
    if text is None:
        return None
    from obnam.repository.tls import check_url  # slow to import, and seldom needed

    return check_url(f"{file.path}: server_url", text)
