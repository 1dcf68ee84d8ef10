"""
Delivers one entry, and retries with backoff while its handler fails.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping

import attrs
from msgspec.structs import replace
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger, LogLevel
from twisted.python.reflect import safe_str

from eventsvc.consumer.bound_handler import BoundHandler, HandlerTimeout, pause_of
from eventsvc.consumer.breaker import Breaker
from eventsvc.consumer.counts import ConsumerCounts
from eventsvc.consumer.delivery import SetAside, after_failure
from eventsvc.consumer.handler_call import HandlerExit, HandlerMistake, Unfinished
from eventsvc.consumer.open_entries import OpenEntries
from eventsvc.consumer.setting_aside import Letter
from eventsvc.errors import Reject
from eventsvc.event import Entry, Notification
from eventsvc.interfaces import IEventGroup


class Ended(enum.Enum):
    """How the deliveries of an entry ended, if it is not set aside."""

    HANDLED = "the handler has finished"
    LOST = "the entry is not ours any more"
    EXIT = "the handler asked for the end of the process"


@attrs.define
class _Failing:
    """
    What is known of an entry that is being delivered.

    @ivar deliveries: those that count, this one included.
    @ivar since: time of its first failure that counts; C{None} before.
    """

    deliveries: int
    since: float | None = None


@attrs.define(eq=False)
class DeliveryAttempts:
    """
    Calls a handler for an entry until it succeeds or the deliveries are used up.

    @ivar exit: called with a sentence when the handler asks for the end of the
        process.
    @ivar acknowledge_early: called before a delivery is counted, so that what is
        done does not come again if that delivery kills the process.
    @ivar ended: called with the id of an entry that was read before when a call
        for it has ended.
    @ivar retry_for: seconds for which an event is retried, even if its
        deliveries are used up.
    @ivar open: knows which entries are not ours any more.
    @ivar cancelled: whether running calls were cancelled: an error is not
        counted as a failure of the handler then.
    """

    group: IEventGroup
    handler: BoundHandler
    breaker: Breaker
    exit: Callable[[str], object]
    acknowledge_early: Callable[[], None]
    ended: Callable[[str], None]
    clock: IReactorTime
    jitter: Callable[[], float]
    max_deliveries: int
    retry_for: float
    counts: ConsumerCounts
    open: OpenEntries
    cancelled: bool = attrs.field(default=False, init=False)
    #: what is known of those whose delivery has not ended, be they put back or cancelled
    _unended: dict[str, tuple[Entry, _Failing]] = attrs.field(factory=dict, init=False)
    _put_back: dict[str, _Failing] = attrs.field(factory=dict, init=False)
    _pauses: set[Deferred[None]] = attrs.field(factory=set, init=False)
    _stopping: bool = attrs.field(default=False, init=False)
    _log = Logger()

    async def deliver(
        self, entry: Entry, notification: Notification, unfinished: Unfinished | None = None
    ) -> Ended | Letter | Entry:
        """
        Deliver an entry, and return how that ended.

        Returns the entry if it is to be put back, because the breaker is open.

        @param unfinished: what the first call still has to do, if it was made.
        """
        failing = self._put_back.pop(entry.id, None) or _Failing(entry.deliveries)
        self._unended[entry.id] = entry, failing
        try:
            ended = await self._try_often(entry, notification, failing, unfinished)
        except Exception as error:
            if self.cancelled or isinstance(error, CancelledError):
                raise CancelledError from error
            self._unended.pop(entry.id, None)
            raise
        finally:
            self.breaker.forget(entry.id)
        if isinstance(ended, Entry):
            self._put_back[entry.id] = failing
        else:
            self._unended.pop(entry.id, None)
        return ended

    async def _try_often(
        self, entry: Entry, notification: Notification, failing: _Failing, unfinished: Unfinished | None
    ) -> Ended | Letter | Entry:
        """Deliver an entry until that has ended, or it is to be put back."""
        while True:
            follow = await self._try_once(entry, notification, failing, unfinished)
            if not isinstance(follow, int | float):
                return follow
            if not self.breaker.is_open:
                await self.pause(follow)
            if entry.id in self.open.lost:
                return Ended.LOST
            if self.breaker.is_open:
                return replace(entry, deliveries=self._stored(entry, failing), again=True)
            unfinished = None

    async def _try_once(
        self, entry: Entry, notification: Notification, failing: _Failing, unfinished: Unfinished | None
    ) -> Ended | Letter | float:
        """Deliver an entry once; return how that ended, or the seconds until the next time."""
        began = self.clock.seconds()
        try:
            if unfinished is None:
                await self._count_delivery(entry, failing)
                began = self.clock.seconds()
                unfinished = self.handler.begin_one(replace(notification, deliveries=failing.deliveries))
            if unfinished is not None:
                await unfinished
        except HandlerExit as error:
            self.note_exit(entry.id, error)
            return Ended.EXIT
        except Exception as error:
            if self.cancelled:
                raise
            follow = self._note_error(entry, failing, error, began)
            error.__traceback__ = None  # one object that is raised again and again would collect them all
            return Letter.of(entry.id, follow, failing.deliveries) if isinstance(follow, SetAside) else follow
        else:
            self.counts.deliveries.observe(failing.deliveries)
            self.breaker.succeeded(began)
            return Ended.HANDLED
        finally:
            self.counts.handler_seconds.observe(self.clock.seconds() - began)
            if entry.again:
                self.ended(entry.id)

    def has_put_back(self, id: str) -> bool:
        """Return whether an entry was put back and is not tried at present."""
        return id in self._put_back

    @property
    def put_back(self) -> int:
        """The number of entries that were put back and are not tried at present."""
        return len(self._put_back)

    def forget(self, ids: Iterable[str]) -> None:
        """Forget entries that are not ours any more."""
        for id in ids:
            self._put_back.pop(id, None)
            self._unended.pop(id, None)
            self.breaker.forget(id)

    @property
    def unended(self) -> Mapping[str, int]:
        """The deliveries that were spent on entries, by id, without the one that has not ended."""
        return {id: self._stored(entry, failing) - 1 for id, (entry, failing) in self._unended.items()}

    def stop_retrying(self) -> None:
        """Cancel those that wait for their next delivery, now or later: others will make it."""
        self._stopping = True
        self.breaker.stop()
        for pause in list(self._pauses):
            pause.cancel()

    def note_exit(self, id: str, error: HandlerExit) -> None:
        """Pass on that the handler asks for the end of the process."""
        self._log.failure("the handler asked to end the process on entry {id}", id=id)
        self.exit(f"{error}")

    async def pause(self, seconds: float) -> None:
        """
        Wait before something is delivered again.

        @raise CancelledError: there will be no next delivery, because of a stop.
        """
        if self._stopping:
            raise CancelledError
        pause: Deferred[None] = deferLater(self.clock, seconds)
        self._pauses.add(pause)
        try:
            await pause
        finally:
            self._pauses.discard(pause)

    def _note_error(self, entry: Entry, failing: _Failing, error: Exception, began: float) -> SetAside | float:
        """Return what follows an error of the handler: that, or a delivery after so many seconds."""
        pause = pause_of(error)
        if pause is not None:
            words = "the handler asks for entry {id} again after {seconds:g} s: {error}"
            self._log.debug(words, id=entry.id, seconds=pause, error=safe_str(error))
            self.breaker.postpone(entry.id, pause)
            return pause
        if isinstance(error, Reject):
            self.breaker.succeeded(began)
            return SetAside("rejected", safe_str(error))
        words = "the handler failed on {id}, delivery {count}"
        self._log.failure(words, level=LogLevel.warn, id=entry.id, count=failing.deliveries)
        self.counts.failed += 1
        self.counts.timed_out += isinstance(error, HandlerTimeout)
        if not self.breaker.failed(entry.id):
            return 0.0
        now = self.clock.seconds()
        failing.since = now if failing.since is None else failing.since
        problem = safe_str(error) if isinstance(error, HandlerMistake) else f"{type(error).__name__}: {safe_str(error)}"
        overdue = now - failing.since >= self.retry_for
        follow = after_failure(failing.deliveries, self.max_deliveries, problem, self.jitter(), overdue)
        if isinstance(follow, SetAside):
            return follow
        failing.deliveries += 1
        return follow.after

    def _stored(self, entry: Entry, failing: _Failing) -> int:
        """
        Return the number of deliveries that Redis is told.

        An entry that is retried for longer than its deliveries last counts as
        being at its last.
        """
        return min(failing.deliveries, max(self.max_deliveries, entry.deliveries))

    async def _count_delivery(self, entry: Entry, failing: _Failing) -> None:
        """
        Count a delivery in Redis before the handler is called again.

        So an entry that ends the process is eventually given up.  If Redis
        does not count it, the handler is called anyway.
        """
        self.counts.redelivered += 1
        if self.open.in_doubt or entry.id in self.open.lost:
            return
        self.acknowledge_early()
        try:
            await self.group.count_delivery([entry.id], self._stored(entry, failing))
        except CancelledError:
            raise
        except Exception as error:
            self._log.debug("cannot count a delivery of entry {id}: {error}", id=entry.id, error=error)
