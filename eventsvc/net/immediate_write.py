"""
Writes to a socket without waiting for the reactor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.tcp import Connection


def immediate_write(transport: Any) -> Callable[[bytes], None]:
    """
    Return a C{write} that passes data to the kernel at once.

    The usual C{write} has the reactor watch the socket, write in its next turn
    and stop watching: for a short message that costs more than making it.  Only
    plain TCP has the faster way; other transports keep their own C{write}.
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
