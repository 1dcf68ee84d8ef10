"""
Group commit: requests that arrive while a batch is in flight wait in one queue,
and go out together as the next batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import attrs
from twisted.internet.defer import CancelledError, Deferred, fail, gatherResults
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from eventsvc.event import Event, format_timestamp, write_notifications
from eventsvc.interfaces import IAppender, IEventLog, KeyConflict, KeyRunning, QueueFull, Refused, TooLarge, Unknown
from eventsvc.net.background import run_in_background
from eventsvc.producer.backlog import Backlog, Limits, PendingRequest, explain
from eventsvc.producer.counts import ProducerCounts
from eventsvc.producer.pauses import pause
from eventsvc.producer.repair import Repair
from eventsvc.producer.retained import Retained
from eventsvc.producer.sequence import Restore, Settle, decide, find_result, may_drop, not_looked_up, stores_all
from eventsvc.submission import ANY_BODY, AppendReply, BatchOutcome, IdempotencyKey, Result, Submission

#: Seconds between two checks that the log still knows the last sequence.
RENEWAL: Final = 2.0


@implementer(IAppender)
@attrs.define(eq=False)
class Appender:
    """
    Stores events through an L{IEventLog}, one batch in flight at a time.

    L{eventsvc.producer.sequence} decides what follows from an attempt; see its
    Notes.

    # Note [An event posted twice at once]

    A request with an C{Idempotency-Key} that is still running is refused (409),
    because its body may differ.  The key of a CloudEvent needs no such check:
    the second request waits like any other, and the log passes it over, even in
    the same batch.

    @ivar new_id: returns a random 63-bit integer.
    @ivar new_producer_id: returns an id that no producer has used.
    @ivar wall_clock: returns nanoseconds since the epoch.
    @ivar known_keys: number of idempotency keys in the log at the last check; C{None} before the first.
    """

    event_log: IEventLog
    clock: IReactorTime
    new_id: Callable[[], int]
    new_producer_id: Callable[[], bytes]
    wall_clock: Callable[[], int]
    limits: Limits = attrs.field(factory=Limits)
    counts: ProducerCounts = attrs.field(factory=ProducerCounts)
    retained: Retained = attrs.field()
    backlog: Backlog = attrs.field(init=False)
    known_keys: int | None = attrs.field(default=None, init=False)

    _keys: dict[bytes, IdempotencyKey] = attrs.field(factory=dict, init=False)
    _producer_id: bytes = attrs.field(default=b"", init=False)
    _repair: Repair = attrs.field(init=False)
    _work: Deferred[None] | None = attrs.field(default=None, init=False)
    _asked: Deferred[None] | None = attrs.field(default=None, init=False)
    _renewal: IDelayedCall | None = attrs.field(default=None, init=False)
    _renewal_due: bool = attrs.field(default=False, init=False)
    _running: Deferred[None] | None = attrs.field(default=None, init=False)
    _log = Logger()

    @retained.default
    def _make_retained(self) -> Retained:
        return Retained(self.clock)

    @_repair.default
    def _make_repair(self) -> Repair:
        return Repair(self.event_log, self.clock, self.limits, self.counts, self.retained)

    @backlog.default
    def _make_backlog(self) -> Backlog:
        return Backlog(self.clock, self.limits, self._release, self._tell)

    def start(self) -> None:
        """Begin to append the submitted requests, and those still to come."""
        self._producer_id = self.new_producer_id()
        self._running = run_in_background(self._run(), self._log)
        self._schedule_renewal()

    def check(self) -> None:
        """Ask soon whether the log knows the last sequence: see the Note [Renewal]."""
        self._renewal_due = True
        self._wake()

    @property
    def is_running(self) -> bool:
        """Whether submitted requests are being appended."""
        return self._running is not None and not self._running.called

    def drain(self) -> Deferred[None]:
        """
        Fire when every request is answered, at the latest after L{Limits.wait} seconds.

        What is retained ends with this process: so Redis is asked once more, and
        given back what it has forgotten.
        """
        settled = self.backlog.when_settled()
        if not self.retained.size:
            return settled
        asked = self._asked = Deferred()
        self.check()
        asked.addTimeout(self.limits.wait, self.clock).addErrback(self._tell_unsure)
        return gatherResults([settled, asked]).addCallback(lambda _: None)

    def _tell_unsure(self, _: object) -> None:
        self._asked = None
        self._log.warn("stopping without an answer whether Redis has all of the last events that it had confirmed")

    def stop(self) -> None:
        """Stop at once, and answer each waiting request with what is known about it."""
        if self._renewal is not None:
            self._renewal.cancel()
        if self._running is not None:
            self._running.cancel()
        self.backlog.close()

    def append(self, events: Sequence[Event], keys: Sequence[IdempotencyKey] = ()) -> Deferred[Sequence[int]]:
        """Store events; as L{begin_append}, but every error is a failure of the Deferred."""
        try:
            return self.begin_append(events, keys)
        except QueueFull:
            return fail(self.give_up(events, keys))
        except (TooLarge, KeyConflict, KeyRunning) as error:
            return fail(error.with_traceback(None))  # its frames hold the events

    def begin_append(
        self, events: Sequence[Event], keys: Sequence[IdempotencyKey], since: float | None = None
    ) -> Deferred[Sequence[int]]:
        """Store events; as L{IAppender.begin_append}."""
        answer: Deferred[Sequence[int]] = Deferred(lambda _: request.abandon())

        def tell(_: PendingRequest, result: Result) -> None:
            if isinstance(result, Exception):
                answer.errback(result)
            else:
                answer.callback(result)

        request = self.submit(events, keys, tell, since)
        return answer

    def give_up(self, events: Sequence[Event], keys: Sequence[IdempotencyKey]) -> Exception:
        """Return the error for events that found no room; as L{IAppender.give_up}."""
        nothing = Submission((0,) * len(events), (), tuple(keys))
        error = not_looked_up(nothing, QueueFull(f"{self.backlog.events} events wait for Redis"))
        self.counts.count(nothing, error)
        return error

    def submit(
        self,
        events: Sequence[Event],
        keys: Sequence[IdempotencyKey],
        answer: Callable[[PendingRequest, Result], None],
        since: float | None = None,
    ) -> PendingRequest:
        """
        Store events and call C{answer} later; as L{IAppender.submit}.

        @raise QueueFull: the queue is full.  It is not counted: the caller may wait.
        @raise TooLarge: the queue could never hold the events.
        @raise KeyConflict: the key is in use with another body.
        @raise KeyRunning: the key is in use with a request still running.
        """
        if keys and keys[0].digest in self._keys:
            if self._keys[keys[0].digest].fingerprint != keys[0].fingerprint:
                raise KeyConflict("the key is in use with another body")
            raise KeyRunning("a request with this key is still running")
        stamp = format_timestamp(self.wall_clock())
        ids = tuple([self.new_id() for _ in events]) if len(events) > 1 else (self.new_id(),)
        request = PendingRequest(ids, write_notifications(ids, events, stamp), tuple(keys), answer=answer)
        self.backlog.put(request, since)
        if keys and keys[0].fingerprint != ANY_BODY:
            self._keys[keys[0].digest] = keys[0]
        if self._work is not None:
            self._wake()
        return request

    def _tell(self, request: PendingRequest, result: Result) -> None:
        self.counts.count(request, result)
        request.settle(result)

    def _release(self, request: PendingRequest) -> None:
        """Let the key of a finished request be used again."""
        if request.keys and request.keys[0].fingerprint != ANY_BODY:
            del self._keys[request.keys[0].digest]

    def _wake(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            work.callback(None)

    def _schedule_renewal(self) -> None:
        def renew() -> None:
            self.check()
            self._schedule_renewal()

        self._renewal = self.clock.callLater(RENEWAL, renew)

    async def _run(self) -> None:
        while True:
            if not self.backlog and not self._renewal_due:
                self._work = Deferred()
                await self._work
                # Requests that arrive in the same turn of the reactor share a batch.
                await deferLater(self.clock, 0)
            await self.event_log.when_ready()
            if self._renewal_due:
                await self._renew()
            batch = self.backlog.take()
            if batch:
                await self._commit(batch)

    async def _renew(self) -> None:
        self._renewal_due = False
        renewal = await self._repair.check(self._producer_id, gives_way=lambda: bool(self.backlog))
        if renewal is None:
            self._renewal_due = True
        else:
            self.known_keys = renewal.keys
            asked, self._asked = self._asked, None
            if asked is not None:
                asked.callback(None)

    async def _commit(self, batch: Sequence[PendingRequest]) -> BatchOutcome | None:
        """Attempt a batch until its outcome is known, and answer its requests; C{None}: it was dropped."""
        in_doubt, failures, self.backlog.trouble = False, 0, None
        begun = self.clock.seconds()
        while True:
            waiting = [request for request in batch if not request.settled]
            if may_drop(in_doubt, not waiting):
                for request in batch:
                    self._release(request)
                return None
            events = sum([len(request.ids) for request in waiting])
            step = decide(await self._attempt(waiting, events), in_doubt)
            if isinstance(step, Restore):
                explain(waiting, in_doubt, "Redis has gone back to an earlier state")
                if await self._repair.run(self._producer_id, step.kept, in_doubt):
                    step = Settle(AppendReply(BatchOutcome.LOST))
                else:
                    continue
            if isinstance(step, Settle):
                now = self.clock.seconds()
                arrived = batch[0].deadline - self.limits.wait
                self.counts.observe(waiting, events, step.reply, now - begun, now - arrived)
                if step.reply.outcome is not BatchOutcome.LOST:
                    self.retained.keep(waiting, step.reply, events, begun)
                self._settle(batch, step.reply)
                return step.reply.outcome
            in_doubt = step.in_doubt
            explain(waiting, in_doubt, step.problem)
            self.backlog.trouble = step
            failures += 1
            await pause(self.event_log, self.clock, failures)

    async def _attempt(self, waiting: Sequence[PendingRequest], events: int) -> AppendReply | Exception:
        """Send a batch once, and return the reply of the log or the error."""
        for request in waiting:
            request.sent = True
        try:
            return await self.event_log.append(
                self._producer_id, self.retained.sequence + 1, waiting, self.retained.total + events
            )
        except CancelledError:
            raise
        except Exception as error:
            if not isinstance(error, Refused | Unknown):
                self._log.failure("unexpected error while appending a batch; trying again")
            return error

    def _settle(self, batch: Sequence[PendingRequest], reply: AppendReply) -> None:
        """Answer the requests of a batch that still wait."""
        if self._keys:  # all keys first: an answered client may repeat its request at once
            for request in batch:
                self._release(request)
        if stores_all(reply):
            waiting = [request for request in batch if not request.settled]
            self.counts.accepted += sum([len(request.ids) for request in waiting])
            for request in waiting:
                if not request.settled:
                    request.settle(request.ids)
        else:
            for request in batch:
                if not request.settled:
                    self._tell(request, find_result(request, reply))
        self.backlog.forget_settled()
