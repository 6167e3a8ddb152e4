"""The key ``webhooks`` of ``server.yaml`` -> frozen settings."""

import ipaddress
import os
import stat
from pathlib import Path
from urllib.parse import urlsplit

from attrs import field, frozen

from obnam.errors import ConfigurationError
from obnam.settings_file import SettingsFile
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


def parse_webhooks(file: SettingsFile) -> tuple[WebhookSettings, ...]:
    """Check the key's value. `ConfigurationError`."""
    given = file.get("webhooks")
    if given is None:
        return ()
    if not isinstance(given, list) or len(given) > WEBHOOKS_MAX:
        problem = f"must be a list of at most {WEBHOOKS_MAX}, each with a url"
        raise file.wrong("webhooks", problem)
    found = tuple(_webhook(file.within("webhooks", each, _KEYS)) for each in given)
    if len({each.url for each in found}) < len(found):
        problem = "the same url is there twice; name all events in one"
        raise file.wrong("webhooks", problem)
    return found


def _webhook(given: SettingsFile) -> WebhookSettings:
    secret = given.place("secret_file")
    return WebhookSettings(_url(given), _kinds(given), None if secret is None else _secret(secret))


def _url(given: SettingsFile) -> str:
    value = given.get("url")
    try:
        parts = urlsplit(value if isinstance(value, str) else "")
        good = parts.scheme == "https" or (parts.scheme == "http" and _is_here(parts.hostname))
        good = good and bool(parts.hostname) and parts.port != 0 and str(value).isascii()
    except ValueError:
        good = False
    if not good or parts.username or parts.fragment or not str(value).isprintable():
        raise given.wrong("url", "must be like https://example.org/hook; http only to this host")
    return str(value)


def _is_here(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _kinds(given: SettingsFile) -> frozenset[Kind]:
    names = given.get("events")
    if names is None:
        return USUAL
    known = {kind.value: kind for kind in Kind}
    if (
        not isinstance(names, list)
        or not names
        or not all(isinstance(name, str) and name in known for name in names)
    ):
        raise given.wrong("events", f"must be a list of {', '.join(known)}")
    return frozenset(known[name] for name in names)


def _secret(place: Path) -> bytes:
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
