"""
The entries a consumer has in flight: each is given to the handler, and is done
once the handler has finished.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

import attrs
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from eventsvc.consumer.counts import ConsumerCounts
from eventsvc.consumer.delivery import SetAside, decide
from eventsvc.consumer.delivery_attempts import DeliveryAttempts, Ended
from eventsvc.consumer.flush import Flush
from eventsvc.consumer.handler_call import Unfinished, call
from eventsvc.consumer.setting_aside import Letter, SettingAside
from eventsvc.event import Entry, Notification
from eventsvc.interfaces import Handler, IEventGroup
from eventsvc.net.background import run_in_background

#: Seconds that plain handlers may hold the reactor, one after another.
_SLICE: Final = 0.05


@attrs.define(eq=False)
class InFlight:
    """
    Gives entries to the handler, C{concurrency} at a time and in order.

    Entries whose handler returns at once are a run, and are done together: a
    handler that buffers events writes them in its C{flush}.  After L{_SLICE}
    seconds of such handlers the reactor has a turn, so that what is done is
    acknowledged and the rest renewed.

    With a concurrency of 1 an entry that is retried blocks those behind it, so
    that their order is kept.

    @ivar flush: runs before an entry is done; an error in it is a failure of
        the handler.
    @ivar exit: called with a sentence when the handler asks to end the process;
        no entry is begun after that.
    @ivar after_slice: called when a slice is over and more entries wait, to
        acknowledge what is done.
    @ivar entries: those that are not done yet, by id.
    @ivar done: ids to acknowledge.
    """

    group: IEventGroup
    handler: Handler
    clock: IReactorTime
    jitter: Callable[[], float]
    concurrency: int = 1
    max_deliveries: int = 5
    flush: Flush = attrs.field(factory=Flush)
    exit: Callable[[str], object] = lambda _: None
    counts: ConsumerCounts = attrs.field(factory=ConsumerCounts)
    after_slice: Callable[[], None] = attrs.field(default=lambda: None, init=False)
    aside: SettingAside = attrs.field(init=False)
    entries: dict[str, Entry] = attrs.field(factory=dict, init=False)
    done: list[str] = attrs.field(factory=list, init=False)
    _line: deque[Entry] = attrs.field(factory=deque, init=False)
    _working: set[Deferred[None]] = attrs.field(factory=set, init=False)
    _watchers: list[Deferred[None]] = attrs.field(factory=list, init=False)
    #: entries in work that another consumer has taken over
    _lost: set[str] = attrs.field(factory=set, init=False)
    _attempts: DeliveryAttempts = attrs.field(init=False)
    _next_slice: IDelayedCall | None = attrs.field(default=None, init=False)
    _is_beginning: bool = attrs.field(default=False, init=False)
    _stopping: bool = attrs.field(default=False, init=False)
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self.aside = SettingAside(self.group, self.clock, self.jitter, self.counts, lambda id: self._forget([id]))
        self._attempts = DeliveryAttempts(
            group=self.group,
            handler=self.handler,
            flush=self.flush,
            exit=self.exit,
            clock=self.clock,
            jitter=self.jitter,
            max_deliveries=self.max_deliveries,
            counts=self.counts,
            lost=self._lost,
        )

    @property
    def load(self) -> int:
        """The number of entries that wait for the handler, or are with it."""
        return len(self.entries) - len(self.aside)

    @property
    def is_busy(self) -> bool:
        """Whether a new entry would have to wait for the handler."""
        return bool(self._line) or len(self._working) >= self.concurrency

    def take(self, entries: Iterable[Entry]) -> None:
        """Take entries in flight, except those that are in flight already."""
        new: dict[str, Entry] = {}
        for entry in entries:
            if entry.id in self.entries:
                self._lost.discard(entry.id)  # it is ours again
            else:
                new[entry.id] = entry
        self.entries.update(new)
        self._line.extend(new.values())
        self._begin()

    def take_done(self) -> Sequence[str]:
        """Return the ids to acknowledge, each once."""
        done, self.done = self.done, []
        return done

    def drop(self, ids: Collection[str]) -> None:
        """
        Drop entries that another consumer has taken over.

        A handler that has begun goes on; if it fails, it is not retried.
        """
        lost = self.entries.keys() & set(ids)
        self.aside.drop(lost)
        kept = deque(entry for entry in self._line if entry.id not in lost)
        if len(kept) < len(self._line):
            unbegun = [entry.id for entry in self._line if entry.id in lost]
            self._line = kept
            self._forget(unbegun)
        self._lost.update(lost & self.entries.keys())

    def when_changed(self) -> Deferred[None]:
        """Fire when the next entry is done."""
        watcher: Deferred[None] = Deferred(self._watchers.remove)
        self._watchers.append(watcher)
        return watcher

    async def finish(self) -> None:
        """Begin no more entries, and wait for those that were begun."""
        self._stopping = True
        while self._working:
            await self.when_changed()
        self.aside.stop()

    def cancel(self) -> None:
        """Cancel the entries that were begun."""
        self._stopping = self._attempts.cancelled = True
        self.aside.stop()
        working, self._working = self._working, set()
        for work in working:
            work.cancel()

    def _begin(self) -> None:
        """
        Begin the next entries in the line, for one slice.

        Does nothing if it is running already, because a handler may end at
        once, or while the next slice is scheduled.
        """
        if self._is_beginning or self._next_slice is not None:
            return
        self._is_beginning = True
        handled: list[Entry] = []
        now, failed_before = self.clock.seconds, self.flush.failed
        end = now() + _SLICE
        try:
            while self._line and len(self._working) < self.concurrency and not self._stopping:
                entry = self._line.popleft()
                if self._begin_with(entry):
                    handled.append(entry)
                if now() >= end:
                    self._next_slice = self.clock.callLater(0, self._begin_slice)
                    break
        finally:
            self._is_beginning = False
        if handled:
            self._end_run(handled, failed_before)
        if self._next_slice is not None:
            self.after_slice()

    def _begin_slice(self) -> None:
        self._next_slice = None
        self._begin()

    def _begin_with(self, entry: Entry) -> bool:
        """Give an entry to the handler; return whether the handler has finished."""
        action = decide(entry, self.max_deliveries)
        if isinstance(action, Notification):
            if entry.again:
                self._work(self._deliver(entry, action))
                return False
            try:
                unfinished = call(self.handler, action)
            except Exception as error:
                unfinished = _fail(error)
            if unfinished is None:
                return True
            self._work(self._deliver(entry, action, unfinished))
        elif isinstance(action, SetAside):
            self._work(self._set_aside(Letter.of(entry.id, action, entry.deliveries)))
        else:
            self.counts.passed_over += 1
            self._end([entry.id])
        return False

    def _work(self, coroutine: Unfinished) -> None:
        """Occupy a slot until a coroutine has ended."""

        def ended(_: None) -> None:
            self._working.discard(work)
            self._changed()
            self._begin()

        work = run_in_background(coroutine, self._log)
        if work.called:
            self._begin()
        else:
            self._working.add(work)
            work.addCallback(ended)

    def _end_run(self, run: Sequence[Entry], failed_before: int) -> None:
        """Flush a run: the handler returned at once for each of its entries."""
        if self.flush.is_needed:
            self._work(self._flush_run(run, failed_before))
        else:
            self._succeed(run)

    async def _flush_run(self, run: Sequence[Entry], failed_before: int) -> None:
        """
        Flush what the handler has buffered of a run.

        If that fails, its entries are delivered again one by one, before all
        others: the first from here, the rest from the head of the line.
        """
        try:
            await self.flush.run(failed_before)
        except Exception as error:
            first, *rest = run
            self._forget([entry.id for entry in rest if entry.id in self._lost])
            behind = [
                replace(entry, deliveries=entry.deliveries + 1, again=True)
                for entry in rest
                if entry.id in self.entries
            ]
            self._line.extendleft(reversed(behind))
            notification = decide(first, self.max_deliveries)
            assert isinstance(notification, Notification)
            await self._deliver(first, notification, _fail(error))
        else:
            self._succeed(run)

    async def _deliver(self, entry: Entry, notification: Notification, unfinished: Unfinished | None = None) -> None:
        """
        Deliver an entry until that has ended, and act on how it ended.

        @param unfinished: what the first call still has to do, if it was made.
        """
        match await self._attempts.deliver(entry, notification, unfinished):
            case Ended.HANDLED:
                self._succeed([entry])
            case Ended.LOST:
                self._forget([entry.id])
            case Ended.EXIT:  # the entry stays in flight, and is handed over
                self._stopping = True
            case Letter() as letter:
                await self._set_aside(letter)

    async def _set_aside(self, letter: Letter) -> None:
        """Set an entry aside; its event is not kept while that is retried."""
        if not await self.aside.move(letter):
            self.entries[letter.id] = Entry(letter.id, None, letter.deliveries, again=True)

    def _succeed(self, run: Sequence[Entry]) -> None:
        """Count entries as handled, and end them."""
        self.counts.handled += len(run)
        self._end([entry.id for entry in run])

    def _end(self, ids: Sequence[str]) -> None:
        """End entries, and have them acknowledged."""
        self.done += ids
        self._forget(ids)

    def _forget(self, ids: Sequence[str]) -> None:
        """Remove entries from those in flight."""
        for id in ids:
            self.entries.pop(id, None)
        self._lost.difference_update(ids)
        self._changed()

    def _changed(self) -> None:
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            watcher.callback(None)


async def _fail(error: Exception) -> None:
    raise error
