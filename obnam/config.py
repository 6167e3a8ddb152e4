"""``obnam.yaml`` -> frozen settings, and where the client's files lie.

Whatever is wrong is one line that names the file, the key, and what there may be. What is secret
is in another file: `obnam.credentials`.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from obnam.crypto.envelope import Compression
from obnam.errors import ConfigurationError, UsageError
from obnam.model.shown import shown

CACHE_MAX_BYTES = 1 << 30
"""Databases of generations that are kept on this computer, unless the configuration says more."""

WORKERS_MAX = 256
"""More processes than any computer has use for: most likely a slip."""

CONFIGURATION_MAX = 1 << 20
"""Bytes of a configuration or secrets file: more is some other file, or a device."""

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
    data = read_yaml(path, "`obnam init` makes one")
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise ConfigurationError(str(path), f"must be a mapping with the keys {', '.join(KEYS)}")
    for key in data:
        if key not in KEYS:
            problem = f"unknown key {shown(key)}; the known keys are {', '.join(KEYS)}"
            raise ConfigurationError(str(path), problem)
    return _Reader(path, data).settings()


def read_yaml(path: Path, advice: str) -> object:
    """What is in a YAML file. Raises `ConfigurationError`; ``advice``: what to do without one."""
    import yaml  # only here: not every command has a configuration

    try:
        with path.open("rb") as file:
            data = file.read(CONFIGURATION_MAX + 1)
        if len(data) > CONFIGURATION_MAX:
            problem = f"is larger than {CONFIGURATION_MAX} bytes: it is some other file"
            raise ConfigurationError(str(path), problem)
        text = data.decode("utf-8")
    except FileNotFoundError as error:
        raise ConfigurationError(str(path), f"does not exist; {advice}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(str(path), "is not UTF-8 text") from error
    except OSError as error:
        raise ConfigurationError(str(path), f"cannot be read: {error.strerror}") from error
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        node = loader.get_single_node()
        _refuse_twice(path, node)
        return None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigurationError(str(path), f"is not YAML{_why(error)}") from error
    finally:
        loader.dispose()


def _why(error: Exception) -> str:
    """Where YAML ends in a text, and why, as far as is known."""
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return f" (line {mark.line + 1}): {getattr(error, 'problem', '')}"
    character = getattr(error, "character", None)
    if isinstance(character, int):
        return f": it holds the character {character:#x}"
    return f": {error}" if isinstance(error, ValueError) else ""


def _refuse_twice(path: Path, node: Any) -> None:
    """A key that is there twice has one value in YAML, the last: the other would be lost."""
    pairs = node.value if getattr(node, "id", "") == "mapping" else []
    seen: set[str] = set()
    for key in (key for key, _ in pairs if isinstance(key.value, str)):
        if key.value in seen:
            line = key.start_mark.line + 1
            problem = f"{key.value}: is there twice (line {line}); write it once"
            raise ConfigurationError(str(path), problem)
        seen.add(key.value)


@frozen
class _Reader:
    """Takes the keys out of a mapping, one by one; a key without a value counts as not given."""

    path: Path
    data: Mapping[object, object]

    def settings(self) -> Settings:
        workers = self.number("workers", 1, WORKERS_MAX)
        cache_max_bytes = self.number("cache_max_bytes", 0, 1 << 62)
        upkeep_minutes = self.number("upkeep_minutes", 0, UPKEEP_MINUTES_MAX)
        skip = self.data.get("exclude_cache_tag_directories")
        if skip is not None and not isinstance(skip, bool):
            raise self.wrong("exclude_cache_tag_directories", "must be true or false")
        defaults = Settings()
        return Settings(
            roots=self.roots(),
            compression=self.compression() or defaults.compression,
            cache_max_bytes=defaults.cache_max_bytes
            if cache_max_bytes is None
            else cache_max_bytes,
            exclude_cache_tag_directories=True if skip is None else skip,
            workers=workers or defaults.workers,
            trusted_certificates=self.file("trusted_certificates"),
            server_url=self.url("server_url"),
            upkeep_minutes=defaults.upkeep_minutes if upkeep_minutes is None else upkeep_minutes,
        )

    def roots(self) -> tuple[bytes, ...]:
        given = self.data.get("roots")
        given = [] if given is None else [given] if isinstance(given, str) else given
        if not isinstance(given, list):
            raise self.wrong("roots", "must be a list of directories")
        roots = tuple(self.root(each) for each in given)
        for root in roots:
            shown = os.fsdecode(root)
            if roots.count(root) > 1:
                raise self.wrong("roots", f"{shown!r} is there twice: roots must not overlap")
            for other in roots:
                if other != root and other.startswith(root.rstrip(b"/") + b"/"):
                    problem = (
                        f"{shown!r} is there twice: {os.fsdecode(other)!r} lies in it, and roots "
                        f"must not overlap"
                    )
                    raise self.wrong("roots", problem)
        return roots

    def root(self, given: object) -> bytes:
        if given is None:
            raise self.wrong("roots", 'a name is missing (your home directory is "~", in quotes)')
        if not isinstance(given, str) or not given or "\0" in given:
            raise self.wrong("roots", f"{shown(given)} is not a directory's name")
        path = os.path.expanduser(given)
        if given.startswith("~") and path == given:
            raise self.wrong("roots", f"{given!r}: there is no such user, or no home directory")
        if not os.path.isabs(path):
            raise self.wrong("roots", f"{given!r} must begin with / or ~")
        # Two slashes at the start stay two for POSIX's sake; Linux knows no difference.
        return os.fsencode("/" + os.path.normpath(path).lstrip("/"))

    def compression(self) -> Compression | None:
        text = self.text("compression")
        try:
            return None if text is None else Compression.parse(text)
        except ValueError as error:
            raise self.wrong("compression", str(error)) from error

    def file(self, key: str) -> str | None:
        text = self.text(key)
        return None if text is None else str(self.path.parent / os.path.expanduser(text))

    def url(self, key: str) -> str | None:
        text = self.text(key)
        if text is None:
            return None
        from obnam.repository.tls import check_url  # slow to import, and seldom needed

        return check_url(f"{self.path}: {key}", text)

    def text(self, key: str) -> str | None:
        value = self.data.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value or "\0" in value:
            raise self.wrong(key, "must be a text")
        return value

    def number(self, key: str, low: int, high: int) -> int | None:
        value = self.data.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.wrong(key, f"must be a whole number from {low} to {high}")
        return value

    def wrong(self, key: str, problem: str) -> ConfigurationError:
        return ConfigurationError(str(self.path), f"{key}: {problem}")
