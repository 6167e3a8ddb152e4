"""``server.yaml`` -> frozen settings. Whatever is wrong is one line that names file and key."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from attrs import frozen

from obnam.errors import ConfigurationError
from obnam.model.shown import shown
from obnam.wire.hosts import is_host
from obnam_server.monitoring.webhook_settings import WebhookSettings, parse_webhooks

DEFAULT_LISTEN = ("tcp:8443",)
"""Where the server listens when ``listen`` is not given: port 8443 on all addresses, TLS."""

TEXTS = ("data_directory", "certificate", "private_key", "public_url", "metrics_listen")
NUMBERS = ("upkeep_every_minutes", "upkeep_bytes_per_second", "workers")
KEYS = (*TEXTS, *NUMBERS, "listen", "webhooks")

UPKEEP_EVERY_MINUTES = 60
UPKEEP_BYTES_PER_SECOND = 32_000_000
"""About a fifth of what a hard disk does: what is left is for the clients."""

WORKERS_MAX = 64
"""More processors than that do not serve one store."""

CONFIGURATION_MAX = 1 << 20
"""Bytes of a ``server.yaml``: more is some other file, or a device."""

_UNIX_MODE = "mode=600"


@frozen
class Settings:
    """A checked ``server.yaml``.

    ``listen`` and ``metrics_listen`` are Twisted endpoint strings; ``certificate`` and
    ``private_key`` are PEM files, ``None``: the self-signed pair in the data directory.
    ``public_url`` (without a slash at its end) is what invitations name. Every
    ``upkeep_every_minutes`` (0: never) the server looks after its repositories, and reads and
    writes ``upkeep_bytes_per_second`` at most meanwhile. ``workers``: processes that speak with
    clients, besides the one that has the store; 0: that one does it.
    """

    path: Path
    data_directory: Path
    listen: tuple[str, ...] = DEFAULT_LISTEN
    certificate: Path | None = None
    private_key: Path | None = None
    public_url: str | None = None
    metrics_listen: str | None = None
    upkeep_every_minutes: int = UPKEEP_EVERY_MINUTES
    upkeep_bytes_per_second: int = UPKEEP_BYTES_PER_SECOND
    webhooks: tuple[WebhookSettings, ...] = ()
    workers: int = 0


def load(path: Path) -> Settings:
    """Read and check a configuration file. Raises `ConfigurationError`.

    Relative paths in it start from the folder that the file is in.
    """
    path = path.absolute()
    try:
        with path.open("rb") as file:
            data = file.read(CONFIGURATION_MAX + 1)
        if len(data) > CONFIGURATION_MAX:
            problem = f"is larger than {CONFIGURATION_MAX} bytes: it is some other file"
            raise ConfigurationError(str(path), problem)
        text = data.decode("utf-8")
    except OSError as error:
        raise ConfigurationError(str(path), f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(str(path), "is not UTF-8 text") from error
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        node = loader.get_single_node()
        _refuse_twice(path, node)
        document = None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError) as error:
        where, found = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        line = f" (line {where.line + 1}): {found}" if where is not None else ""
        if isinstance(error, ValueError):
            line = f": {error}"
        raise ConfigurationError(str(path), f"is not YAML{line}") from error
    finally:
        loader.dispose()
    return _checked(path, document)


def _refuse_twice(path: Path, node: Any) -> None:
    """A key that is there twice has one value in YAML, the last: which is meant?"""
    pairs = node.value if getattr(node, "id", "") == "mapping" else []
    seen: set[str] = set()
    for key in (key.value for key, _ in pairs if isinstance(key.value, str)):
        if key in seen:
            raise ConfigurationError(str(path), f"{key} is there twice; write it once")
        seen.add(key)


def _checked(path: Path, data: object) -> Settings:
    if not isinstance(data, dict):
        raise ConfigurationError(str(path), f"must be a mapping with the keys {', '.join(KEYS)}")
    for key in data:
        if key not in KEYS:
            raise ConfigurationError(
                str(path), f"unknown key {shown(key)}; the known keys are {', '.join(KEYS)}"
            )
    texts = {key: _text(path, data, key) for key in TEXTS}
    folder = texts["data_directory"]
    if folder is None:
        raise ConfigurationError(str(path), "data_directory is missing: the folder to keep data in")
    certificate, private_key = texts["certificate"], texts["private_key"]
    if (certificate is None) != (private_key is None):
        raise ConfigurationError(
            str(path), "certificate and private_key belong together: give both or neither"
        )
    metrics = texts["metrics_listen"]
    return Settings(
        path=path,
        data_directory=_located(path, folder),
        listen=_listen(path, data.get("listen", list(DEFAULT_LISTEN))),
        certificate=None if certificate is None else _located(path, certificate),
        private_key=None if private_key is None else _located(path, private_key),
        public_url=_public_url(path, texts["public_url"]),
        metrics_listen=None if metrics is None else _endpoint(path, "metrics_listen", metrics),
        upkeep_every_minutes=_number(path, data, "upkeep_every_minutes", UPKEEP_EVERY_MINUTES, 0),
        upkeep_bytes_per_second=_number(
            path, data, "upkeep_bytes_per_second", UPKEEP_BYTES_PER_SECOND, 100_000
        ),
        webhooks=parse_webhooks(path, data.get("webhooks")),
        workers=_workers(path, data),
    )


def _text(path: Path, data: dict[object, object], key: str) -> str | None:
    value = data.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not value or "\0" in value:
        raise ConfigurationError(str(path), f"{key} must be a text")
    return value


def _number(path: Path, data: dict[object, object], key: str, default: int, low: int) -> int:
    value = data.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ConfigurationError(str(path), f"{key} must be a whole number, {low} or more")
    return value


def _workers(path: Path, data: dict[object, object]) -> int:
    count = _number(path, data, "workers", 0, 0)
    if count > WORKERS_MAX:
        raise ConfigurationError(str(path), f"workers must be {WORKERS_MAX} or less")
    return count


def _located(path: Path, text: str) -> Path:
    return path.parent / os.path.expanduser(text)


def _listen(path: Path, value: object) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not values or not all(isinstance(v, str) for v in values):
        raise ConfigurationError(
            str(path), "listen must be a list of endpoints such as 'tcp:8443:interface=127.0.0.1'"
        )
    return tuple(_endpoint(path, "listen", v) for v in values)


def _endpoint(path: Path, key: str, text: str) -> str:
    """The endpoint string; a Unix socket is always one that only its owner can use."""
    kind, _, rest = text.partition(":")
    port = rest.partition(":")[0].removeprefix("port=")
    wrong_port = kind in ("tcp", "tcp6") and not (port.isdecimal() and int(port) < 1 << 16)
    if kind not in ("tcp", "tcp6", "unix", "systemd") or not rest or wrong_port:
        raise ConfigurationError(
            str(path),
            f"{key}: cannot listen on {text!r}; write tcp:PORT, tcp:PORT:interface=ADDRESS, "
            f"unix:PATH or systemd:…",
        )
    if kind != "unix":
        return text
    modes = [part for part in rest.split(":") if part.startswith("mode=")]
    if modes not in ([], [_UNIX_MODE]):
        raise ConfigurationError(
            str(path), f"{key}: a Unix socket is plain HTTP and must have {_UNIX_MODE}"
        )
    return text if modes else f"{text}:{_UNIX_MODE}"


def _public_url(path: Path, text: str | None) -> str | None:
    if text is None:
        return None
    try:
        parts = urlsplit(text)
        good = parts.scheme == "https" and is_host(text, parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment or parts.username or parts.path not in ("", "/"):
        raise ConfigurationError(
            str(path), f"public_url must be like https://backup.example.org:8443, not {text!r}"
        )
    return text.rstrip("/")
