"""What both ends ask of the kernel for their TCP connections."""

import socket

UNSENT_BYTES = 512 * 1024
"""Bytes that the kernel keeps and has not sent yet. Left alone it takes 4 MiB a connection from
whoever writes faster than the link carries: on a link of 20 kB/s a writer heard nothing for
minutes, and took that for silence. No slower on a fast link, where nothing waits."""

INTERNET = (socket.AF_INET, socket.AF_INET6)


def keep_little_unsent(connection: socket.socket) -> None:
    """Let who writes to it know how the link takes it; nothing, if it is no TCP connection."""
    if connection.family in INTERNET:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)


def notice_lost_peer(connection: socket.socket, silence_s: int) -> None:
    """Have the kernel end it when the other host acknowledges nothing for some ``silence_s``.

    Data under way must be acknowledged within that time (RFC 5482), and when there is none, the
    host is asked (RFC 9293, 3.8.4). A host that only thinks for long answers both.
    """
    if connection.family in INTERNET:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, silence_s * 1000)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, silence_s // 3)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, silence_s // 6)
