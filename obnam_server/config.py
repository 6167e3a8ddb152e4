"""``server.yaml`` -> frozen settings. Whatever is wrong is one line that names file and key."""

from pathlib import Path
from urllib.parse import urlsplit

from attrs import frozen

from obnam.settings_file import SettingsFile
from obnam.wire.hosts import is_host
from obnam_server.monitoring.webhook_settings import WebhookSettings, parse_webhooks

DEFAULT_LISTEN = ("tcp:8443",)
"""Where the server listens when ``listen`` is not given: port 8443 on all addresses, TLS."""

KEYS = (
    "data_directory",
    "certificate",
    "private_key",
    "public_url",
    "metrics_listen",
    "upkeep_every_minutes",
    "upkeep_bytes_per_second",
    "workers",
    "listen",
    "webhooks",
)

UPKEEP_EVERY_MINUTES = 60
UPKEEP_BYTES_PER_SECOND = 32_000_000
"""About a fifth of what a hard disk does: what is left is for the clients."""

UPKEEP_BYTES_PER_SECOND_LEAST = 100_000
"""More slowly it would never come to its end."""

WORKERS_MAX = 64
"""More processors than that do not serve one store."""

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
    advice = "`obnam-server init` makes one; --config names another"
    file = SettingsFile.read(path.absolute(), KEYS, advice=advice)
    data_directory = file.place("data_directory")
    if data_directory is None:
        raise file.wrong("data_directory", "is missing: the folder to keep data in")
    certificate, private_key = file.place("certificate"), file.place("private_key")
    if (certificate is None) != (private_key is None):
        raise file.wrong("certificate, private_key", "give both or neither")
    metrics = file.text("metrics_listen")
    return Settings(
        path=file.path,
        data_directory=data_directory,
        listen=_listen(file),
        certificate=certificate,
        private_key=private_key,
        public_url=_public_url(file),
        metrics_listen=None if metrics is None else _endpoint(file, "metrics_listen", metrics),
        upkeep_every_minutes=file.number("upkeep_every_minutes", UPKEEP_EVERY_MINUTES, 0),
        upkeep_bytes_per_second=file.number(
            "upkeep_bytes_per_second", UPKEEP_BYTES_PER_SECOND, UPKEEP_BYTES_PER_SECOND_LEAST
        ),
        webhooks=parse_webhooks(file),
        workers=file.number("workers", 0, 0, WORKERS_MAX),
    )


def _listen(file: SettingsFile) -> tuple[str, ...]:
    value = file.get("listen", list(DEFAULT_LISTEN))
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not values or not all(isinstance(v, str) for v in values):
        raise file.wrong(
            "listen", "must be a list of endpoints such as 'tcp:8443:interface=127.0.0.1'"
        )
    return tuple(_endpoint(file, "listen", v) for v in values)


def _endpoint(file: SettingsFile, key: str, text: str) -> str:
    """The endpoint string; a Unix socket is always one that only its owner can use."""
    kind, _, rest = text.partition(":")
    port = rest.partition(":")[0].removeprefix("port=")
    wrong_port = kind in ("tcp", "tcp6") and not (port.isdecimal() and int(port) < 1 << 16)
    if kind not in ("tcp", "tcp6", "unix", "systemd") or not rest or wrong_port:
        raise file.wrong(
            key,
            f"cannot listen on {text!r}; write tcp:PORT, tcp:PORT:interface=ADDRESS, "
            f"unix:PATH or systemd:…",
        )
    if kind != "unix":
        return text
    modes = [part for part in rest.split(":") if part.startswith("mode=")]
    if modes not in ([], [_UNIX_MODE]):
        raise file.wrong(key, f"a Unix socket is plain HTTP and must have {_UNIX_MODE}")
    return text if modes else f"{text}:{_UNIX_MODE}"


def _public_url(file: SettingsFile) -> str | None:
    text = file.text("public_url")
    if text is None:
        return None
    try:
        parts = urlsplit(text)
        good = parts.scheme == "https" and is_host(text, parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment or parts.username or parts.path not in ("", "/"):
        problem = f"must be like https://backup.example.org:8443, not {text!r}"
        raise file.wrong("public_url", problem)
    return text.rstrip("/")
