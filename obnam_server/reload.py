"""SIGHUP: the configuration and the certificate are read anew, while everything goes on."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

import attrs
from attrs import define, field, frozen
from twisted.application.service import Service
from twisted.internet.base import ReactorBase
from twisted.internet.interfaces import IOpenSSLContextFactory
from zope.interface import implementer

from obnam_server.config import Settings, load
from obnam_server.tls import certificate_files, server_options

if TYPE_CHECKING:
    from OpenSSL.SSL import Context
    from twisted.internet.ssl import CertificateOptions

CHANGEABLE = ("certificate", "private_key", "public_url")
"""Settings that a running server can change; for the others it must be started again."""


@implementer(IOpenSSLContextFactory)
@define(eq=False)
class ServedCertificate:
    """What new TLS connections begin with: Twisted asks for each of them."""

    options: "CertificateOptions"

    def getContext(self) -> "Context":  # noqa: N802
        """See `IOpenSSLContextFactory`."""
        return self.options.getContext()


@frozen
class ReadAnew:
    """What was read, and which settings differ from those that are in use."""

    settings: Settings
    options: "CertificateOptions | None"
    changed: tuple[str, ...]
    need_restart: tuple[str, ...]


def read_anew(in_use: Settings, encrypted: bool) -> ReadAnew:
    """Read the configuration, and the certificate if connections are ``encrypted``. Blocks.

    What needs a restart keeps its value. `ConfigurationError`: use nothing of it.
    """
    found = load(in_use.path)
    names = [name for name in attrs.asdict(in_use) if name != "path"]
    differ = [name for name in names if getattr(found, name) != getattr(in_use, name)]
    changed = tuple(name for name in differ if name in CHANGEABLE)
    settings = attrs.evolve(in_use, **{name: getattr(found, name) for name in changed})
    options = server_options(settings, certificate_files(settings)) if encrypted else None
    return ReadAnew(settings, options, changed, tuple(n for n in differ if n not in CHANGEABLE))


@define(eq=False)
class HangUp(Service):
    """Calls ``heard`` on SIGHUP, on the reactor's thread, while it runs. For the main thread."""

    _reactor: ReactorBase
    _heard: Callable[[], object]
    _before: Any = field(init=False, default=None)

    def startService(self) -> None:  # noqa: N802
        """Listen for the signal."""
        super().startService()
        self._before = signal.signal(signal.SIGHUP, self._wake)

    def stopService(self) -> None:  # noqa: N802
        """Leave it to whoever had it before."""
        super().stopService()
        signal.signal(signal.SIGHUP, self._before)

    def _wake(self, number: int, frame: FrameType | None) -> None:
        """Between any two instructions: nothing but waking the reactor is safe here."""
        self._reactor.callFromThread(self._heard)
