"""
The connections to a webhook's receiver, which may be hostile: what it may cost
is bounded in bytes and in time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final

import attrs
from treq.client import HTTPClient
from treq.cookies import IndexableCookieJar
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IAddress, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import optionsForClientTLS
from twisted.python.failure import Failure
from twisted.web.client import (  # type: ignore[attr-defined]
    URI,
    Agent,
    HTTP11ClientProtocol,
    RequestNotSent,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseNeverReceived,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IAgentEndpointFactory, IResponse
from zope.interface import implementer

from eventsvc.net.public_endpoint import PublicEndpoint

#: The most bytes of an answer, head included; past them the connection is cut.
MOST_BYTES: Final = 65_536
#: The bytes of its body that are kept, for error texts.
KEPT_BYTES: Final = 1_024
#: Seconds a connection is kept while it is not used: less than any NAT forgets it.
KEPT_SECONDS: Final = 30.0
#: Seconds a request has to end after it was given up, before its connection is cut.
_GRACE: Final = 5.0


class KeptConnectionLost(Exception):
    """A connection that had served a request was closed before the answer to another one began."""


class Connection(HTTP11ClientProtocol):
    """
    A connection that ends by itself, whatever the receiver does.

    @ivar idle: called when an answer has ended and another request may follow.
    @ivar lost: called when the connection has ended.
    """

    def __init__(
        self,
        clock: IReactorTime,
        longest: float,
        idle: Callable[[Connection], object],
        lost: Callable[[Connection], object],
    ) -> None:
        super().__init__(self._rest)
        self.clock = clock
        self.longest = longest
        self.idle = idle
        self.lost = lost
        self.used = False
        self._left = 0

    def connectionMade(self) -> None:
        super().connectionMade()
        self._end = self.clock.callLater(self.longest, self.cut)

    def request(self, request: Any) -> Deferred[IResponse]:
        """
        Send a request; fails with L{KeptConnectionLost} if it may be repeated on a new connection.

        It asks for no compressed answer, and what is compressed nevertheless
        stays so: a kilobyte can become a megabyte.
        """
        kept, self.used = self.used, True
        self._left = MOST_BYTES
        self._end.reset(self.longest)
        request.headers.removeHeader(b"Accept-Encoding")
        answered = super().request(request).addCallback(_leave_compressed)
        return answered.addErrback(_say_repeatable) if kept else answered

    def dataReceived(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0 or self.state == "QUIESCENT":
            self.cut()
        else:
            super().dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._end.active():
            self._end.cancel()
        self.lost(self)
        super().connectionLost(reason)

    def cut(self) -> None:
        """End the connection at once, without waiting for its other end."""
        self.transport.abortConnection()  # type: ignore[union-attr]

    def _rest(self, _: object) -> None:
        self._end.reset(KEPT_SECONDS)
        self.idle(self)


def _leave_compressed(response: IResponse) -> IResponse:
    response.headers.removeHeader(b"Content-Encoding")
    return response


def _say_repeatable(failure: Failure) -> Failure:
    """
    Mark a failure that the receiver caused by closing a kept connection.

    It may do so while a request is under way; no answer has begun then.
    """
    error: Any = failure.value
    never = failure.check(RequestNotSent, RequestTransmissionFailed, ResponseNeverReceived)
    reasons = getattr(error, "reasons", [])
    if never and not any(reason.check(CancelledError, ConnectionAborted) for reason in reasons):
        return Failure(KeptConnectionLost())
    return failure


class Body(Protocol):
    """
    Reads a body to its end, and keeps its beginning.

    @ivar done: fires at the end of the body, or where L{Connection} cuts it.
    """

    def __init__(self) -> None:
        self.beginning = b""
        self.done: Deferred[None] = Deferred(lambda _: self.transport.loseConnection())  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        self.beginning += data[: KEPT_BYTES - len(self.beginning)]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        reasons = getattr(reason.value, "reasons", [])
        if reason.check(ResponseDone, PotentialDataLoss) or any(each.check(ConnectionAborted) for each in reasons):
            self.done.callback(None)
        else:
            self.done.errback(reason)


@attrs.define(eq=False)
class Connections:
    """
    Keeps connections to one receiver; takes the place of C{HTTPConnectionPool}.

    @ivar timeout: the longest a request takes until it is given up.
    @ivar idle: those that are not in use; the last was used last.
    """

    clock: IReactorTime
    timeout: float
    persistent: bool = attrs.field(default=True, init=False)
    idle: list[Connection] = attrs.field(factory=list, init=False)

    def getConnection(self, key: Hashable, endpoint: IStreamClientEndpoint) -> Deferred[Any]:
        """Return the connection that was used last, or a new one."""
        if self.idle:
            return succeed(self.idle.pop())
        return endpoint.connect(_Connecting(self))

    def make(self) -> Connection:
        return Connection(self.clock, self.timeout + _GRACE, self.idle.append, self._forget)

    def close(self) -> None:
        """Close the connections that are not in use."""
        while self.idle:
            self.idle.pop().cut()

    def _forget(self, connection: Connection) -> None:
        if connection in self.idle:
            self.idle.remove(connection)


class _Connecting(Factory):
    noisy = False

    def __init__(self, connections: Connections) -> None:
        self.connections = connections

    def buildProtocol(self, addr: IAddress | None) -> Connection:
        return self.connections.make()


@implementer(IAgentEndpointFactory)
@attrs.frozen
class _OneEndpoint:
    """Leads every request to one endpoint: the certificates of authorities are loaded once."""

    endpoint: IStreamClientEndpoint

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        return self.endpoint


def make_http(reactor: Any, connections: Connections, url: str, allow_private: bool) -> HTTPClient:
    """
    Return a client for one URL.

    It keeps no cookies, and verifies certificates with the authorities of the
    system.

    @param allow_private: connect to addresses that are not public.
    """
    uri = URI.fromBytes(url.encode())
    host, timeout = uri.host.decode(), connections.timeout
    endpoint: IStreamClientEndpoint
    if allow_private:
        endpoint = HostnameEndpoint(reactor, host, uri.port, timeout=timeout, attemptDelay=0.02)
    else:
        endpoint = PublicEndpoint(reactor, host, uri.port, timeout)
    if uri.scheme == b"https":
        endpoint = wrapClientTLS(optionsForClientTLS(host), endpoint)
    agent = Agent.usingEndpointFactory(reactor, _OneEndpoint(endpoint), connections)
    return HTTPClient(agent, IndexableCookieJar(DefaultCookiePolicy(allowed_domains=())))
