"""
The express lane: answers plain C{POST /event} in front of the routes, without
an object for the request, a timer or a Deferred.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from eventsvc.interfaces import Result, Waiting
from eventsvc.prompt import prompt_write
from eventsvc.web.answers import Answer
from eventsvc.web.api import parse_event
from eventsvc.web.channel import Channel
from eventsvc.web.heads import END, could_begin
from eventsvc.web.limits import MAX_HEAD_BYTES, TOO_SLOW
from eventsvc.web.owed import Known, response
from eventsvc.web.site import TIME_IS_UP

if TYPE_CHECKING:
    from eventsvc.web.lane_site import LaneSite

#: Bytes that are kept while answers are owed, before the client must wait.
READ_AHEAD: Final = 16_384


@implementer(IHalfCloseableProtocol, IPushProducer)
class Lane(Protocol):
    """
    A connection, for as long as nothing but plain C{POST /event} comes.

    # Note [Handing over]

    Whatever else comes, right or wrong, is a matter for a L{Channel}: the
    connection is its own from then on, with all bytes that were not used, once
    the answers still owed are on their way.  So is any connection that is to
    be refused or closed.  The lane itself has but one kind of request.

    # Note [Requests of one read]

    The requests in one read from the socket are under way together, and their
    answers go out in order.  What comes after them waits until they are
    answered, up to L{READ_AHEAD}; then the socket waits.  So pipelining is
    bounded by what one read gives.  A request with a key waits for those
    before it: one of them may have the same key.

    @ivar channel: whose the connection is by now.
    @ivar deadline: when L{expire} is to be called.
    """

    transport: Any
    channel: Channel | None = None
    deadline = inf
    #: length of the buffer at which it is worth another look
    _wanted = 0
    #: the client does not read its answers
    _paused = False
    #: the socket waits, for answers or for such a client
    _held = False
    _read_lost = False
    _leaving = False
    _last_sent = False
    _log = Logger()

    def __init__(self, site: LaneSite) -> None:
        self.site = site
        self._owed: list[Waiting | Known] = []
        self._buffer = bytearray()

    def connectionMade(self) -> None:
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
        self._write_now = prompt_write(self.transport)
        self.transport.registerProducer(self, True)
        if self.site.admit(self):
            self._rest()
        else:
            self._hand_over()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.channel is not None:
            self.channel.connectionLost(reason)
            return
        for waiting in self._waiting():
            waiting.abandon()
        self._owed.clear()
        self.site.forget(self)

    # What comes in

    def dataReceived(self, data: bytes) -> None:
        if self.channel is not None:
            self.channel.dataReceived(data)
        elif not (self._buffer or self._owed or self._paused):
            self.deadline = self.site.reactor.seconds() + self.site.timeout
            self._read(data)
        else:
            self._buffer += data
            if self._owed or self._paused:
                if len(self._buffer) > READ_AHEAD and not self._held:
                    self._held = True
                    self.transport.pauseProducing()
            elif len(self._buffer) >= self._wanted:
                self._read(self._take_buffer())

    def _take_buffer(self) -> bytes:
        data, self._buffer = bytes(self._buffer), bytearray()
        return data

    def _read(self, data: bytes) -> None:
        """Submit the requests in C{data}, and keep what is none yet."""
        used = self._submit_requests(data)
        if used < len(data):
            self._buffer = bytearray(data[used:])
            if used:
                self.deadline = self.site.reactor.seconds() + self.site.timeout
        self._write_known()
        if not self._owed:
            self._rest()

    def _submit_requests(self, data: bytes) -> int:
        """Submit as many as there are, and say how many bytes they had."""
        heads = self.site.heads
        begin, size = 0, len(data)
        while begin < size:
            body = data.find(END, begin)
            if body < 0:
                self._wanted = size - begin + 1
                self._leaving = size - begin > MAX_HEAD_BYTES or not could_begin(data[begin:])
                break
            body += len(END)
            bytes_of_head = data[begin:body]
            head = heads.known.get(bytes_of_head) or heads.learn(bytes_of_head)
            if head is None:
                self._leaving = True
                break
            end = body + head.length
            if end > size:
                self._wanted = end - begin
                break
            if head.keys and self._owed:
                self._write_known()
                if self._owed or self._last_sent:
                    break
            self._submit(data[body:end], head.keys)
            begin = end
        return begin

    def _submit(self, body: bytes, keys: Sequence[bytes]) -> None:
        try:
            self._owed.append(self.site.appender.submit(*parse_event(body, keys), self.tell))
        except Exception as error:
            self._owed.append(Known(error))

    def readConnectionLost(self) -> None:
        """The client sends no more, but may wait for answers."""
        self._read_lost = True
        if self.channel is not None:
            self.channel.readConnectionLost()
        elif not self._owed:
            self._rest()

    def writeConnectionLost(self) -> None:
        """All that was written is on its way."""

    # What goes out

    def tell(self, waiting: Waiting, result: Result | Answer) -> None:
        """
        Answer a request; once all are answered, read on.

        The caller is the appender, which is not to suffer from what fails here.
        """
        owed = self._owed
        try:
            if owed[0] is waiting:
                del owed[0]
                self._write(result)
                if owed:
                    self._write_known()
                if not owed:
                    self._read_on()
            else:
                owed[owed.index(waiting)] = Known(result)
        except Exception:
            self._log.failure("a connection failed in an unexpected way")
            self.transport.abortConnection()

    def _waiting(self) -> Sequence[Waiting]:
        """Those requests whose answers are not known."""
        return [each for each in self._owed if not isinstance(each, Known)]

    def _write_known(self) -> None:
        owed = self._owed
        while owed and isinstance(first := owed[0], Known):
            del owed[0]
            self._write(first.result)

    def _write(self, result: Result | Answer) -> None:
        """Write an answer; those that are owed come after it."""
        more = bool(self._owed)
        self._last_sent = self.site.draining and not more
        data = response(result, self.site.date, self._last_sent)
        if more:
            self.transport.write(data)
        else:
            self._write_now(data)

    def _read_on(self) -> None:
        """Nothing is owed any more: see to what came meanwhile."""
        if self._held and not self._paused:
            self._held = False
            self.transport.resumeProducing()
        if self._buffer and not (self._paused or self._last_sent):
            self.deadline = self.site.reactor.seconds() + self.site.timeout
            self._read(self._take_buffer())
        else:
            self._rest()

    def _rest(self) -> None:
        """Nothing is owed, and nothing can be read."""
        site = self.site
        if self._last_sent:
            self._hand_over().loseConnection()
        elif self._paused:
            return  # for as long as the last request may take
        elif self._leaving or self._read_lost or (site.closing and not self._buffer):
            self._hand_over(self._take_buffer())
        elif not self._buffer:
            self.deadline = site.reactor.seconds() + site.idle

    def pauseProducing(self) -> None:
        """The client does not read its answers: make no more of them."""
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        if not self._owed:
            self._read_on()

    def stopProducing(self) -> None:
        """The connection is lost."""

    # Time, and the end

    def look(self) -> None:
        """Close a connection on which nothing more will happen."""
        if not (self._owed or self._buffer or self._paused):
            self._rest()

    def expire(self) -> None:
        """See to what takes too long."""
        if self._owed:
            for waiting in self._waiting():
                waiting.abandon()
                self.tell(waiting, TIME_IS_UP)
        elif self._paused:
            self._hand_over().refuse(TOO_SLOW)
        elif self._buffer:
            self._hand_over(self._take_buffer())  # whose time is over there, too
        else:
            self._hand_over().loseConnection()

    def _hand_over(self, data: bytes = b"") -> Channel:
        """Give the connection away: see Note [Handing over]."""
        left = max(0.0, self.deadline - self.site.reactor.seconds())
        self.transport.unregisterProducer()
        self.site.connections.discard(self)
        self.channel = channel = self.site.build_channel()
        channel.take_over(self.transport, data, self.site.timeout - left)
        if self._read_lost:
            channel.readConnectionLost()
        return channel
