"""
Writing without the detour through the reactor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.tcp import Connection


def immediate_write(transport: Any) -> Callable[[bytes], None]:
    """
    A C{write} that gives the kernel at once what it takes.

    The usual one has the reactor watch the socket, write in its next turn and
    watch it no more: for a short message that costs more than making it.  Only
    plain TCP can do better; for all else this is the usual one.
    """
    write: Callable[[bytes], None] = transport.write
    if not isinstance(transport, Connection) or transport.TLS:
        return write
    send = transport.socket.send

    def write_now(data: bytes) -> None:
        if transport.dataBuffer or transport._tempDataBuffer:
            write(data)
            return
        try:
            sent = send(data)
        except OSError:
            sent = 0  # if the connection is lost, the reactor will find out
        if sent < len(data):
            write(data[sent:])

    return write_now
