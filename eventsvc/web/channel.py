"""
One HTTP/1.1 connection: the fast path between requests, twisted.web for all else.
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
    A connection.

    # Note [Between requests]

    Whenever no request is under way, the fast path looks at what comes.  What
    it does not take, right or wrong, is for twisted.web, which is given one
    request at a time; the bytes behind it are kept here until it is answered::

        POST /event, POST /event   GET /metrics    POST /event
        fast path, both at once    twisted.web     fast path

    # Note [Last answer]

    A client that is refused may still be sending.  Were the connection closed
    with bytes unread, TCP would reset it, and the reset can overtake the
    answer.  So the last answer ends our side alone; what still comes is thrown
    away until the client closes too, or L{LINGER} is over.

    @ivar deadline: when the site is to call L{expire}.
    @ivar inflow: when the socket is read.
    @ivar _ahead: bytes that neither the fast path nor twisted.web has taken.
    """

    #: L{inflow} alone pauses and resumes the transport, not twisted.web
    _waitingForTransport = True

    transport: Any
    _networkProducer: Any
    inflow: Inflow
    phase = NEW
    deadline: float
    _fast: FastPath | None = None
    _cut_off: IDelayedCall | None = None  #: once the last answer is written

    def __init__(self) -> None:
        super().__init__()
        self.paused = self._read_lost = False
        self._ahead = bytearray()

    def connectionMade(self) -> None:
        super().connectionMade()
        site = self.site
        self.inflow = Inflow(site.arrivals, self.transport, self._networkProducer)
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
            self._fast = None  # it has this channel: no cycle is left
        if self._cut_off and self._cut_off.active():
            self._cut_off.cancel()
        self.inflow.release()
        super().connectionLost(reason)
        self.site.forget(self)

    # What comes in

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
        """A request begins, and its time."""
        self.phase = ANSWERING
        self.deadline = self.site.reactor.seconds() + self.site.timeout

    def _try_fast_path(self, data: bytes) -> bool:
        """Have the fast path take what it can, keep the rest, and say whether that is for twisted.web."""
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
        """Have twisted.web take the next request, and so on until one waits or is for the fast path."""
        while True:
            self._parse(self._take_ahead())
            if not self._may_read():
                break
            self._begin()
            if not self._try_fast_path(self._take_ahead()):
                return
        self.read_on()

    def _take_ahead(self) -> bytes:
        data, self._ahead = bytes(self._ahead), bytearray()
        return data

    def read_again(self) -> None:
        """Read what is kept, although it was looked at before."""
        self.phase = ANSWERING
        if self._try_fast_path(self._take_ahead()):
            self._parse_kept()

    def read_on(self) -> None:
        """Read what is kept: no request of the fast path is under way."""
        if self._ahead and self._may_read():
            self._begin()
            self.read_again()
        else:
            self._rest()
            if self.inflow.is_held:
                self._flow()

    def _may_read(self) -> bool:
        """Whether bytes are kept, and need not be kept any longer."""
        return bool(self._ahead) and self.phase is ANSWERING and not (self._handlingRequest or self.paused)

    def _rest(self) -> None:
        """No request is under way: wait for what the client sends next, or close."""
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
        """The client sends no more, but may wait for answers."""
        self._read_lost = True
        if self.phase is READING:
            self._parse(self._take_ahead())  # which may find fault with it
        if self.phase is ENDING:
            self.transport.loseConnection()
        elif self.phase is not ANSWERING:
            self._rest()

    def writeConnectionLost(self) -> None:
        """All that was written is on its way."""

    def _parse(self, data: bytes) -> None:
        """Give bytes to twisted.web."""
        self.phase = PARSING
        super().dataReceived(data)

    def allContentReceived(self) -> None:
        """Have the request handled, and take the bytes behind it from twisted.web."""
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

    # What goes out

    def pauseProducing(self) -> None:
        """The client does not read its answers: make no more of them, and read no more."""
        self.paused = True
        if self.phase not in (PARSING, ANSWERING, ENDING):
            self._begin()
        self._flow()

    def resumeProducing(self) -> None:
        self.paused = False
        self._flow()
        if self.phase is PARSING:
            self._parse(self._take_ahead())
        if self._fast is None or not self._fast.is_busy:
            self.read_on()

    def _flow(self) -> None:
        """Say whether the socket is to be read."""
        self.inflow.want(not (self.paused or (self.phase is ANSWERING and len(self._ahead) > READ_AHEAD)))

    def refuse(self, answer: Answer) -> None:
        """Answer whatever the client still sends, and close: see Note [Last answer]."""
        if self.phase is not ENDING:
            self._end()
            self.transport.write(to_bytes(answer, datetimeToString(), last=True))
            self._networkProducer.unregisterProducer()
            if self._read_lost or self.isSecure():  # with TLS this ends our side alone
                self.transport.loseConnection()
            else:
                self.transport.loseWriteConnection()

    def loseConnection(self) -> None:
        """Close once all is written; a client that does not read is cut off."""
        if self.phase is not ENDING:
            self._end()
            super().loseConnection()

    def _end(self) -> None:
        """Take nothing more in."""
        self.phase, self.deadline = ENDING, inf
        self._cut_off = self.site.reactor.callLater(LINGER, self.transport.abortConnection)
        self.clearLineBuffer()
        self._ahead.clear()
        self.inflow.release()
        self._flow()

    # Time

    @property
    def idle_since(self) -> float | None:
        """Since when there has been no request; C{None} if there is one."""
        phase, site = self.phase, self.site
        if phase is IDLE or phase is BLANK:
            return float(self.deadline - site.idle)
        if phase is NEW:
            return float(self.deadline - site.first_byte)
        return None if self._cut_off is None else self._cut_off.getTime() - LINGER

    def close_if_idle(self) -> None:
        """Close it if the site is to end and there is no request."""
        if self.site.closing and self.idle_since is not None:
            self.loseConnection()

    def expire(self) -> None:
        """See to what takes too long."""
        phase = self.phase
        if phase is ANSWERING and self._handlingRequest:
            self.requests[0].expire()
        elif phase is ANSWERING and self._fast is not None and self._fast.is_busy:
            self._fast.expire()
        elif phase is ANSWERING:
            self.refuse(TOO_SLOW)  # to take its answers
        elif self.inflow.waits_for_room:
            self.refuse(no_room(self.inflow.has_key))
        elif phase is READING or phase is PARSING:
            self._parse(self._take_ahead())  # which may find fault with it
            self.refuse(PERHAPS_REPEATED[self.refusal] if self.refusal else TOO_SLOW)
        else:
            self.loseConnection()
