"""Connections to a `ServerProcess` for bytes that no client of ours sends."""

import socket
import ssl

from tests.support.server_process import ServerProcess

SILENCE_S = 20.0
"""A server that says nothing for so long has failed the test."""


def plain(server: ServerProcess, source: tuple[str, int] | None = None) -> socket.socket:
    """One without TLS, from an address and port of ours."""
    host, _, port = server.url.removeprefix("https://").rpartition(":")
    return socket.create_connection((host, int(port)), SILENCE_S, source)


def secured(server: ServerProcess) -> ssl.SSLSocket:
    """One with TLS, whatever the server's certificate is."""
    return trusting().wrap_socket(plain(server))


def trusting() -> ssl.SSLContext:
    """Trusts everyone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
