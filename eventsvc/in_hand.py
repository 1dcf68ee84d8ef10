"""
The entries a consumer has in hand: each goes to the handler, and is done with
once that has returned.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from inspect import iscoroutine
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str

from eventsvc.background import run_in_background
from eventsvc.delivery import Action, Entry, Handle, PassOver, SetAside, after_failure, decide
from eventsvc.event import Notification
from eventsvc.interfaces import IEventGroup, Refused, Unknown

#: Takes an event; may return a Deferred or a coroutine.
Handler = Callable[[Notification], Any]


def nothing_to_flush() -> None:
    """A handler that keeps nothing back."""


#: Seconds between attempts to reach Redis about an entry.
_PAUSE = 0.5


@attrs.define(kw_only=True)
class Counts:
    """What a consumer has done, in entries; it only grows."""

    handled: int = 0
    failed: int = 0
    redelivered: int = 0
    passed_over: int = 0
    dead: int = 0


@attrs.define(eq=False)
class InHand:
    """
    Works on entries, C{concurrency} at a time and in their order.

    Those whose handler returns at once are done with together: a handler that
    keeps something back to do it for all of them has C{flush} to do it in.

    With a concurrency of 1 an entry that has to be tried again holds up those
    behind it, so that their order is kept.

    @ivar flush: called before an entry is done with; what it raises is a
        failure of the handler.
    @ivar entries: those not yet done with, by id.
    @ivar done: ids to be acknowledged.
    """

    group: IEventGroup
    handler: Handler
    clock: IReactorTime
    jitter: Callable[[], float]
    concurrency: int = 1
    max_deliveries: int = 5
    flush: Callable[[], object] = nothing_to_flush
    counts: Counts = attrs.field(factory=Counts)
    entries: dict[str, Entry] = attrs.field(factory=dict, init=False)
    done: list[str] = attrs.field(factory=list, init=False)
    _line: deque[Entry] = attrs.field(factory=deque, init=False)
    _working: dict[str, Deferred[None]] = attrs.field(factory=dict, init=False)
    _watchers: list[Deferred[None]] = attrs.field(factory=list, init=False)
    _is_beginning: bool = attrs.field(default=False, init=False)
    _stopping: bool = attrs.field(default=False, init=False)
    _cancelled: bool = attrs.field(default=False, init=False)
    _log = Logger()

    def take(self, entries: Iterable[Entry]) -> None:
        """Work on entries, but not on one that is in hand already."""
        new = {entry.id: entry for entry in entries if entry.id not in self.entries}
        self.entries.update(new)
        self._line.extend(new.values())
        self._begin()

    def take_done(self) -> Sequence[str]:
        """The ids to acknowledge, once."""
        done, self.done = self.done, []
        return done

    def when_changed(self) -> Deferred[None]:
        """Fire when next an entry is done with."""
        watcher: Deferred[None] = Deferred(self._watchers.remove)
        self._watchers.append(watcher)
        return watcher

    async def finish(self) -> None:
        """Begin with no more, and wait for those begun with."""
        self._stopping = True
        while self._working:
            await self.when_changed()

    def cancel(self) -> None:
        """Give up those begun with."""
        self._stopping = self._cancelled = True
        for work in list(self._working.values()):
            work.cancel()
        self._working.clear()

    def _begin(self) -> None:
        if self._is_beginning:
            return  # a handler that ended at once: the loop below goes on
        self._is_beginning = True
        handled: list[Entry] = []
        try:
            while self._line and len(self._working) < self.concurrency and not self._stopping:
                entry = self._line.popleft()
                if self._begin_with(entry):
                    handled.append(entry)
        finally:
            self._is_beginning = False
        if handled:
            self._end_run(handled)

    def _end_run(self, handled: Sequence[Entry]) -> None:
        """The handler returned at once for each of these."""
        try:
            self.flush()
        except Exception:
            failure = Failure()
            for entry in handled:
                self._work_on(entry, decide(entry, self.max_deliveries), fail(failure))
        else:
            self.counts.handled += len(handled)
            self._end([entry.id for entry in handled])

    def _begin_with(self, entry: Entry) -> bool:
        """Give an entry to the handler; say if it has returned already."""
        action = decide(entry, self.max_deliveries)
        attempt: Any = None
        if isinstance(action, Handle) and not entry.again:
            try:
                attempt = self.handler(action.notification)
            except Exception:
                attempt = fail()
            if attempt is None or not (isinstance(attempt, Deferred) or iscoroutine(attempt)):
                return True
        self._work_on(entry, action, attempt)
        return False

    def _work_on(self, entry: Entry, action: Action, attempt: Any) -> None:
        work = run_in_background(self._see_through(entry, action, attempt), self._log)
        if entry.id in self.entries:
            self._working[entry.id] = work

    async def _see_through(self, entry: Entry, action: Action, attempt: Any) -> None:
        match action:
            case Handle(notification):
                await self._deliver(entry, notification, attempt)
            case SetAside():
                await self._set_aside(entry, action, entry.deliveries)
            case PassOver():
                self.counts.passed_over += 1
                self._end([entry.id])

    async def _deliver(self, entry: Entry, notification: Notification, attempt: Any) -> None:
        """
        Deliver an entry until the handler returns or there is no more point.

        @param attempt: the handler's first result, if it was begun with.
        """
        deliveries = entry.deliveries
        while True:
            if attempt is None:
                await self._count_delivery(entry.id, deliveries)
                attempt = maybeDeferred(self.handler, notification)
            try:
                await attempt
                self.flush()
            except Exception as error:
                if self._cancelled:
                    raise
                self._log.failure("the handler failed on {id}, delivery {count}", id=entry.id, count=deliveries)
                self.counts.failed += 1
                words = f"{type(error).__name__}: {safe_str(error)}"
                follow = after_failure(deliveries, self.max_deliveries, words, self.jitter())
            else:
                self.counts.handled += 1
                self._end([entry.id])
                return
            if isinstance(follow, SetAside):
                await self._set_aside(entry, follow, deliveries)
                return
            await deferLater(self.clock, follow.after)
            deliveries += 1
            attempt = None

    async def _count_delivery(self, id: str, deliveries: int) -> None:
        """
        Note that the handler begins again.

        It is noted before, so that an entry that ends the process is given up
        at last.  If it cannot be noted the handler is not kept waiting.
        """
        self.counts.redelivered += 1
        with suppress(Refused, Unknown):
            await self.group.count_delivery(id, deliveries)

    async def _set_aside(self, entry: Entry, action: SetAside, deliveries: int) -> None:
        while True:
            try:
                moved = await self.group.set_aside(entry.id, action.reason, action.error, deliveries)
            except (Refused, Unknown):
                await deferLater(self.clock, _PAUSE)
            else:
                break
        if moved:
            self.counts.dead += 1
            self._log.error(
                "{id} is set aside, {why}: {error}",
                id=entry.id,
                why=action.reason,
                error=action.error,
                details={"alarm": "dead_letter"},
            )
        self._end([entry.id], acknowledge=False)

    def _end(self, ids: Sequence[str], acknowledge: bool = True) -> None:
        """Entries are done with."""
        for id in ids:
            del self.entries[id]
            self._working.pop(id, None)
        if acknowledge:
            self.done += ids
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            watcher.callback(None)
        self._begin()
