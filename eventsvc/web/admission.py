"""
Which connections a site holds, and which give way when there are too many.
"""

from __future__ import annotations

from collections import Counter
from heapq import nsmallest
from math import inf
from operator import itemgetter
from socket import MSG_PEEK
from typing import Any, Final, Protocol

import attrs
from twisted.internet import tcp

from eventsvc.web.answers import Answer
from eventsvc.web.limits import TOO_MANY_CONNECTIONS, TOO_MANY_OF_ADDRESS

#: Most connections beside those admitted, for probes.
SPARE: Final = 64
#: The part of all connections that one search for idle ones may find.
_SHARE: Final = 16
#: Seconds between two searches, for each connection searched, unless there are plenty of idle ones.
_SEARCH_PAUSE: Final = 1e-5


class Connection(Protocol):
    """
    One connection of a site.

    @ivar deadline: when L{expire} is to be called.
    """

    deadline: float
    transport: Any

    @property
    def idle_since(self) -> float | None:
        """Since when there has been no request on it; C{None} if there is one."""

    def close_if_idle(self) -> None:
        """See whether it is to be closed."""

    def expire(self) -> None:
        """See to what takes too long."""


class Site(Protocol):
    """What is asked of the site."""

    connections: dict[Connection, None]
    max_connections: int
    per_address: int
    reactor: Any


@attrs.define(eq=False)
class Admission:
    """
    Decides about each new connection of a site.

    # Note [Giving way]

    When the site is full, the longest idle connection is closed for a new one:
    so any number of silent clients keep nobody out, and closing hurts least.
    Nothing is kept in order for this while events pass.  A search looks at all
    connections, and what it finds serves many admissions: the longest idle
    ones, each asked again when its turn comes: it may have a request by then,
    or one that waits to be read, if both came in one turn of the reactor.  Where few are idle, a search
    finds little each time, so searches then keep a distance in time.

    # Note [Spare places]

    If no connection can give way, the new one gets a spare place.  There one
    head is read: a probe is answered, anything else refused.  When all spare
    places are taken, the oldest is closed, whatever it does::

        silent client: connects                      (waits for its head)
        64 others:              connect, connect ... (the silent one is closed)
        probe:                                       connects, sends its head, is answered

    So a probe gets in however many connect.  It needs its head to arrive before
    64 more connections are accepted.

    @ivar site: holds the connections that were admitted, in their order.
    @ivar spare: those that were not, and have a place for probes, the oldest first.
    """

    site: Site
    spare: dict[Connection, None] = attrs.field(factory=dict, init=False)
    _hosts: dict[Connection, str] = attrs.field(factory=dict, init=False)
    _of_host: Counter[str] = attrs.field(factory=Counter, init=False)
    #: the longest idle comes last
    _idle: list[tuple[float, Connection]] = attrs.field(factory=list, init=False)
    _next_search: float = attrs.field(default=-inf, init=False)

    def admit(self, connection: Connection) -> Answer | None:
        """
        Take a connection in.

        @return: C{None}, or the answer to all that it asks for.
        """
        site = self.site
        host = getattr(connection.transport.getPeer(), "host", None) if site.per_address else None
        if host is not None and self._of_host[host] >= site.per_address:
            return TOO_MANY_OF_ADDRESS
        if len(site.connections) >= site.max_connections and not self._make_room():
            return TOO_MANY_CONNECTIONS
        site.connections[connection] = None
        if host is not None:
            self._hosts[connection] = host
            self._of_host[host] += 1
        return None

    def hold(self, connection: Connection) -> None:
        """Give a connection that is not admitted a place in which a probe is answered."""
        if len(self.spare) >= min(SPARE, max(4, self.site.max_connections // 2)):
            oldest = next(iter(self.spare))
            del self.spare[oldest]
            oldest.transport.abortConnection()
        self.spare[connection] = None

    def remove(self, connection: Connection) -> None:
        """A connection is gone, or on its way."""
        self.spare.pop(connection, None)
        self.site.connections.pop(connection, None)
        host = self._hosts.pop(connection, None)
        if host is not None:
            self._of_host[host] -= 1
            if not self._of_host[host]:
                del self._of_host[host]

    def _make_room(self) -> bool:
        """Close the longest idle connection; say if there is one."""
        now = self.site.reactor.seconds()
        if self._close_longest_idle():
            return True
        if now < self._next_search:
            return False
        idle = [(since, each) for each in self.site.connections if (since := each.idle_since) is not None]
        share = max(1, self.site.max_connections // _SHARE)
        self._idle = nsmallest(share, idle, key=itemgetter(0))[::-1]
        plenty = len(self._idle) == share
        closed = self._close_longest_idle()
        if not (plenty and closed):
            self._next_search = now + _SEARCH_PAUSE * len(self.site.connections)
        return closed

    def _close_longest_idle(self) -> bool:
        """Close one of those that the last search found, if it is still idle."""
        while self._idle:
            since, connection = self._idle.pop()
            if (
                connection in self.site.connections
                and connection.idle_since == since
                and not _has_unread(connection.transport)
            ):
                self.remove(connection)
                connection.transport.abortConnection()
                return True
        return False


def _has_unread(transport: Any) -> bool:
    """Whether something came that the reactor has not read yet."""
    if not isinstance(transport, tcp.Connection):
        return False
    try:
        return bool(transport.socket.recv(1, MSG_PEEK))
    except OSError:  # there is nothing, or the connection is lost
        return False
