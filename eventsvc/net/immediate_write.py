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

    With the usual C{write} the reactor watches the socket, writes in its next
    turn and stops watching.  For a short message that costs more than building
    it.  Only plain TCP gets the faster C{write}; other transports keep their own,
    or bring another, as L{eventsvc.net.tls_transport.TLSTransport} does.
    """
    own: Callable[[bytes], None] | None = getattr(transport, "write_now", None)
    if own is not None:
        return own
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
            sent = 0  # if the connection is lost, the reactor detects it
        if sent < len(data):
            write(data[sent:])

    return write_now
