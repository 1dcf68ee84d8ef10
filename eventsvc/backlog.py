"""
The requests that wait to be stored: a bounded line, each with a deadline.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from eventsvc.interfaces import QueueFull, Refused, Submission, Unknown


@attrs.frozen(kw_only=True)
class Limits:
    """What one call to the log, the line, and a request's patience may hold."""

    batch_events: int = 1_000
    batch_bytes: int = 1_048_576
    queue_events: int = 10_000
    queue_bytes: int = 16_777_216
    #: seconds
    wait: float = 5.0


#: What a request is told: the ids it is stored under, or why it is not.
Answer = tuple[int, ...] | Exception


@attrs.define(eq=False)
class Request:
    """
    A submission and who waits for it.

    @ivar sent: an attempt with it may have been applied, or may yet.
    @ivar settled: it was answered, or nobody waits for the answer.
    @ivar problem: why it was not stored so far.
    """

    submission: Submission
    answer: Callable[[Answer], None]
    deadline: float
    size: int
    sent: bool = False
    settled: bool = False
    problem: str = ""

    def settle(self, answer: Answer) -> None:
        """Answer, unless it is settled."""
        if not self.settled:
            self.settled = True
            self.answer(answer)

    def abandon(self) -> None:
        """Nobody waits for the answer any more."""
        self.settled = True

    def expire(self) -> None:
        """Answer that its time is over."""
        if self.sent:
            self.settle(Unknown("Redis did not confirm the event in time"))
        else:
            self.settle(Refused(self.problem or "Redis is away"))


@attrs.define(eq=False)
class Backlog:
    """
    Takes requests in until it is full, and gives them out in batches.

    All requests have the same patience, so they expire in the order they
    came, and one timer serves them all.

    @ivar passed_over: told of each request that leaves the line settled, and
        so is part of no batch.
    """

    clock: IReactorTime
    limits: Limits
    passed_over: Callable[[Request], None]
    #: events and bytes in the line
    events: int = attrs.field(default=0, init=False)
    size: int = attrs.field(default=0, init=False)
    _line: deque[Request] = attrs.field(factory=deque, init=False)
    _by_deadline: deque[Request] = attrs.field(factory=deque, init=False)
    _timer: IDelayedCall | None = attrs.field(default=None, init=False)
    _settled: list[Deferred[None]] = attrs.field(factory=list, init=False)

    def __bool__(self) -> bool:
        return bool(self._line)

    @property
    def is_full(self) -> bool:
        """Whether more than nine tenths of what it may hold are in it."""
        return self.events > 0.9 * self.limits.queue_events or self.size > 0.9 * self.limits.queue_bytes

    def put(self, submission: Submission, answer: Callable[[Answer], None]) -> Request:
        """
        Let a submission wait.

        @raise QueueFull: the line holds as much as it may.
        """
        entries = submission.entries
        events = len(entries)
        size = len(entries[0]) if events == 1 else sum(map(len, entries))
        limits = self.limits
        if self.events + events > limits.queue_events or self.size + size > limits.queue_bytes:
            raise QueueFull(f"{self.events} events wait for Redis")
        request = Request(submission, answer, self.clock.seconds() + limits.wait, size)
        self.events += events
        self.size += size
        self._line.append(request)
        self._by_deadline.append(request)
        if self._timer is None:
            self._timer = self.clock.callLater(limits.wait, self._expire)
        return request

    def take(self) -> list[Request]:
        """The next batch: as many requests as one call may carry, at least one."""
        batch: list[Request] = []
        line, limits = self._line, self.limits
        events = size = 0
        while line:
            request = line[0]
            more = len(request.submission.entries)
            if batch and (events + more > limits.batch_events or size + request.size > limits.batch_bytes):
                break
            events += more
            size += request.size
            line.popleft()
            if request.settled:
                self.passed_over(request)
            else:
                batch.append(request)
        self.events -= events
        self.size -= size
        return batch

    def when_settled(self) -> Deferred[None]:
        """Fire when nobody waits for an answer: at the latest after their patience."""
        settled: Deferred[None] = Deferred()
        self._settled.append(settled)
        self.forget_settled()
        return settled

    def forget_settled(self) -> None:
        """Let go of those at the head that were answered."""
        while self._by_deadline and self._by_deadline[0].settled:
            self._by_deadline.popleft()
        if not self._by_deadline and self._settled:
            settled, self._settled = self._settled, []
            for waiter in settled:
                waiter.callback(None)

    def close(self) -> None:
        """Expire all that still wait, whatever their time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for request in self._by_deadline:
            request.expire()
        while self._line:
            self._leave()
        self.forget_settled()

    def _leave(self) -> None:
        """Take the head, which is settled, off the line."""
        request = self._line.popleft()
        self.events -= len(request.submission.entries)
        self.size -= request.size
        self.passed_over(request)

    def _expire(self) -> None:
        self._timer = None
        now = self.clock.seconds()
        while self._by_deadline and (self._by_deadline[0].settled or self._by_deadline[0].deadline <= now):
            self._by_deadline.popleft().expire()
        while self._line and self._line[0].settled:
            self._leave()
        if self._by_deadline:
            self._timer = self.clock.callLater(self._by_deadline[0].deadline - now, self._expire)
        self.forget_settled()
