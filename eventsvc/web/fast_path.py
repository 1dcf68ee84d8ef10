"""
The fast path: answers plain C{POST /event} in front of the routes, without
an object for the request, a timer or a Deferred.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any, Final

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from eventsvc.interfaces import QueueFull, Result, Waiting
from eventsvc.net.immediate_write import immediate_write
from eventsvc.web.answers import Answer
from eventsvc.web.api import parse_event
from eventsvc.web.arrivals import READ, READ_LARGE, Reservation
from eventsvc.web.channel import Channel
from eventsvc.web.limits import MAX_HEAD_BYTES, TOO_SLOW, no_room
from eventsvc.web.request_heads import END, could_begin
from eventsvc.web.responses import Completed, response
from eventsvc.web.site import TIME_IS_UP
from eventsvc.web.turns import SMALL, Turn

#: Bytes that are kept while requests wait for their answers; past them the socket waits.
READ_AHEAD: Final = READ


@implementer(IHalfCloseableProtocol, IPushProducer)
class FastPath(Protocol):
    """
    A connection, for as long as nothing but plain C{POST /event} comes.

    # Note [Handing over]

    Whatever else comes, right or wrong, is a matter for a L{Channel}: the
    connection is its own from then on, with all bytes that were not used, once
    the answers to those before it are on their way.  So is any connection that is to
    be refused or closed.  The fast path itself has but one kind of request.

    # Note [Requests of one read]

    The requests in one read from the socket are under way together, and their
    answers go out in order.  What comes after them waits until they are
    answered, up to L{READ_AHEAD}; then the socket waits.  So pipelining is
    bounded by what one read gives.  A request with a key waits for those
    before it: one of them may have the same key.

    # Note [Turn of a connection]

    A request for which the queue has no room stays in the buffer, and those
    after it too.  When its turn comes, all that were in the buffer then are
    submitted, as many as there is room for.

    @ivar channel: whose the connection is by now.
    @ivar deadline: when L{expire} is to be called.
    """

    transport: Any
    channel: Channel | None = None
    deadline = inf
    #: the deadline for the first byte
    _fresh_until = inf
    #: length of the buffer at which it is worth another look
    _wanted = 0
    #: the client does not read its answers
    _paused = False
    #: the socket waits, for answers or for such a client
    _held = False
    #: for a request that is too large to come unasked
    _reservation: Reservation | None = None
    _has_key = False
    #: the first request in the buffer waits for room in the queue, or is called
    _turn: Turn | None = None
    _called: Turn | None = None
    _is_over = False
    _read_lost = False
    _leaving = False
    _last_sent = False
    _log = Logger()

    def __init__(self, site: Any) -> None:
        self.site = site
        self._responses: list[Waiting | Completed] = []
        self._buffer = bytearray()

    def connectionMade(self) -> None:
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
        self._write_now = immediate_write(self.transport)
        self.transport.registerProducer(self, True)
        if self.site.admit(self) is None:
            self._rest()
            self.deadline = self._fresh_until = self.site.reactor.seconds() + self.site.first_byte
        else:
            self._hand_over()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.channel is not None:
            self.channel.connectionLost(reason)
            return
        for waiting in self._waiting():
            waiting.abandon()
        self._responses.clear()
        self._give_up_places()
        self.site.forget(self)

    # What comes in

    def dataReceived(self, data: bytes) -> None:
        if self.channel is not None:
            self.channel.dataReceived(data)
        elif not (self._buffer or self._responses or self._paused):
            self.deadline = self.site.reactor.seconds() + self.site.timeout
            self._read(data)
        else:
            self._buffer += data
            if self._responses or self._paused or self._turn is not None:
                if len(self._buffer) > READ_AHEAD:
                    self._hold()
            elif len(self._buffer) >= self._wanted:
                self._read(self._take_buffer())

    def _hold(self) -> None:
        if not self._held:
            self._held = True
            self.transport.pauseProducing()

    def _take_buffer(self) -> bytes:
        data, self._buffer = bytes(self._buffer), bytearray()
        return data

    def _read(self, data: bytes) -> None:
        """Submit the requests in C{data}, and keep what is none yet."""
        reservation = self._reservation
        used = self._submit_requests(data)
        if reservation is not None and used:
            self._release(reservation)
        if used < len(data):
            self._buffer = bytearray(data[used:])
            if used:
                self.deadline = self.site.reactor.seconds() + self.site.timeout
        self._write_completed()
        if not self._responses:
            self._rest()

    def _submit_requests(self, data: bytes) -> int:
        """Submit as many as there are, and say how many bytes they had."""
        heads, turns = self.site.heads, self.site.turns
        begin, size = 0, len(data)
        while begin < size:
            body = data.find(END, begin)
            if body < 0:
                self._wanted = size - begin + 1
                self._leaving = size - begin > MAX_HEAD_BYTES or not could_begin(data[begin:])
                break
            body += len(END)
            bytes_of_head = data[begin:body]
            head = heads.cache.get(bytes_of_head) or heads.learn(bytes_of_head)
            if head is None:
                self._leaving = True
                break
            end = body + head.length
            if end > size:
                self._wanted = end - begin
                if self._wanted > SMALL:
                    self._reserve(head.length, bool(head.keys))
                break
            if head.keys and self._responses:
                self._write_completed()
                if self._responses or self._last_sent:
                    break
            if turns.is_open and self._called is None:
                try:
                    self._responses.append(
                        self.site.appender.submit(*parse_event(data[body:end], head.keys), self.tell)
                    )
                except QueueFull as full:
                    self._turn = turns.join(size - begin, self._on_turn, full)
                    break
                except Exception as error:
                    self._responses.append(Completed(error))
            elif not self._submit_in_turn(data[body:end], head.keys, begin, size):
                break
            begin = end
        return begin

    def _submit_in_turn(self, body: bytes, keys: Sequence[bytes], begin: int, end: int) -> bool:
        """
        Submit a request while others wait; say if that ended its wait.

        @param begin: where it begins in the buffer; C{end}: where that ends.
        """
        turn = self._called
        if turn is None or begin >= turn.size:
            self._turn = self.site.turns.join(end - begin, self._on_turn)
            return False
        appender = self.site.appender
        try:
            events, key = parse_event(body, keys)
            if self._is_over:
                self._responses.append(Completed(appender.give_up(events, key)))
            else:
                self._responses.append(appender.submit(events, key, self.tell, turn.since))
        except QueueFull as full:
            turn.size -= begin
            self._turn = turn
            self.site.turns.again(turn, full)
            return False
        except Exception as error:
            self._responses.append(Completed(error))
        return True

    def _on_turn(self, is_over: bool) -> None:
        """Submit what waits in the buffer, or answer it if its time is over."""
        turn, self._turn = self._turn, None
        self._called, self._is_over = turn, is_over
        try:
            self._read(self._take_buffer())
        finally:
            self._called, self._is_over = None, False
        if self.channel is None and not self._responses and self._turn is None:
            self._read_on()

    def _reserve(self, size: int, has_key: bool) -> None:
        """Have a large request come, now or when there is room for it."""
        if self._reservation is None:
            self._has_key = has_key
            self._reservation = self.site.arrivals.reserve(size, self._on_grant)
            if self._reservation.granted:
                self.transport.read_size = READ_LARGE
            else:
                self._hold()

    def _on_grant(self) -> None:
        self.transport.read_size = READ_LARGE
        if not (self._responses or self._paused):
            self._let_go()

    def _release(self, reservation: Reservation) -> None:
        self._reservation = None
        self.transport.read_size = READ
        reservation.release()

    def _give_up_places(self) -> None:
        """Wait for no turn and for no bytes."""
        if self._turn is not None:
            turn, self._turn = self._turn, None
            turn.leave()
        if self._reservation is not None:
            self._release(self._reservation)

    def readConnectionLost(self) -> None:
        """The client sends no more, but may wait for answers."""
        self._read_lost = True
        if self.channel is not None:
            self.channel.readConnectionLost()
        elif not self._responses:
            self._rest()

    def writeConnectionLost(self) -> None:
        """All that was written is on its way."""

    # What goes out

    def tell(self, waiting: Waiting, result: Result | Answer) -> None:
        """
        Answer a request; once all are answered, read on.

        The caller is the appender, which is not to suffer from what fails here.
        """
        responses = self._responses
        try:
            if responses[0] is waiting:
                del responses[0]
                self._write(result)
                if responses:
                    self._write_completed()
                if not responses:
                    self._read_on()
            else:
                responses[responses.index(waiting)] = Completed(result)
        except Exception:
            self._log.failure("a connection failed in an unexpected way")
            self.transport.abortConnection()

    def _waiting(self) -> Sequence[Waiting]:
        """Those requests whose answers are not known."""
        return [each for each in self._responses if not isinstance(each, Completed)]

    def _write_completed(self) -> None:
        responses = self._responses
        while responses and isinstance(first := responses[0], Completed):
            del responses[0]
            self._write(first.result)

    def _write(self, result: Result | Answer) -> None:
        """Write an answer; others come after it."""
        more = bool(self._responses)
        self._last_sent = self.site.draining and not more and self._turn is None
        data = response(result, self.site.date, self._last_sent)
        if more:
            self.transport.write(data)
        else:
            self._write_now(data)

    def _read_on(self) -> None:
        """Every request is answered: read what came meanwhile."""
        if self._turn is not None:
            return
        if self._reservation is None or self._reservation.granted:
            self._let_go()
        if self._buffer and not (self._paused or self._last_sent):
            self.deadline = self.site.reactor.seconds() + self.site.timeout
            self._read(self._take_buffer())
        else:
            self._rest()

    def _let_go(self) -> None:
        if self._held and not self._paused:
            self._held = False
            self.transport.resumeProducing()

    def _rest(self) -> None:
        """Every request is answered, and nothing can be read."""
        site = self.site
        if self._turn is not None:
            return
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
        if not self._responses:
            self._read_on()

    def stopProducing(self) -> None:
        """The connection is lost."""

    # Time, and the end

    @property
    def idle_since(self) -> float | None:
        if self._responses or self._buffer or self._paused:
            return None
        wait: float = self.site.first_byte if self.deadline == self._fresh_until else self.site.idle
        return self.deadline - wait

    def close_if_idle(self) -> None:
        """Close a connection on which nothing more will happen."""
        if not (self._responses or self._buffer or self._paused):
            self._rest()

    def expire(self) -> None:
        """See to what takes too long."""
        if self._responses:
            for waiting in self._waiting():
                waiting.abandon()
                self.tell(waiting, TIME_IS_UP)
        elif self._turn is not None:
            self._turn.end()
        elif self._reservation is not None and not self._reservation.granted:
            self._hand_over().refuse(no_room(self._has_key))
        elif self._paused:
            self._hand_over().refuse(TOO_SLOW)
        elif self._buffer:
            self._hand_over(self._take_buffer())  # whose time is over there, too
        else:
            self._hand_over().loseConnection()

    def _hand_over(self, data: bytes = b"") -> Channel:
        """Give the connection away: see Note [Handing over]."""
        self._give_up_places()
        self._let_go()
        left = max(0.0, self.deadline - self.site.reactor.seconds())
        self.transport.unregisterProducer()
        self.site.admission.remove(self)
        channel: Channel = self.site.build_channel()
        self.channel = channel
        channel.take_over(self.transport, data, self.site.timeout - left)
        if self._read_lost:
            channel.readConnectionLost()
        return channel
