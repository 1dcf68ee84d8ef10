"""
The HTTP server in front of the routes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import Any, Final, Protocol

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
from eventsvc.web.request_heads import RequestHeads
from eventsvc.web.routing import may_be_route
from eventsvc.web.turns import SMALL, Turn, Turns

#: Seconds between two looks at the deadlines of all connections.
_SWEEP: Final = 1.0


class Routes(Protocol):
    """What is served: its C{app} is a Klein."""

    @property
    def app(self) -> Any: ...

    @property
    def arrivals(self) -> Arrivals: ...


class BoundedRequest(Request):
    """A request whose body is kept in memory, up to a limit."""

    channel: Channel
    content: BytesIO
    site: BoundedSite
    _turn: Turn | None = None
    #: when it began to wait for room in the queue
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
        self.channel.inflow.reserve(size, self.requestHeaders.hasHeader(b"Idempotency-Key"))

    def leave_arrivals(self) -> None:
        """The body is not kept any more."""
        self.channel.inflow.release()

    def wait_for_turn(self, turns: Turns, size: int, full: QueueFull | None) -> Deferred[bool]:
        """
        Wait for room in the queue.

        @param full: what the last attempt met, if there was one.
        @return: fires with whether the time for that is over.
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
        """No route depends on the host, and Klein stumbles over some."""
        return b"localhost"

    def process(self) -> None:
        """Keep from Klein the paths that it would take for others, or fail on."""
        if may_be_route(self.path):
            super().process()
        else:
            self.answer(not_found())

    def processingFailed(self, reason: Failure) -> None:
        self._fault_log.failure("a request failed in an unexpected way", reason)
        self.answer(unexpected())

    def expire(self) -> None:
        """Answer that time is over, and cancel what is still being done."""
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
    The routes on a port, without an access log.

    Deadlines are seen to once a second: so what takes too long may take a
    second more.

    @ivar fast_path: makes the fast path of a connection, if there is to be one.
    @ivar connections: all that were admitted, the oldest first.
    @ivar date: as it stands in answers of the fast path; at most a second old.
    @ivar draining: each answer is the last on its connection.
    @ivar closing: a connection without a request is closed.
    """

    displayTracebacks = False
    noisy = False
    protocol: Any = Channel
    fast_path: Callable[[Channel], FastPath] | None = None

    def __init__(
        self,
        api: Routes,
        timeout: float,
        clock: IReactorTime,
        max_connections: int = MAX_CONNECTIONS,
        per_address: int = 0,
    ) -> None:
        """
        @param timeout: the longest life of one request in seconds: from its first
            byte until its answer, however slowly it comes.
        @param max_connections: the most connections at once; for one more the
            longest idle is closed, or it is told that its events are not stored.
        @param per_address: the most connections of one address; 0 for no bound.
        """
        super().__init__(
            api.app.resource(),
            requestFactory=BoundedRequest,
            parsePOSTFormSubmission=False,  # a body is JSON, whatever its type says
            timeout=None,  # the channel keeps time itself
            reactor=clock,
        )
        self.arrivals = api.arrivals
        self.timeout = timeout
        self.max_connections = max_connections
        self.per_address = per_address
        self.idle = IDLE
        self.first_byte = FIRST_BYTE
        self.connections: dict[Connection, None] = {}
        self.admission = Admission(self)
        self.draining = self.closing = False
        self.date = b""
        self._sweeping: IDelayedCall | None = None
        self._drained: list[Deferred[None]] = []

    def startFactory(self) -> None:
        """There is no access log to open."""

    def log(self, request: HTTPRequest) -> None:
        """There is no access log to write."""

    def drain(self) -> Deferred[None]:
        """
        Let requests in progress end, and close all connections.

        It fires when there are none, at the latest after L{GRACE}, C{timeout},
        a second for the sweep, and L{LINGER}.  Stop listening first.

        # Note [Grace]

        A connection that is idle here may have a request on its way, and
        closing it would reset that request::

            client: POST /event ->
            server:                <- FIN       the request meets a closed port

        So idle connections live a little longer; the answer to what still
        comes says that it is the last.
        """
        self.draining = True
        drained: Deferred[None] = Deferred()
        self._drained.append(drained)
        self._tell_drained()
        if not drained.called:
            self.reactor.callLater(GRACE, self._close)
        return drained

    def _close(self) -> None:
        self.closing = True
        for connection in list(self.connections):
            connection.close_if_idle()

    def admit(self, connection: Connection) -> Answer | None:
        """Take a connection in, or say what it is to be answered: see L{Admission}."""
        if self._sweeping is None:
            self._sweep_later()
        return self.admission.admit(connection)

    def _sweep_later(self) -> None:
        self.date = datetimeToString()
        self._sweeping = self.reactor.callLater(_SWEEP, self._sweep)

    def _sweep(self) -> None:
        """See to all connections that take too long."""
        self._sweeping = None
        connections = [*self.connections, *self.admission.spare]
        if connections:
            self._sweep_later()
        now = self.reactor.seconds()
        for connection in [each for each in connections if each.deadline <= now]:
            connection.expire()

    def forget(self, connection: Connection) -> None:
        """A connection is gone."""
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
) -> BoundedSite:
    """Serve the routes as a L{BoundedSite}, with or without the fast path."""
    site = BoundedSite(api, timeout, clock, max_connections, per_address)
    if fast_path:
        site.fast_path = partial(FastPath, api.appender, api.turns, RequestHeads())
    return site
