"""
One HTTP/1.1 connection: the fast path between requests, twisted.web for everything else.
"""

from __future__ import annotations

from math import inf
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import Request, datetimeToString
from zope.interface import implementer

from eventsvc.web.answers import Answer, to_bytes
from eventsvc.web.arrivals import READ_AHEAD
from eventsvc.web.fast_path import FastPath
from eventsvc.web.inflow import Inflow
from eventsvc.web.limits import LINGER, PERHAPS_REPEATED, TOO_SLOW, no_room
from eventsvc.web.phase import ANSWERING, BLANK, ENDING, IDLE, NEW, PARSING, READING
from eventsvc.web.strict_parser import StrictParser


@implementer(IHalfCloseableProtocol)
class Channel(StrictParser):
    """
    An HTTP connection.

    # Note [Between requests]

    Between requests, the fast path looks first at the bytes that arrive.  What it
    does not take, valid or not, goes to twisted.web, one request at a time.
    The bytes after that request are kept here until it is answered::

        POST /event, POST /event   GET /metrics    POST /event
        fast path, both at once    twisted.web     fast path

    # Note [Last answer]

    A refused client may still be sending.  If the connection were closed with
    bytes unread, TCP would reset it, and the reset can overtake the answer.  So
    the last answer closes only our side.  Further bytes are discarded until the
    client closes too, or L{LINGER} seconds have passed.

    @ivar deadline: when the site calls L{expire}.
    @ivar inflow: decides when the socket is read.
    @ivar _ahead: bytes that neither the fast path nor twisted.web has taken.
    """

    #: only L{inflow} pauses and resumes the transport, not twisted.web
    _waitingForTransport = True

    transport: Any
    _networkProducer: Any
    inflow: Inflow
    phase = NEW
    deadline: float
    _fast: FastPath | None = None
    _cut_off: IDelayedCall | None = None  #: set once the last answer is written

    def __init__(self) -> None:
        super().__init__()
        self.paused = self._read_lost = False
        self._ahead = bytearray()

    def connectionMade(self) -> None:
        super().connectionMade()
        site = self.site
        self.inflow = Inflow(self.transport, self._networkProducer)
        self._fast = site.fast_path(self) if site.fast_path is not None else None
        self.refusal = site.admit(self)
        if self.refusal is not None:
            site.admission.hold(self)
            self.phase = PARSING
        self.deadline = site.reactor.seconds() + (LINGER if self.refusal else site.first_byte)
        self.close_if_idle()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.phase = ENDING
        if self._fast is not None:
            self._fast.abandon()
            self._fast = None  # breaks a reference cycle: it refers to this channel
        if self._cut_off and self._cut_off.active():
            self._cut_off.cancel()
        self.inflow.release()
        super().connectionLost(reason)
        self.site.forget(self)

    # Receiving

    def dataReceived(self, data: bytes) -> None:
        phase = self.phase
        if phase is IDLE or phase is NEW:
            self.phase = ANSWERING
            self.deadline = self.site.reactor.seconds() + self.site.timeout
            if self._try_fast_path(data):
                self._parse_kept()
        elif (phase is PARSING or phase is BLANK) and not self.paused:
            if phase is BLANK:
                self._begin()
            self._parse(data)
            self.read_on()
        elif phase is not ENDING:
            self._ahead += data
            if phase is READING and self._fast is not None and len(self._ahead) >= (self._fast.wanted or 0):
                self.read_again()
            elif phase is not READING and len(self._ahead) > READ_AHEAD:
                self._flow()

    def _begin(self) -> None:
        """Start a request and its deadline."""
        self.phase = ANSWERING
        self.deadline = self.site.reactor.seconds() + self.site.timeout

    def _try_fast_path(self, data: bytes) -> bool:
        """Let the fast path take what it can, keep the rest, and return whether twisted.web must parse that."""
        fast = self._fast
        if fast is None:
            self._ahead = bytearray(data)
            return True
        used = fast.submit(data)
        if used < len(data):
            self._ahead = bytearray(data[used:])
            if used:
                self.deadline = self.site.reactor.seconds() + self.site.timeout
        if not (fast.responses or fast.turn):
            if self._ahead and (fast.wanted is None or self._read_lost) and not self.paused:
                return self.phase is ANSWERING
            self._rest()
        if self._ahead or self.inflow.is_held:
            self._flow()
        return False

    def _parse_kept(self) -> None:
        """Let twisted.web parse one request; each one after it gets a later turn, so that other connections do too."""
        self._parse(self._take_ahead())
        if self._may_read():
            self.site.reactor.callLater(0, self._read_on_if_free)
        else:
            self.read_on()

    def _take_ahead(self) -> bytes:
        data, self._ahead = bytes(self._ahead), bytearray()
        return data

    def read_again(self) -> None:
        """Parse the kept bytes again, although the fast path has seen them."""
        self.phase = ANSWERING
        if self._try_fast_path(self._take_ahead()):
            self._parse_kept()

    def read_on(self) -> None:
        """Parse the kept bytes if there are any; call it when the fast path has no request in progress."""
        if self._ahead and self._may_read():
            self._begin()
            self.read_again()
        else:
            self._rest()
            if self.inflow.is_held:
                self._flow()

    def _read_on_if_free(self) -> None:
        if self.phase is not ENDING and (self._fast is None or not self._fast.is_busy):
            self.read_on()

    def _may_read(self) -> bool:
        """Return whether there are kept bytes that may be parsed now."""
        return bool(self._ahead) and self.phase is ANSWERING and not (self._handlingRequest or self.paused)

    def _rest(self) -> None:
        """Wait for the next request, or close, unless one is in progress."""
        phase, site = self.phase, self.site
        if self.paused or self._handlingRequest or phase is ENDING:
            return
        if self._read_lost:
            self.loseConnection()
        elif phase is PARSING and (self.requests or self._buffer or self.refusal):
            return
        elif self._ahead:
            self.phase = READING
        elif site.closing:
            self.loseConnection()
        else:
            self.phase = BLANK if phase is PARSING else IDLE
            self.deadline = site.reactor.seconds() + site.idle

    def readConnectionLost(self) -> None:
        """Finish the requests of a client that has closed its sending side; it may still wait for answers."""
        self._read_lost = True
        if self.phase is READING:
            self._parse(self._take_ahead())  # which may refuse it
        if self.phase is ENDING:
            self.transport.loseConnection()
        elif self.phase is not ANSWERING:
            self._rest()

    def writeConnectionLost(self) -> None:
        """Do nothing: our sending side is closed once all answers are sent."""

    def _parse(self, data: bytes) -> None:
        """Pass bytes to twisted.web."""
        self.phase = PARSING
        super().dataReceived(data)

    def allContentReceived(self) -> None:
        """Process the request, and take back the bytes after it from twisted.web."""
        if self.phase is not ENDING:
            self.phase = ANSWERING
            self._ahead[:0] = b"".join(self._dataBuffer) + self.clearLineBuffer()
            self._dataBuffer = []
            self._flow()
            super().allContentReceived()

    def requestDone(self, request: Request) -> None:
        self.inflow.release()
        super().requestDone(request)
        if not self._busyReceiving:
            self.read_on()

    # Sending

    def pauseProducing(self) -> None:
        """Stop producing answers and reading requests, because the client does not read its answers."""
        self.paused = True
        if self.phase not in (PARSING, ANSWERING, ENDING):
            self._begin()
        self._flow()

    def resumeProducing(self) -> None:
        self.paused = False
        self._flow()
        if self.phase is PARSING:
            self._parse(self._take_ahead())
        self._read_on_if_free()

    def _flow(self) -> None:
        """Tell L{inflow} whether more bytes are wanted."""
        self.inflow.want(not (self.paused or (self.phase is ANSWERING and len(self._ahead) > READ_AHEAD)))

    def refuse(self, answer: Answer) -> None:
        """Write the last answer and close; see the Note [Last answer]."""
        if self.phase is not ENDING:
            self._end()
            self.transport.write(to_bytes(answer, datetimeToString(), last=True))
            self._networkProducer.unregisterProducer()
            if self._read_lost:
                self.transport.loseConnection()
            else:
                self.transport.loseWriteConnection()

    def loseConnection(self) -> None:
        """Close once everything is written; abort if the client does not read it."""
        if self.phase is not ENDING:
            self._end()
            super().loseConnection()

    def _end(self) -> None:
        """Accept no further requests."""
        self.phase, self.deadline = ENDING, inf
        self._cut_off = self.site.reactor.callLater(LINGER, self.transport.abortConnection)
        self.clearLineBuffer()
        self._ahead.clear()
        self.inflow.release()
        self._flow()

    # Deadlines

    @property
    def idle_since(self) -> float | None:
        """The time when the connection became idle; C{None} if it is not idle."""
        phase, site = self.phase, self.site
        if phase is IDLE or phase is BLANK:
            return float(self.deadline - site.idle)
        if phase is NEW:
            return float(self.deadline - site.first_byte)
        return None if self._cut_off is None else self._cut_off.getTime() - LINGER

    def close_if_idle(self) -> None:
        """Close the connection if the site is closing and no request is in progress."""
        if self.site.closing and self.idle_since is not None:
            self.loseConnection()

    def expire(self) -> None:
        """End whatever has passed its deadline: a request, an idle wait or a close."""
        phase = self.phase
        if phase is ANSWERING and self._handlingRequest:
            self.requests[0].expire()
        elif phase is ANSWERING and self._fast is not None and self._fast.is_busy:
            self._fast.expire()
        elif phase is ANSWERING:
            self.refuse(TOO_SLOW)  # the client does not read its answers
        elif self.inflow.waits_for_room:
            self.refuse(no_room(self.inflow.has_key))
        elif phase is READING or phase is PARSING:
            self._parse(self._take_ahead())  # which may refuse it
            self.refuse(PERHAPS_REPEATED[self.refusal] if self.refusal else TOO_SLOW)
        else:
            self.loseConnection()
