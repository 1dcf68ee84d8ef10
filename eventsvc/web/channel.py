"""
One HTTP/1.1 connection, with the limits that twisted.web lacks.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request, datetimeToString
from twisted.web.http_headers import Headers
from zope.interface import implementer

from eventsvc.web.answers import Answer, to_bytes
from eventsvc.web.arrivals import READ, READ_LARGE, Reservation
from eventsvc.web.limits import (
    HEAD_TOO_LARGE,
    LINGER,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    PERHAPS_REPEATED,
    PROBES,
    TOO_SLOW,
    bad_request,
    check_begun,
    check_head,
    check_length,
    no_room,
    origin_form,
)


@implementer(IHalfCloseableProtocol)
class Channel(HTTPChannel):
    """
    A connection: one request at a time, each with a deadline.

    # Note [Last answer]

    A client that is refused may still be sending.  Were the connection closed
    with bytes unread, TCP would reset it, and the reset can overtake the
    answer.  So the last answer ends our side alone; what still comes is thrown
    away until the client closes too, or L{LINGER} is over.

    @ivar leaving: nothing more is read here.
    @ivar refusal: if it is a connection too many, the answer to all but a
        probe: see Note [Spare places] of L{eventsvc.web.admission}.
    @ivar idle_since: since when there has been no request.
    """

    totalHeadersSize = MAX_LENGTH = MAX_HEAD_BYTES
    _optimisticEagerReadSize = READ
    maxHeaders = MAX_HEADERS

    transport: Any
    requests: list[Any]
    site: Any
    _networkProducer: Any
    leaving = False
    refusal: Answer | None = None
    idle_since: float | None = None
    _fresh = True
    _spent = 0.0
    deadline = inf
    _read_lost = False
    #: for a request that is too large to come unasked
    _reservation: Reservation | None = None
    #: what the timer runs for: a request, or the pause before one
    _timed: bool | None = None
    _timer: IDelayedCall | None = None

    def connectionMade(self) -> None:
        super().connectionMade()
        self.refusal = self.site.admit(self)
        if self.refusal is not None:
            self.site.admission.hold(self)
            self._start_timer(LINGER, self.expire)
        self.close_if_idle()

    def take_over(self, transport: Any, data: bytes, spent: float) -> None:
        """
        Go on with a connection that was in other hands.

        @param data: bytes of a request that has begun, if one has.
        @param spent: seconds that it has used of its time.
        """
        self._buffer, self._spent = data, spent if data else 0.0
        self.makeConnection(transport)
        self.dataReceived(b"")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.leaving = True
        self.release()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        super().connectionLost(reason)
        self.site.forget(self)

    # What comes in

    def dataReceived(self, data: bytes) -> None:
        if not self.leaving:
            self._fresh = False
            super().dataReceived(data)
            if self.line_mode and self._buffer and not (self.paused or self._busyReceiving):
                self._check(check_begun(self._buffer, first=not self.requests))
            self.close_if_idle()

    def _check(self, answer: Answer | None) -> bool:
        """Refuse the request if there is an answer to it already."""
        if answer is not None:
            self.refuse(answer)
        return answer is None

    def lineReceived(self, line: bytes) -> None:
        if line.startswith((b" ", b"\t")):
            self.refuse(bad_request("A line of the head begins with white space"))
        elif self._check(check_begun(line, first=False)):
            super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        self.refuse(HEAD_TOO_LARGE)

    def headerReceived(self, line: bytes) -> bool:
        name, _, value = line.partition(b":")
        answer = check_length(value.strip(b" \t")) if name.lower() == b"content-length" else None
        return self._check(answer) and bool(super().headerReceived(line))

    def allHeadersReceived(self) -> None:
        headers = self.requests[-1].requestHeaders
        names = (b"Host", b"Content-Length", b"Transfer-Encoding")
        answer = check_head(self._version, *[headers.getRawHeaders(name, []) for name in names])
        if self._check(answer or self._refuse_all_but_probes(headers)):
            super().allHeadersReceived()

    def _refuse_all_but_probes(self, headers: Headers) -> Answer | None:
        """If this is a connection too many, say so to all but a probe."""
        if self.refusal is None:
            return None
        if self._command in (b"GET", b"HEAD") and origin_form(self._path).partition(b"?")[0] in PROBES:
            return None
        return PERHAPS_REPEATED[self.refusal] if headers.hasHeader(b"Idempotency-Key") else self.refusal

    def allContentReceived(self) -> None:
        if not self.leaving:
            super().allContentReceived()

    def readConnectionLost(self) -> None:
        """The client sends no more, but may wait for answers."""
        self._read_lost = True
        if self.leaving:
            self.transport.loseConnection()
        self.close_if_idle()

    def writeConnectionLost(self) -> None:
        """All that was written is on its way."""

    # What goes out

    def checkPersistence(self, request: Request, version: bytes) -> bool:
        options = b",".join(request.requestHeaders.getRawHeaders(b"Connection", ())).lower().split(b",")
        lasts = version == b"HTTP/1.1" and b"close" not in [option.strip() for option in options]
        return lasts and self.refusal is None

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        headers.removeHeader(b"Server")
        if self.site.draining:
            self.persistent = False
        if not self.persistent:
            headers.setRawHeaders(b"Connection", [b"close"])
        super().writeHeaders(version, code, reason, headers)

    def refuse(self, answer: Answer) -> None:
        """Answer whatever the client still sends, and close: see Note [Last answer]."""
        if self.leaving:
            return
        self.leaving = True
        self.release()
        self.idle_since = self.site.reactor.seconds()
        self.persistent = False
        self.clearLineBuffer()
        self.transport.write(to_bytes(answer, datetimeToString(), last=True))
        self._networkProducer.unregisterProducer()
        if self._read_lost or self.isSecure():  # with TLS this ends our side alone
            self.transport.loseConnection()
        else:
            self.transport.loseWriteConnection()
        self._start_timer(LINGER, self.transport.abortConnection)

    def _respondToBadRequestAndDisconnect(self) -> None:
        """twisted.web found fault with the request."""
        if self._receivedHeaderSize > MAX_HEAD_BYTES or self._receivedHeaderCount > MAX_HEADERS:
            self.refuse(HEAD_TOO_LARGE)
        else:
            self.refuse(bad_request("The bytes are not an HTTP/1.1 request"))

    def loseConnection(self) -> None:
        """Close once all is written; a client that does not read is cut off."""
        if not self.leaving:
            self.leaving = True
            self.idle_since = self.site.reactor.seconds()
            super().loseConnection()
            self._start_timer(LINGER, self.transport.abortConnection)

    def requestDone(self, request: Request) -> None:
        self.release()
        self._timed = None  # whatever comes next has its own time
        super().requestDone(request)
        self.close_if_idle()

    def pauseProducing(self) -> None:
        """
        The client does not read its answers: make no more of them.

        twisted.web would go on with what was already read, and would go on
        reading, as it writes only while it handles a request.
        """
        super().pauseProducing()
        self.paused = True
        self._networkProducer.pauseProducing()

    def resumeProducing(self) -> None:
        self.paused = False
        super().resumeProducing()
        self._wait_for_grant()
        self.dataReceived(b"")

    # Large requests

    def reserve(self, size: int) -> None:
        """Have so many bytes of a body come, now or when there is room for them."""
        if self._reservation is None and not self.leaving:
            self._reservation = self.site.arrivals.reserve(size, self._on_grant)
            if self._reservation.granted:
                self.transport.read_size = READ_LARGE
            self._wait_for_grant()

    def release(self) -> None:
        """The body is elsewhere, or nowhere."""
        if self._reservation is not None:
            reservation, self._reservation = self._reservation, None
            self.transport.read_size = READ
            if not (reservation.granted or self.paused):
                self._networkProducer.resumeProducing()
            reservation.release()

    def _wait_for_grant(self) -> None:
        if self._reservation is not None and not self._reservation.granted:
            self._networkProducer.pauseProducing()

    def _on_grant(self) -> None:
        self.transport.read_size = READ_LARGE
        if not self.paused:
            self._networkProducer.resumeProducing()

    # Time

    def close_if_idle(self) -> None:
        """
        Close a connection on which nothing more will happen; on any other a
        request, or the pause before one, has a time to end.
        """
        if self.leaving or self._busyReceiving:
            return
        started = bool(self.requests or self._buffer or self.paused)
        answering = self._handlingRequest or self.paused
        if (self._read_lost and not answering) or (self.site.closing and not started):
            self.loseConnection()
        elif started is not self._timed and self.refusal is None:
            self._timed = started
            self.idle_since = None if started else self.site.reactor.seconds()
            if started:
                self._start_timer(self.site.timeout - self._spent, self.expire)
                self._spent = 0.0
            else:
                self._start_timer(self.site.first_byte if self._fresh else self.site.idle, self.loseConnection)

    def expire(self) -> None:
        """The time of a request is over."""
        if self._handlingRequest:
            self.requests[0].expire()
        elif self._reservation is not None and not self._reservation.granted:
            self.refuse(no_room(self.requests[-1].requestHeaders.hasHeader(b"Idempotency-Key")))
        else:
            self.refuse(PERHAPS_REPEATED[self.refusal] if self.refusal else TOO_SLOW)

    def _start_timer(self, seconds: float, call: Callable[[], object]) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self.site.reactor.callLater(seconds, call)
