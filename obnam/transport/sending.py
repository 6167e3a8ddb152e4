"""Sending past the buffer of Twisted's transports."""

from twisted.internet.interfaces import ITransport
from twisted.internet.tcp import Connection


def send_now(below: ITransport, data: memoryview) -> int:
    """How much of ``data`` the socket below took at once.

    What goes through the transport's own buffer is copied twice on its way there. Of a connection
    that is lost, the transport is to find out by itself, when it is told to write the rest.
    """
    if not isinstance(below, Connection) or not below.connected or below.disconnecting:
        return 0
    if below.dataBuffer or below._tempDataLen:
        return 0
    sent = below.writeSomeData(data)  # type: ignore[arg-type]  # it makes a memoryview itself
    return sent if isinstance(sent, int) else 0
