"""
Accepts connections in groups, and pauses while the system has no free file descriptor.
"""

from __future__ import annotations

import resource
from errno import ECONNABORTED, EPERM
from typing import Any, Final

from twisted.internet.main import CONNECTION_LOST
from twisted.internet.tcp import Port, Server
from twisted.logger import Logger

from eventsvc.web.limits import MAX_CONNECTIONS

#: Connections that the kernel holds until they are accepted; it may hold fewer
#: (C{net.core.somaxconn}).
BACKLOG: Final = 4_096
#: Connections accepted before the existing ones are served again.
_AT_ONCE: Final = 32
#: Seconds without accepting after a connection could not be accepted.
_PAUSE: Final = 0.5
#: Seconds between two log messages about that.
_QUIET: Final = 60.0
#: Most descriptors a process asks for.
_ENOUGH: Final = 65_536
#: Descriptors reserved for everything but admitted connections: spare places
#: for probes, connections being closed, Redis, logs, resolvers.
_RESERVE: Final = 128


class ReadingServer(Server):
    """
    A connection whose protocol sets how much is read at a time.

    @ivar read_size: bytes per read.
    """

    read_size = 4_096

    def doRead(self) -> Any:
        try:
            data = self.socket.recv(self.read_size)
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_LOST
        return self._dataReceived(data)


class PausingPort(Port):
    """
    A TCP port that pauses when a connection cannot be accepted.

    Twisted's own port retries at once, forever, and logs each attempt.
    """

    transport = ReadingServer
    _told = -_QUIET
    _accept_log = Logger()
    factory: Any
    socket: Any
    reactor: Any

    def doRead(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                accepted, address = self.socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (ECONNABORTED, EPERM):
                    continue  # this client is gone, or the firewall rejects it
                self._pause(error)
                return
            self._connect(accepted, address)

    def _connect(self, accepted: Any, address: Any) -> None:
        try:
            accepted.setblocking(False)
            protocol = self.factory.buildProtocol(self._buildAddr(address))
            if protocol is None:
                accepted.close()
                return
            self.sessionno += 1
            transport = self.transport(accepted, protocol, address, self, self.sessionno, self.reactor)
            protocol.makeConnection(transport)
        except Exception:
            accepted.close()
            self._accept_log.failure("unexpected error on a new connection; it is closed")

    def _pause(self, error: OSError) -> None:
        self.stopReading()
        self.reactor.callLater(_PAUSE, self._go_on)
        now = self.reactor.seconds()
        if now - self._told >= _QUIET:
            self._told = now
            self._accept_log.error(
                "cannot accept connections: {problem}; new ones wait (this is logged at most every {quiet:.0f} s)",
                problem=error.strerror,
                quiet=_QUIET,
            )

    def _go_on(self) -> None:
        if self.connected and not self.disconnecting:
            self.startReading()


def raise_descriptor_limit() -> int:
    """
    Raise the limit on file descriptors as far as allowed, and return it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            return soft
        return wanted
    return _ENOUGH if soft == resource.RLIM_INFINITY else soft


def connections_within(limit: int) -> int:
    """
    Return how many connections a port may hold, so that descriptors are left for Redis.

    @param limit: the number of file descriptors of the process.
    """
    most = min(MAX_CONNECTIONS, max(limit - _RESERVE, limit // 4))
    if most < MAX_CONNECTIONS:
        Logger().warn(
            "at most {most} connections are accepted, because the limit on open files is {limit}: raise `ulimit -n`",
            most=most,
            limit=limit,
        )
    return most
