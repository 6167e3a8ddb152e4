"""The key ``webhooks`` of ``server.yaml`` -> frozen settings."""

import ipaddress
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen

from obnam.errors import ConfigurationError
from obnam.model.shown import shown
from obnam_server.monitoring.event_kinds import USUAL, Kind

WEBHOOKS_MAX = 16
SECRET_MIN, SECRET_MAX = 16, 4096
"""Bytes of a secret: less can be guessed."""

_KEYS = ("url", "events", "secret_file")


@frozen
class WebhookSettings:
    """Where events go. ``secret``: what messages are signed with."""

    url: str = field(repr=False)  # may have a secret in its path
    kinds: frozenset[Kind] = USUAL
    secret: bytes | None = field(default=None, repr=False)


def parse_webhooks(path: Path, value: object) -> tuple[WebhookSettings, ...]:
    """Check the key's value; files are found from the folder of ``path``. `ConfigurationError`."""
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > WEBHOOKS_MAX:
        raise _wrong(path, f"must be a list of at most {WEBHOOKS_MAX}, each with a url")
    found = tuple(_webhook(path, each) for each in value)
    if len({each.url for each in found}) < len(found):
        raise _wrong(path, "the same url is there twice; name all events in one")
    return found


def _webhook(path: Path, value: object) -> WebhookSettings:
    if not isinstance(value, dict) or "url" not in value:
        raise _wrong(path, "each must have a url")
    for key in value:
        if key not in _KEYS:
            raise _wrong(path, f"unknown key {shown(key)}; the known keys are {', '.join(_KEYS)}")
    secret = value.get("secret_file")
    return WebhookSettings(
        _url(path, value["url"]),
        _kinds(path, value),
        None if secret is None else _secret(path, secret),
    )


def _url(path: Path, value: object) -> str:
    try:
        parts = urlsplit(value if isinstance(value, str) else "")
        good = parts.scheme == "https" or (parts.scheme == "http" and _is_here(parts.hostname))
        good = good and bool(parts.hostname) and parts.port != 0 and str(value).isascii()
    except ValueError:
        good = False
    if not good or parts.username or parts.fragment or not str(value).isprintable():
        raise _wrong(path, "url must be like https://example.org/hook; http only to this host")
    return str(value)


def _is_here(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _kinds(path: Path, value: Mapping[str, Any]) -> frozenset[Kind]:
    names = value.get("events")
    if names is None:
        return USUAL
    known = {kind.value: kind for kind in Kind}
    if (
        not isinstance(names, list)
        or not names
        or not all(isinstance(name, str) and name in known for name in names)
    ):
        raise _wrong(path, f"events must be a list of {', '.join(known)}")
    return frozenset(known[name] for name in names)


def _secret(path: Path, value: object) -> bytes:
    if not isinstance(value, str) or not value or "\0" in value:
        raise _wrong(path, "secret_file must be the path of a file")
    place = path.parent / os.path.expanduser(value)
    try:
        with place.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            secret = file.read(SECRET_MAX + 1).strip()
    except OSError as error:
        raise ConfigurationError(str(place), f"cannot be read: {error.strerror}") from error
    if mode & 0o007:
        raise ConfigurationError(str(place), "others can read it; run: chmod o= on it")
    if not SECRET_MIN <= len(secret) <= SECRET_MAX:
        raise ConfigurationError(
            str(place), f"a secret must have {SECRET_MIN} to {SECRET_MAX} bytes"
        )
    return secret


def _wrong(path: Path, problem: str) -> ConfigurationError:
    return ConfigurationError(str(path), f"webhooks: {problem}")
