"""
The fast path: answers plain C{POST /event} requests without twisted.web, and so
without a request object, a timer or a Deferred for each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import attrs
from twisted.logger import Logger

from eventsvc.interfaces import QueueFull, Result, Waiting
from eventsvc.net.immediate_write import immediate_write
from eventsvc.web.answers import TIME_IS_UP, Answer
from eventsvc.web.inflow import Inflow
from eventsvc.web.limits import MAX_HEAD_BYTES
from eventsvc.web.post_head import PostHead
from eventsvc.web.request_heads import END, Head, RequestHeads, could_begin
from eventsvc.web.responses import Completed, response
from eventsvc.web.turns import SMALL, Turn


class Channel(Protocol):
    """The connection, as far as the fast path uses it."""

    transport: Any
    site: Any
    inflow: Inflow

    def read_again(self) -> None:
        """Parse the kept bytes again, although the fast path has seen them."""

    def read_on(self) -> None:
        """Parse the kept bytes, because all requests before them are answered."""

    def loseConnection(self) -> None:
        """Close once everything is written."""


@attrs.define(eq=False)
class FastPath:
    """
    The plain C{POST /event} requests in progress on one connection.

    # Note [Requests of one read]

    The requests in one read from the socket are in progress together, and their
    answers go out in order.  Later bytes wait in the channel until they are
    answered.  So one read bounds the pipelining.  A request with an
    idempotency key waits for those before it: one of them may have the same key.

    # Note [Turn of a connection]

    A request for which the queue has no room stays in the channel, and so do
    those after it.  When its turn comes, as many of them are submitted as the
    queue has room for.  Requests for another stream among them need no turn of
    this one.

    @ivar responses: the answers, complete or not, of the requests in progress, in order.
    @ivar turn: the place in line of the first request that the queue had no room for.
    @ivar wanted: after L{submit}, the number of bytes at which the rest is worth
        parsing again; C{None} if the rest begins with a request for twisted.web.
    """

    heads: RequestHeads
    channel: Channel
    responses: list[Waiting | Completed] = attrs.field(factory=list, init=False)
    turn: Turn | None = attrs.field(default=None, init=False)
    wanted: int | None = attrs.field(default=None, init=False)
    #: the turn being called, and whether its deadline has passed
    _called: Turn | None = attrs.field(default=None, init=False)
    _is_over: bool = attrs.field(default=False, init=False)
    _inflow: Inflow = attrs.field(init=False)
    _write_now: Callable[[bytes], None] = attrs.field(init=False)
    _log = Logger()

    @_inflow.default
    def _take_inflow(self) -> Inflow:
        return self.channel.inflow

    @_write_now.default
    def _make_write_now(self) -> Callable[[bytes], None]:
        return immediate_write(self.channel.transport)

    @property
    def is_busy(self) -> bool:
        """Whether requests are in progress or wait for their turn."""
        return bool(self.responses) or self.turn is not None

    # Receiving

    def submit(self, data: bytes) -> int:
        """Submit the plain requests at the beginning of C{data}, and return their length in bytes."""
        heads, responses, called = self.heads, self.responses, self._called
        reservation = self._inflow.reservation
        begin, size = 0, len(data)
        while begin < size:
            body = data.find(END, begin)
            if body < 0:
                self._wait_for_head(data[begin:])
                break
            body += len(END)
            bytes_of_head = data[begin:body]
            head = heads.cache.get(bytes_of_head) or heads.learn(bytes_of_head)
            if head is None:
                self.wanted = None
                break
            post = head.post
            end = body + head.length
            if end > size:
                self._wait_for_body(head, end - begin, is_first=begin == 0)
                break
            if post.keys and responses and self._has_to_wait():
                break
            turns = post.route.destination.turns
            if (turns.is_open and (called is None or called.turns is not turns)) or post.error is not None:
                try:
                    responses.append(post.submit(data[body:end], self.tell))
                except QueueFull as full:
                    self.turn = turns.join(size - begin, self._on_turn, full)
                    break
                except Exception as error:
                    responses.append(Completed(error))
            elif not self._submit_in_turn(post, data[body:end], begin, size):
                break
            begin = end
        if begin and reservation is not None and reservation is self._inflow.reservation:
            self._inflow.release()
        if responses and isinstance(responses[0], Completed):
            self._write_completed()
        return begin

    def _has_to_wait(self) -> bool:
        """Return whether a request with a key must wait for those before it, or comes after the last answer."""
        self._write_completed()
        return bool(self.responses) or self.channel.site.draining

    def _wait_for_head(self, data: bytes) -> None:
        is_ours = len(data) <= MAX_HEAD_BYTES and could_begin(data)
        self.wanted = len(data) + 1 if is_ours else None

    def _wait_for_body(self, head: Head, size: int, is_first: bool) -> None:
        self.wanted = size
        if size > SMALL:
            if head.post.error is not None:
                self.wanted = None  # twisted.web refuses it before its body arrives
                return
            if not is_first:
                self._inflow.release()  # that of the request before it
            self._inflow.reserve(head.length, head.post.has_key, head.post.route.destination.arrivals)

    def _submit_in_turn(self, post: PostHead, body: bytes, begin: int, end: int) -> bool:
        """
        Submit a request while others wait, and return whether it waits no longer.

        @param begin: offset of the request in the data.
        @param end: end of the data.
        """
        turn, turns = self._called, post.route.destination.turns
        if turn is None or turn.turns is not turns or begin >= turn.size:
            self.turn = turns.join(end - begin, self._on_turn)
            return False
        try:
            if self._is_over:
                self.responses.append(Completed(post.give_up(body)))
            else:
                self.responses.append(post.submit(body, self.tell, turn.since))
        except QueueFull as full:
            turn.size -= begin
            self.turn = turn
            turns.again(turn, full)
            return False
        except Exception as error:
            self.responses.append(Completed(error))
        return True

    def _on_turn(self, is_over: bool) -> None:
        """Submit the requests that wait, or answer them if their deadline has passed."""
        self._called, self._is_over, self.turn = self.turn, is_over, None
        try:
            self.channel.read_again()
        finally:
            self._called, self._is_over = None, False

    # Sending

    def tell(self, waiting: Waiting, result: Result | Answer) -> None:
        """
        Answer a request, and parse the kept bytes once all requests are answered.

        The appender calls this, so an exception is logged, not raised.
        """
        responses = self.responses
        try:
            if responses[0] is waiting:
                del responses[0]
                self._write(result)
                if responses:
                    self._write_completed()
                if not responses and self.turn is None:
                    self.channel.read_on()
            else:
                responses[responses.index(waiting)] = Completed(result)
        except Exception:
            self._log.failure("unexpected error while answering requests; the connection is closed")
            self.channel.transport.abortConnection()

    def _write_completed(self) -> None:
        """Write the answers that do not wait for an earlier one."""
        responses = self.responses
        while responses and isinstance(first := responses[0], Completed):
            del responses[0]
            self._write(first.result)

    def _write(self, result: Result | Answer) -> None:
        """Write an answer; while the site drains, the last one closes the connection."""
        channel = self.channel
        site, more = channel.site, bool(self.responses)
        last = site.draining and not more and self.turn is None
        data = response(result, site.date, last)
        if more:
            channel.transport.write(data)
        else:
            self._write_now(data)
            if last:
                channel.loseConnection()

    # Deadline and end

    def expire(self) -> None:
        """Answer the requests in progress that their deadline has passed."""
        if self.responses:
            for waiting in self._waiting():
                waiting.abandon()
                self.tell(waiting, TIME_IS_UP)
        elif self.turn is not None:
            self.turn.end()

    def abandon(self) -> None:
        """Drop the requests in progress, because the client is gone."""
        for waiting in self._waiting():
            waiting.abandon()
        self.responses.clear()
        if self.turn is not None:
            self.turn.leave()
            self.turn = None

    def _waiting(self) -> Sequence[Waiting]:
        """Return the requests without an answer yet."""
        return [each for each in self.responses if not isinstance(each, Completed)]
