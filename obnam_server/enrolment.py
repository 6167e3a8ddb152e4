"""Joining: what a client makes of an invitation (see `obnam_server.invitation`)."""

from obnam.errors import AccessDenied
from obnam.wire.messages import EnrolmentAnswer, EnrolmentRequest
from obnam_server.auth import Gate
from obnam_server.store.accounts.clients import Clients
from obnam_server.work import Work


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
