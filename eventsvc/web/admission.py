"""
Decides which connections a site keeps, and which it closes when there are too many.
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

from eventsvc.net.tls_transport import TLSTransport
from eventsvc.web.answers import Answer
from eventsvc.web.limits import TOO_MANY_CONNECTIONS, TOO_MANY_OF_ADDRESS

#: Most connections beyond the admitted ones, reserved for probes.
SPARE: Final = 64
#: One search keeps at most 1/16 of all connections: the longest idle ones.
_SHARE: Final = 16
#: Seconds to wait after a search that finds few idle connections, for each connection searched.
_SEARCH_PAUSE: Final = 1e-5


class Connection(Protocol):
    """
    One connection of a site.

    @ivar deadline: when the site calls L{expire}.
    """

    deadline: float
    transport: Any

    @property
    def idle_since(self) -> float | None:
        """The time when the connection became idle; C{None} if it is not idle."""

    def close_if_idle(self) -> None:
        """Close the connection if the site is closing and no request is in progress."""

    def expire(self) -> None:
        """End whatever has passed its deadline."""


class Site(Protocol):
    """The site, as far as admission uses it."""

    connections: dict[Connection, None]
    max_connections: int
    per_address: int
    reactor: Any


@attrs.define(eq=False)
class Admission:
    """
    Decides whether a new connection is admitted.

    # Note [Giving way]

    When the site is full, the longest idle connection is closed for a new one.
    So silent clients, however many, cannot keep others out.  Connections are
    not kept sorted by idle time, because that would cost time for every event.
    Instead, one search looks at all connections and keeps the longest idle
    ones for many later admissions.  Each is checked again before it is closed:
    by then it may have a request, or one that is received but not yet read.
    When few connections are idle, each search finds little, so searches are
    then spaced out.

    # Note [Spare places]

    If no connection can be closed, the new one gets a spare place.  There one
    head is read: a probe is answered, anything else is refused.  When all spare
    places are taken, the oldest of these connections is closed, whatever its state::

        silent client: connects                      (waits for its head)
        64 others:              connect, connect ... (the silent one is closed)
        probe:                                       connects, sends its head, is answered

    So a probe is answered however many clients connect, provided that its head
    arrives before 64 more connections are accepted.

    @ivar site: holds the admitted connections, the oldest first.
    @ivar spare: the connections in spare places, the oldest first.
    """

    site: Site
    spare: dict[Connection, None] = attrs.field(factory=dict, init=False)
    _hosts: dict[Connection, str] = attrs.field(factory=dict, init=False)
    _of_host: Counter[str] = attrs.field(factory=Counter, init=False)
    #: found by the last search; the longest idle comes last
    _idle: list[tuple[float, Connection]] = attrs.field(factory=list, init=False)
    _next_search: float = attrs.field(default=-inf, init=False)

    def admit(self, connection: Connection) -> Answer | None:
        """
        Admit a connection, or refuse it.

        @return: C{None} if it is admitted, or else the answer to its requests.
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
        """Put a refused connection in a spare place, where only a probe is answered."""
        if len(self.spare) >= min(SPARE, max(4, self.site.max_connections // 2)):
            oldest = next(iter(self.spare))
            del self.spare[oldest]
            oldest.transport.abortConnection()
        self.spare[connection] = None

    def remove(self, connection: Connection) -> None:
        """Forget a connection that is closed or being closed."""
        self.spare.pop(connection, None)
        self.site.connections.pop(connection, None)
        host = self._hosts.pop(connection, None)
        if host is not None:
            self._of_host[host] -= 1
            if not self._of_host[host]:
                del self._of_host[host]

    def _make_room(self) -> bool:
        """Close the longest idle connection, and return whether there was one."""
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
        """Close a connection found by the last search that is still idle, and return whether there was one."""
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
    """
    Return whether the kernel has received bytes that the reactor has not read yet.

    Under TLS they are not decrypted, so they may be something else than a request.
    """
    if isinstance(transport, TLSTransport):
        transport = transport.transport
    if not isinstance(transport, tcp.Connection):
        return False
    try:
        return bool(transport.socket.recv(1, MSG_PEEK))
    except OSError:  # no bytes, or the connection is lost
        return False
