"""
Gives entries to the handler: how many at a time, in which order, and for how
long without a turn for the reactor.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from typing import Any, Final

import attrs
from msgspec.structs import replace
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from eventsvc.consumer.batch import Batch, BatchDelivery, fail_with
from eventsvc.consumer.bound_handler import BoundHandler
from eventsvc.consumer.breaker import Breaker
from eventsvc.consumer.counts import ConsumerCounts
from eventsvc.consumer.delivery import PassOver, SetAside, decide
from eventsvc.consumer.delivery_attempts import DeliveryAttempts, Ended
from eventsvc.consumer.handler_call import Unfinished
from eventsvc.consumer.isolation import Isolation
from eventsvc.consumer.line import Line
from eventsvc.consumer.open_entries import OpenEntries
from eventsvc.consumer.setting_aside import Letter, SettingAside
from eventsvc.event import Entry, Notification
from eventsvc.net.background import run_in_background

#: Seconds that plain handlers may hold the reactor, one after another.
_SLICE: Final = 0.05


@attrs.define(eq=False)
class Dispatch:
    """
    Gives entries to the handler, C{concurrency} at a time and in order.

    Entries whose handler returns at once are a run, and are done together.
    After L{_SLICE} seconds of such handlers the reactor has a turn, so that what
    is done is acknowledged and the rest renewed.

    With a concurrency of 1 an entry that is retried blocks those behind it, so
    that their order is kept.  With more, it blocks those of its key.

    @ivar acknowledge_early: called when a slice is over and more entries wait.
    """

    open: OpenEntries
    handler: BoundHandler
    attempts: DeliveryAttempts
    breaker: Breaker
    aside: SettingAside
    clock: IReactorTime
    counts: ConsumerCounts
    concurrency: int
    max_deliveries: int
    acknowledge_early: Callable[[], None]
    line: Line = attrs.field(init=False)
    isolation: Isolation = attrs.field(init=False)
    #: what is under way, by the id of its first entry
    _working: dict[str, Deferred[None]] = attrs.field(factory=dict, init=False)
    _batches: BatchDelivery = attrs.field(init=False)
    _next_slice: IDelayedCall | None = attrs.field(default=None, init=False)
    _is_beginning: bool = attrs.field(default=False, init=False)
    _stopping: bool = attrs.field(default=False, init=False)
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self.line = Line(one_at_a_time=self.concurrency == 1)
        self.isolation = Isolation(self.clock, self.concurrency, self._begin)
        self._batches = BatchDelivery(
            handler=self.handler,
            attempts=self.attempts,
            counts=self.counts,
            open=self.open,
            deliver=self._deliver,
            succeed=self.open.succeed,
            leave=self._leave,
            may_begin=lambda: not (self._stopping or self.breaker.is_open),
        )

    @property
    def is_busy(self) -> bool:
        """Whether a new entry would have to wait for the handler."""
        return bool(self.line.entries) or len(self._working) >= self.isolation.slots

    @property
    def is_working(self) -> bool:
        """Whether anything is under way."""
        return bool(self._working)

    def add(self, entries: Iterable[Entry]) -> None:
        """Put entries at the end of the line."""
        self.line.entries.extend(entries)
        self._begin()

    def drop(self, ids: Collection[str]) -> None:
        """Drop those entries that were not begun."""
        self.attempts.forget(ids)
        if unbegun := self.line.drop(ids):
            self.open.forget(unbegun)

    def stop(self) -> None:
        """Begin no more entries."""
        self._stopping = True
        self.isolation.stop()

    def cancel(self) -> None:
        """Cancel what is under way."""
        self.stop()
        working, self._working = self._working, {}
        for work in working.values():
            work.cancel()

    def _begin(self) -> None:
        """
        Begin the next entries in the line, for one slice.

        Does nothing if it is running already, or while the next slice is scheduled.
        """
        if self._is_beginning or self._next_slice is not None:
            return
        self._is_beginning = True
        handled: list[Entry] = []
        now, is_batch = self.clock.seconds, self.handler.batch_size
        line, working, isolation, breaker = self.line, self._working, self.isolation, self.breaker
        began = now()
        try:
            while line.entries and len(working) < isolation.slots and not self._stopping and not breaker.is_open:
                entry = line.entries.popleft()
                if entry.again and self._has_to_wait(entry):
                    line.entries.appendleft(entry)
                    break
                if is_batch:
                    line.entries.appendleft(entry)
                    self._begin_batch()
                elif self._begin_with(entry):
                    handled.append(entry)
                if now() - began >= _SLICE:
                    self._next_slice = self.clock.callLater(0, self._begin_slice)
                    break
        finally:
            self._is_beginning = False
        if handled:
            self._end_run(handled, now() - began)
        if self._next_slice is not None:
            self.acknowledge_early()

    def _begin_slice(self) -> None:
        self._next_slice = None
        self._begin()

    def _has_to_wait(self, entry: Entry) -> bool:
        """Return whether an entry that was read before may not begin beside those that the handler has."""
        return not (self.attempts.has_put_back(entry.id) or self.isolation.admits(entry, is_idle=not self._working))

    def begin_probe(self, note_probe: Callable[[str], None], behind: int) -> None:
        """Begin an entry in the line although the breaker is open: see L{Breaker}."""
        if self.line.entries and len(self._working) < self.isolation.slots and not self._stopping:
            entry = self.line.take(behind)
            note_probe(entry.id)
            if self._begin_with(entry):
                self._end_run([entry], 0.0)
            if entry.id not in self._working:
                self.breaker.release(entry.id)
                self._begin()

    def _begin_with(self, entry: Entry) -> bool:
        """Give an entry to the handler; return whether the handler has finished."""
        action = decide(entry, self.max_deliveries)
        if isinstance(action, Notification):
            if action.key and not self.line.admits(entry, action):
                return False
            unfinished = None
            if not entry.again:
                try:
                    unfinished = self.handler.begin_one(action)
                except Exception as error:
                    unfinished = fail_with(error)
                if unfinished is None:
                    if action.key:
                        self.line.end([action.key], last=False)
                    self.breaker.succeeded()  # not at the end of the run: others may fail in it
                    return True
            self._work([(entry, action)], self._deliver(entry, action, unfinished))
        else:
            self._end_without_handler(entry, action)
        return False

    def _begin_batch(self) -> None:
        """Give the next entries in the line to the handler; one that was read before goes alone."""
        batch: list[tuple[Entry, Notification]] = []
        keys: set[str] = set()
        line, most = self.line.entries, self.handler.batch_size
        while line and len(batch) < most and not (line[0].again and (batch or self._has_to_wait(line[0]))):
            entry = line.popleft()
            action = decide(entry, self.max_deliveries)
            if not isinstance(action, Notification):
                self._end_without_handler(entry, action)
            elif not action.key or self.line.admits(entry, action, keys):
                batch.append((entry, action))
                if action.key:
                    keys.add(action.key)
                if entry.again:
                    self._work(batch, self._deliver(entry, action))
                    return
        if not batch:
            return
        began = self.clock.seconds()
        try:
            unfinished = self._batches.begin(batch)
        except Exception as error:
            unfinished = fail_with(error)
        if unfinished is None:
            self.line.end(keys, last=False)
            self.breaker.succeeded()
            self._end_run([entry for entry, _ in batch], self.clock.seconds() - began)
        else:
            self._work(batch, self._batches.run(batch, unfinished))

    def _end_without_handler(self, entry: Entry, action: SetAside | PassOver) -> None:
        """End an entry that is no event, or is given up."""
        self.isolation.end(entry.id)
        if isinstance(action, SetAside):
            self._work([(entry, None)], self._set_aside(Letter.of(entry.id, action, entry.deliveries)))
        else:
            self.counts.passed_over += 1
            self.open.end([entry])

    def _work(self, batch: Sequence[tuple[Entry, Notification | None]], coroutine: Coroutine[Any, Any, Batch]) -> None:
        """Occupy a slot, and the keys of a batch, until a coroutine has ended; put back what it returns."""
        first = batch[0][0].id
        keys = dict.fromkeys(action.key for _, action in batch if action is not None and action.key)
        self.line.begin(keys, first)

        def ended(_: None) -> None:
            if self._working.get(first) is work:
                del self._working[first]
            self.line.end(keys, last=self.breaker.is_open)
            self.breaker.release(first)
            self.open.changed()
            self._begin()

        async def run() -> None:
            try:
                self.line.put_back(await coroutine)
            except CancelledError:
                raise
            except Exception:
                self._log.failure("delivering entries failed unexpectedly; they are claimed and delivered again later")
                self.open.forget([entry.id for entry, _ in batch])

        work = run_in_background(run(), self._log)
        if not work.called:
            self._working[first] = work
        work.addCallback(ended)

    def _end_run(self, run: Sequence[Entry], seconds: float) -> None:
        """End entries whose handler returned at once; the breaker knows that already."""
        self.counts.handler_seconds.observe(seconds)
        self.counts.deliveries.observe(1, len(run))
        self.open.succeed(run)

    async def _deliver(self, entry: Entry, notification: Notification, unfinished: Unfinished | None = None) -> Batch:
        """
        Deliver an entry, act on how that ended, and return it if it is to be put back.

        @param unfinished: what the first call still has to do, if it was made.
        """
        match await self.attempts.deliver(entry, notification, unfinished):
            case Entry() as again:
                return [(again, notification)]
            case Letter() as letter:
                return await self._set_aside(letter)
            case Ended.HANDLED:
                self.open.succeed([entry])
            case Ended.LOST:
                self.open.forget([entry.id])
            case Ended.EXIT:
                self._leave([entry])
        return []

    def _leave(self, entries: Iterable[Entry]) -> None:
        """Begin no more, because the handler asks for the end of the process; the entries are handed over."""
        self._stopping = True
        self.open.by_id.update({entry.id: replace(entry, again=True) for entry in entries})

    async def _set_aside(self, letter: Letter) -> Batch:
        """Set an entry aside; its event is not kept while that is retried."""
        self.open.drop_event(letter.id, letter.deliveries)
        await self.aside.move(letter)
        return []
