"""
A link to a PostgreSQL server that breaks at a commit.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from select import select
from typing import Final, Literal

import attrs

from chaos.suites import PATIENCE

_COMMIT: Final = b"COMMIT\0"


@attrs.define
class CuttingLink:
    """
    Passes bytes on, one connection after another, and breaks the one with the next commit.

    @ivar target: the port of the server.
    @ivar port: where it listens.
    @ivar cuts: at C{"before"} the commit never arrives, at C{"after"} its reply
        is lost; C{None} cuts nothing.  It cuts once, and is C{None} then.
    """

    target: int
    listener: socket.socket = attrs.field(factory=lambda: socket.create_server(("127.0.0.1", 0)))
    cuts: Literal["before", "after"] | None = None

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def serve(self) -> None:
        """Serve until the listener is shut down."""
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                with client, socket.create_connection(("127.0.0.1", self.target)) as server:
                    while self._pass(client, server):
                        pass

    def _pass(self, client: socket.socket, server: socket.socket) -> bool:
        """Pass on what has come, and return whether the connection goes on."""
        for source in select([client, server], [], [])[0]:
            data = source.recv(65_536)
            if not data:
                return False
            if self.cuts is not None and source is client and _COMMIT in data:
                when, self.cuts = self.cuts, None
                if when == "after":
                    server.sendall(data)
                    server.recv(65_536)
                return False
            (server if source is client else client).sendall(data)
        return True


@contextmanager
def running_link(target: int) -> Iterator[CuttingLink]:
    """A link to a port of this machine."""
    link = CuttingLink(target)
    server = threading.Thread(target=link.serve, daemon=True)
    server.start()
    try:
        yield link
    finally:
        link.listener.shutdown(socket.SHUT_RDWR)
        server.join(PATIENCE)
        link.listener.close()
