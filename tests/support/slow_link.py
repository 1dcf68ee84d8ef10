"""
A slow or stalled link: a proxy that runs in threads.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import attrs

#: Bytes that are passed on at once, and that systems keep for us.
_CHUNK: Final = 4_096


@attrs.define
class SlowLink:
    """
    Forwards bytes to a port of this machine, in both directions.

    @ivar rate: bytes per second, in each direction.
    @ivar flows: when cleared, the link stalls without losing bytes.
    """

    target: int
    rate: float
    listener: socket.socket
    flows: threading.Event = attrs.field(factory=threading.Event)
    sockets: list[socket.socket] = attrs.field(factory=list)

    @property
    def port(self) -> int:
        port: int = self.listener.getsockname()[1]
        return port

    def accept(self) -> None:
        with suppress(OSError):  # until it is closed
            while True:
                near, _ = self.listener.accept()
                far = socket.socket()
                for end in (near, far):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _CHUNK)
                far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _CHUNK)
                far.connect(("127.0.0.1", self.target))
                self.sockets += [near, far]
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self.pump, args=ends, daemon=True).start()

    def pump(self, source: socket.socket, sink: socket.socket) -> None:
        """Forward bytes at the rate of the link until either end is closed."""
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                self.flows.wait()
                sink.sendall(data)
                time.sleep(len(data) / self.rate)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def slow_link(target: int, rate: float) -> Iterator[SlowLink]:
    """Run a link for one test."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _CHUNK)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    link = SlowLink(target, rate, listener)
    link.flows.set()
    threading.Thread(target=link.accept, daemon=True).start()
    try:
        yield link
    finally:
        link.flows.set()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        for end in (listener, *link.sockets):
            end.close()
