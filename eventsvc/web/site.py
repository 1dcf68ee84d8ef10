"""
The HTTP server in front of the routes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import Any, Final, Protocol
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import Request as HTTPRequest
from twisted.web.http import datetimeToString
from twisted.web.server import Request, Site

from eventsvc.event import MAX_BYTES
from eventsvc.interfaces import QueueFull
from eventsvc.web.admission import Admission, Connection
from eventsvc.web.answers import TIME_IS_UP, Answer, not_found, render, unexpected
from eventsvc.web.api import Api
from eventsvc.web.arrivals import Arrivals
from eventsvc.web.channel import Channel
from eventsvc.web.fast_path import FastPath
from eventsvc.web.limits import BODY_TOO_LARGE, FIRST_BYTE, GRACE, IDLE, MAX_CONNECTIONS, origin_form
from eventsvc.web.origin import cors_headers
from eventsvc.web.post_head import PostHead, PostReader, by_name
from eventsvc.web.request_heads import RequestHeads
from eventsvc.web.routing import may_be_route
from eventsvc.web.turns import SMALL, Turn, Turns

#: Seconds between two checks of the deadlines of all connections.
_SWEEP: Final = 1.0


class Routes(Protocol):
    """The routes of a site; C{app} is a Klein app."""

    @property
    def app(self) -> Any: ...

    @property
    def arrivals(self) -> Arrivals: ...


class BoundedRequest(Request):
    """A request whose body is kept in memory, up to a limit."""

    channel: Channel
    content: BytesIO
    site: BoundedSite
    #: of a POST of events
    post_head: PostHead | None = None
    _turn: Turn | None = None
    #: when it began to wait for room in the queue; C{None} if it has not waited
    waiting_since: float | None = None
    _fault_log = Logger()

    def gotLength(self, length: int | None) -> None:
        self.content = BytesIO()
        if length is not None and length > SMALL:
            self._reserve(length)

    def handleContentChunk(self, data: bytes) -> None:
        size = self.content.tell() + len(data)
        if size > MAX_BYTES:
            self.channel.refuse(BODY_TOO_LARGE)
            return
        if size > SMALL:
            self._reserve(MAX_BYTES)
        self.content.write(data)

    def _reserve(self, size: int) -> None:
        head = self.post_head
        if head is None:
            self.channel.inflow.reserve(size, False, self.channel.site.arrivals)
        else:
            self.channel.inflow.reserve(size, head.has_key, head.route.destination.arrivals)

    def leave_arrivals(self) -> None:
        """Give back the bytes reserved for the body, which is not kept any longer."""
        self.channel.inflow.release()

    def wait_for_turn(self, turns: Turns, size: int, full: QueueFull | None) -> Deferred[bool]:
        """
        Wait for room in the queue.

        @param full: the error of the last attempt, if there was one.
        @return: fires with whether the deadline for that has passed.
        """
        called: Deferred[bool] = Deferred(lambda _: self._leave_turn())
        if self._turn is None or full is None:
            self._turn = turns.join(size, called.callback, full)
            self.waiting_since = self._turn.since
        else:
            self._turn.call = called.callback
            turns.again(self._turn, full)
        return called

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        super().requestReceived(command, origin_form(path), version)

    def getRequestHostname(self) -> bytes:
        """Return a fixed host name: no route depends on it, and Klein fails on some hosts."""
        return b"localhost"

    def process(self) -> None:
        """
        Route the request, but for paths that are hidden, or that Klein confuses with others or fails on (404).

        The preflights of web pages are answered here too.
        """
        site: BoundedSite = self.channel.site
        if not may_be_route(self.path) or unquote_to_bytes(self.path) in site.hidden:
            self.answer(not_found())
            return
        if self.post_head is not None and self.post_head.origin is not None:
            for name, value in cors_headers(self.post_head.origin):
                self.setHeader(name, value)
        answer = None
        if self.method == b"OPTIONS" and site.posts is not None:
            answer = site.posts.read_preflight(self.path, by_name(self.requestHeaders))
        if answer is None:
            super().process()
        else:
            self.answer(answer)

    def processingFailed(self, reason: Failure) -> None:
        self._fault_log.failure("unexpected error in a request; it is answered 500", reason)
        self.answer(unexpected())

    def expire(self) -> None:
        """Answer that the request took too long, and cancel the work on it."""
        if self._turn is not None and self._turn.waits:
            self._turn.end()
            return
        waiting, self.notifications = self.notifications, []
        for waiter in waiting:
            waiter.errback(Failure(CancelledError()))
        self.answer(TIME_IS_UP)

    def _leave_turn(self) -> None:
        if self._turn is not None:
            self._turn.leave()

    def answer(self, answer: Answer) -> None:
        """Write the whole response."""
        self.write(render(self, answer))
        self.finish()


class BoundedSite(Site):
    """
    Serves routes on a port, without an access log.

    Deadlines are checked once a second, so they may be exceeded by a second.

    @ivar fast_path: makes the fast path of a connection; C{None} for none.
    @ivar posts: reads the heads of POSTs; C{None} if no events are posted.
    @ivar connections: the admitted connections, the oldest first.
    @ivar hidden: paths that do not exist on this port, although they have a route.
    @ivar date: the C{Date} of fast-path answers; at most a second old.
    @ivar draining: whether each answer is the last on its connection.
    @ivar closing: whether idle connections are closed.
    """

    displayTracebacks = noisy = False
    protocol: Any = Channel
    fast_path: Callable[[Channel], FastPath] | None = None
    posts: PostReader | None = None
    hidden: frozenset[bytes] = frozenset()

    def __init__(
        self,
        api: Routes,
        timeout: float,
        clock: IReactorTime,
        max_connections: int = MAX_CONNECTIONS,
        per_address: int = 0,
    ) -> None:
        """
        @param timeout: the longest duration of one request in seconds, from its
            first byte to its answer.
        @param max_connections: the most connections at once; for another one
            the longest idle is closed, or else the new one is refused.
        @param per_address: the most connections of one address; 0 for no limit.
        """
        super().__init__(
            api.app.resource(),
            requestFactory=BoundedRequest,
            parsePOSTFormSubmission=False,  # a body is JSON, whatever its Content-Type
            timeout=None,  # the channel has its own deadline
            reactor=clock,
        )
        self.arrivals = api.arrivals
        self.timeout = timeout
        self.max_connections = max_connections
        self.per_address = per_address
        self.idle, self.grace = IDLE, GRACE
        self.first_byte = FIRST_BYTE
        self.connections: dict[Connection, None] = {}
        self.admission = Admission(self)
        self.draining = self.closing = False
        self.date = b""
        self._sweeping: IDelayedCall | None = None
        self._drained: list[Deferred[None]] = []

    def startFactory(self) -> None:
        """Open no access log."""

    def acceptableProtocols(self) -> list[bytes]:
        """Return what TLS clients may choose (ALPN, RFC 7301); twisted.web adds HTTP/2 if it can be imported."""
        return [b"http/1.1"]

    def log(self, request: HTTPRequest) -> None:
        """Write no access log."""

    def drain(self) -> Deferred[None]:
        """
        Finish the requests in progress, and close all connections.

        Fires when no connection is left, at the latest after C{grace}, C{timeout}, a second for the sweep, and
        L{LINGER}.  Stop listening first.

        # Note [Grace]

        A connection that is idle at the server may have a request on its way,
        and closing it would reset that request::

            client: POST /event ->
            server:                <- FIN       the request meets a closed port

        So idle connections stay open for C{grace} seconds.  The answer to a request that arrives meanwhile says
        that it is the last.  A client with many connections takes time to use each of them once more.
        """
        self.draining = True
        drained: Deferred[None] = Deferred()
        self._drained.append(drained)
        self._tell_drained()
        if not drained.called:
            self.reactor.callLater(self.grace, self._close)
        return drained

    def _close(self) -> None:
        self.closing = True
        for connection in list(self.connections):
            connection.close_if_idle()

    def admit(self, connection: Connection) -> Answer | None:
        """Admit a connection, or return the answer to its requests; as L{Admission.admit}."""
        if self._sweeping is None:
            self._sweep_later()
        return self.admission.admit(connection)

    def _sweep_later(self) -> None:
        self.date = datetimeToString()
        self._sweeping = self.reactor.callLater(_SWEEP, self._sweep)

    def _sweep(self) -> None:
        """Expire the connections that have passed their deadline."""
        self._sweeping = None
        connections = [*self.connections, *self.admission.spare]
        if connections:
            self._sweep_later()
        now = self.reactor.seconds()
        for connection in [each for each in connections if each.deadline <= now]:
            connection.expire()

    def forget(self, connection: Connection) -> None:
        """Forget a closed connection."""
        self.admission.remove(connection)
        self._tell_drained()

    def _tell_drained(self) -> None:
        if not self.connections:
            drained, self._drained = self._drained, []
            for each in drained:
                each.callback(None)


def make_site(
    api: Api,
    timeout: float,
    clock: IReactorTime,
    max_connections: int = MAX_CONNECTIONS,
    per_address: int = 0,
    fast_path: bool = True,
    hidden: frozenset[bytes] = frozenset(),
) -> BoundedSite:
    """Return a L{BoundedSite} that serves the routes, with or without the fast path."""
    site = BoundedSite(api, timeout, clock, max_connections, per_address)
    site.posts = api.posts
    site.hidden = hidden
    if fast_path:
        site.fast_path = partial(FastPath, RequestHeads(api.posts))
    return site
