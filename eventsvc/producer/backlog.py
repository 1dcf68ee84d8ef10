"""
The bounded queue of requests that wait to be stored, each with a deadline.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from math import inf

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from eventsvc.interfaces import QueueFull, Refused, TooLarge, Unknown
from eventsvc.producer.sequence import Resend, not_looked_up
from eventsvc.submission import Result, Submission


@attrs.frozen(kw_only=True)
class Limits:
    """The limits of one batch, of the queue, and of the wait of a request."""

    batch_events: int = 1_000
    batch_bytes: int = 1_048_576
    queue_events: int = 10_000
    queue_bytes: int = 16_777_216
    #: seconds that a request may wait
    wait: float = 5.0


class PendingRequest(Submission, kw_only=True, eq=False):
    """
    A submission that waits for its result.

    @ivar answer: called with the request and its result, once that is known.
    @ivar sent: whether an attempt with it may have been applied, or may be later.
    @ivar settled: whether its result is known, or no longer wanted.
    @ivar problem: why the last attempt did not store it.
    @ivar late: whether its deadline passed before its result was known.
    @ivar traceparent: the trace context of its client, if spans are made; see L{eventsvc.spans.Carrier}.
    """

    answer: Callable[[PendingRequest, Result], None]
    deadline: float = inf
    size: int = 0
    sent: bool = False
    settled: bool = False
    problem: str = ""
    late: bool = False
    traceparent: str | None = None
    tracestate: str | None = None

    def settle(self, result: Result) -> None:
        """Answer with the result; call it once."""
        self.settled = True
        self.answer(self, result)

    def abandon(self) -> None:
        """Drop the request, because its result is no longer wanted."""
        self.settled = True

    def expired(self, trouble: Resend | None = None) -> Exception:
        """
        Return the error to answer with once the deadline has passed.

        @param trouble: why the queue does not move, if that is known.
        """
        if self.sent:
            return Unknown("Redis did not confirm the event in time")
        if trouble is None:
            return not_looked_up(self, Refused(self.problem or "Redis is away"))
        return not_looked_up(self, trouble.kind(self.problem or trouble.problem))


def explain(waiting: Sequence[PendingRequest], in_doubt: bool, problem: str) -> None:
    """Note why requests are not stored yet."""
    for request in waiting:
        request.sent = in_doubt
        request.problem = problem


@attrs.define(eq=False)
class Backlog:
    """
    Queues requests until it is full, and returns them in batches.

    All requests may wait equally long, so they expire in the order they began
    to wait, and one timer serves them all.

    @ivar passed_over: called with each request that leaves the queue settled,
        and so is part of no batch.
    @ivar settle: settles a request whose deadline has passed.
    @ivar trouble: why the queue does not move; C{None} if it does, or that is not known.
    """

    clock: IReactorTime
    limits: Limits
    passed_over: Callable[[PendingRequest], None]
    settle: Callable[[PendingRequest, Exception], None]
    trouble: Resend | None = attrs.field(default=None, init=False)
    #: events and bytes in the queue
    events: int = attrs.field(default=0, init=False)
    size: int = attrs.field(default=0, init=False)
    #: called when there may be room for more
    on_room: list[Callable[[], object]] = attrs.field(factory=list, init=False)
    _line: deque[PendingRequest] = attrs.field(factory=deque, init=False)
    _by_deadline: deque[PendingRequest] = attrs.field(factory=deque, init=False)
    _timer: IDelayedCall | None = attrs.field(default=None, init=False)
    _settled: list[Deferred[None]] = attrs.field(factory=list, init=False)

    def __bool__(self) -> bool:
        return bool(self._line)

    @property
    def is_full(self) -> bool:
        """Whether more than nine tenths of its events or bytes are used."""
        return self.events > 0.9 * self.limits.queue_events or self.size > 0.9 * self.limits.queue_bytes

    def fits(self, events: int, size: int) -> bool:
        """Return whether there is room for so many events with so many bytes in total."""
        return self.events + events <= self.limits.queue_events and self.size + size <= self.limits.queue_bytes

    def put(self, request: PendingRequest, since: float | None = None) -> None:
        """
        Queue a request.

        @param since: when its wait began; by default now.
        @raise QueueFull: the queue is full.
        @raise TooLarge: it would not fit into an empty queue.
        """
        entries, limits = request.entries, self.limits
        events = len(entries)
        size = len(entries[0]) if events == 1 else sum(map(len, entries))
        if self.events + events > limits.queue_events or self.size + size > limits.queue_bytes:
            if size > limits.queue_bytes or events > max(1, limits.queue_events):
                raise TooLarge(
                    f"Expected at most {limits.queue_events} events and {limits.queue_bytes} bytes of them in the "
                    f"stream, got {events} and {size}"
                )
            raise QueueFull(f"{self.events} events wait for Redis", events, size)
        now = self.clock.seconds()
        request.deadline = (now if since is None else since) + limits.wait
        request.size = size
        self.events += events
        self.size += size
        self._line.append(request)
        if since is None:
            self._by_deadline.append(request)
        else:
            self._insert(request)
        if self._timer is None:
            self._timer = self.clock.callLater(max(0.0, request.deadline - now), self._expire)

    def _insert(self, request: PendingRequest) -> None:
        """Insert a request whose wait began earlier, by its deadline."""
        line = self._by_deadline
        later: list[PendingRequest] = []
        while line and line[-1].deadline > request.deadline:
            later.append(line.pop())
        line.append(request)
        line.extend(reversed(later))
        if line[0] is request and self._timer is not None and self._timer.active():
            self._timer.reset(max(0.0, request.deadline - self.clock.seconds()))

    def take(self) -> list[PendingRequest]:
        """Return the next batch: as many requests as one call may carry, and at least one if any wait."""
        line, limits = self._line, self.limits
        if self.events <= limits.batch_events and self.size <= limits.batch_bytes:
            taken, self.events, self.size = list(line), 0, 0
            line.clear()
        else:
            taken = self._take_some()
        if taken:
            self._tell_room()
        batch = [request for request in taken if not request.settled]
        if len(batch) < len(taken):
            for request in taken:
                if request.settled:
                    self.passed_over(request)
        return batch

    def _take_some(self) -> list[PendingRequest]:
        line, limits = self._line, self.limits
        taken = [line.popleft()]
        events, size = len(taken[0].entries), taken[0].size
        while line:
            request = line[0]
            more = len(request.entries)
            if events + more > limits.batch_events or size + request.size > limits.batch_bytes:
                break
            events += more
            size += request.size
            taken.append(line.popleft())
        self.events -= events
        self.size -= size
        return taken

    def _tell_room(self) -> None:
        for call in self.on_room:
            call()

    def when_settled(self) -> Deferred[None]:
        """Fire when no request waits for its answer, at the latest after L{Limits.wait} seconds."""
        settled: Deferred[None] = Deferred()
        self._settled.append(settled)
        self.forget_settled()
        return settled

    def forget_settled(self) -> None:
        """Remove the answered requests at the head; fire L{when_settled} if none is left."""
        while self._by_deadline and self._by_deadline[0].settled:
            self._by_deadline.popleft()
        if not self._by_deadline and self._settled:
            settled, self._settled = self._settled, []
            for waiter in settled:
                waiter.callback(None)

    def close(self) -> None:
        """Expire all waiting requests before their deadlines, and those that arrive meanwhile."""
        while self._by_deadline:
            self._end_wait(self._by_deadline.popleft())
            self._leave_settled()
        self._leave_settled()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        self.forget_settled()

    def _leave_settled(self) -> None:
        """Remove the settled requests at the head of the queue."""
        if not (self._line and self._line[0].settled):
            return
        while self._line and self._line[0].settled:
            request = self._line.popleft()
            self.events -= len(request.entries)
            self.size -= request.size
            self.passed_over(request)
        self._tell_room()

    def _end_wait(self, request: PendingRequest) -> None:
        if not request.settled:
            request.late = True
            self.settle(request, request.expired(self.trouble))

    def _expire(self) -> None:
        """
        Expire the requests whose deadline has passed.

        An answer may let the client's next request into the queue, so the timer
        that has just fired stays set until all are answered.  Otherwise L{put}
        would set a second one.
        """
        now = self.clock.seconds()
        while self._by_deadline and (self._by_deadline[0].settled or self._by_deadline[0].deadline <= now):
            self._end_wait(self._by_deadline.popleft())
        self._leave_settled()
        self._timer = (
            self.clock.callLater(self._by_deadline[0].deadline - now, self._expire) if self._by_deadline else None
        )
        self.forget_settled()
