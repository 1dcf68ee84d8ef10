"""
Reads from sockets with less work in the reactor.
"""

from __future__ import annotations

import select
from typing import Any

import attrs
from twisted.internet.interfaces import IHalfCloseableDescriptor, IReadDescriptor
from twisted.internet.main import CONNECTION_DONE
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(IReadDescriptor)
@attrs.define(eq=False)
class NestedPoll:
    """
    Acts as the reactor of a port and its connections.

    The reactor creates a logging context for each event, which costs more than
    everything else it does for a small request.  So all readers here share one
    epoll, which the reactor polls as a single reader
    (U{https://man7.org/linux/man-pages/man7/epoll.7.html}, question 3).

    @ivar reactor: does everything except reading.
    """

    reactor: Any
    _readers: dict[int, Any] = attrs.field(factory=dict, init=False)
    _poll: Any = attrs.field(factory=lambda: select.epoll(), init=False)
    _log = Logger()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.reactor, name)

    def addReader(self, reader: Any) -> None:
        if not self._readers:
            self.reactor.addReader(self)
        number = reader.fileno()
        if number not in self._readers:
            self._poll.register(number, select.EPOLLIN)
        self._readers[number] = reader

    def removeReader(self, reader: Any) -> None:
        number = reader.fileno()
        if self._readers.get(number) is not reader:
            return
        del self._readers[number]
        self._poll.unregister(number)
        if not self._readers:
            self.reactor.removeReader(self)

    def fileno(self) -> int:
        return int(self._poll.fileno())

    def logPrefix(self) -> str:
        return "NestedPoll"

    def doRead(self) -> None:
        """Read every ready socket."""
        readers = self._readers
        for number, _ in self._poll.poll(0):
            reader = readers.get(number)
            if reader is None:
                continue  # an earlier reader removed it
            try:
                why = reader.doRead()
            except Exception as error:
                self._log.failure("unexpected error while reading a socket; it is closed")
                why = error
            if why is not None:
                self._end(reader, why)

    def _end(self, reader: Any, why: Exception) -> None:
        """Close one reader; an error in it does not affect the others."""
        self.removeReader(reader)
        try:
            if why is CONNECTION_DONE and IHalfCloseableDescriptor.providedBy(reader):
                reader.readConnectionLost(Failure(why))
            else:
                reader.connectionLost(Failure(why))
        except Exception:
            self._log.failure("unexpected error while closing a connection")

    def connectionLost(self, reason: Failure) -> None:
        """Close all readers, because the reactor has stopped."""
        for reader in list(self._readers.values()):
            reader.connectionLost(reason)


def listening_reactor(reactor: Any) -> Any:
    """Return the reactor to listen with: a L{NestedPoll} where the system has epoll."""
    return NestedPoll(reactor) if hasattr(select, "epoll") else reactor
