"""Joining: an administrator's invitation, and what a client makes of it.

An invitation is one line, ``https://HOST:PORT/#CODE.PIN``: behind the ``#``, so that it is never
sent as part of a URL. The pin is the base64url SHA-256 of the certificate's public key; a
certificate of an authority needs none.
"""

from attrs import frozen

from obnam.errors import AccessDenied
from obnam.wire.messages import EnrolmentAnswer, EnrolmentRequest, Json
from obnam_server.auth import Gate
from obnam_server.store.clients import Clients
from obnam_server.work import Work


@frozen
class Invitation:
    """``url``: the server's, without a slash at its end, or ``unix:PATH``."""

    url: str
    code: str
    pin: str | None

    def to_json(self) -> Json:
        """Whole and in parts, for programs."""
        return {"invitation": str(self), "url": self.url, "code": self.code, "pin": self.pin}

    def __str__(self) -> str:
        slash = "/" if self.url.startswith("https:") else ""
        pin = f".{self.pin}" if self.pin else ""
        return f"{self.url}{slash}#{self.code}{pin}"


async def enrol(
    clients: Clients, work: Work, gate: Gate, message: EnrolmentRequest, source: str | None
) -> EnrolmentAnswer:
    """Use a code up. Raises `AccessDenied`, or `Refused` when too many from there were wrong."""
    gate.check(source)
    try:
        return await work.write(clients.enrol, message.code, message.token_sha256)
    except AccessDenied:
        gate.failed(source)
        raise
