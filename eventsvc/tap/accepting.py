"""
Accepts many connections at once, and pauses when the system has no descriptor left.
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
#: Connections accepted before those that there are have their turn.
_AT_ONCE: Final = 32
#: Seconds for which no connection is accepted after one could not be.
_PAUSE: Final = 0.5
#: Seconds between two lines of the log about that.
_QUIET: Final = 60.0
#: Most descriptors a process asks for.
_ENOUGH: Final = 65_536
#: Descriptors for all but the connections that are admitted: the spare places
#: for probes, connections that are being closed, Redis, logs, resolvers.
_RESERVE: Final = 128


class ReadingServer(Server):
    """
    A connection that is read as much at a time as its protocol wants.

    @ivar read_size: bytes.
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
    A TCP port that stops accepting for a moment when a connection cannot be accepted.

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
                    continue  # this one is gone, or not wanted by the firewall
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
            self._accept_log.failure("a new connection failed in an unexpected way")

    def _pause(self, error: OSError) -> None:
        self.stopReading()
        self.reactor.callLater(_PAUSE, self._go_on)
        now = self.reactor.seconds()
        if now - self._told >= _QUIET:
            self._told = now
            self._accept_log.error(
                "no connection can be accepted ({problem}); new ones wait, and this is said once in {quiet:.0f} s",
                problem=error.strerror,
                quiet=_QUIET,
            )

    def _go_on(self) -> None:
        if self.connected and not self.disconnecting:
            self.startReading()


def raise_descriptor_limit() -> int:
    """
    Let this process have as many descriptors as it may, and return how many that are.
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
    How many connections a port may hold of a number of descriptors, so that there are always some for Redis.
    """
    most = min(MAX_CONNECTIONS, max(limit - _RESERVE, limit // 4))
    if most < MAX_CONNECTIONS:
        Logger().warn(
            "at most {most} connections, as there are {limit} file descriptors (ulimit -n)", most=most, limit=limit
        )
    return most
