"""
Delivers one entry, and retries with backoff while its handler fails.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Set

import attrs
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger, LogLevel
from twisted.python.reflect import safe_str

from eventsvc.consumer.counts import ConsumerCounts
from eventsvc.consumer.delivery import Retry, SetAside, after_failure
from eventsvc.consumer.flush import Flush
from eventsvc.consumer.handler_call import HandlerExit, HandlerMistake, Unfinished, call
from eventsvc.consumer.setting_aside import Letter
from eventsvc.event import Entry, Notification
from eventsvc.interfaces import Handler, IEventGroup


class Ended(enum.Enum):
    """How the deliveries of an entry ended, if it is not set aside."""

    HANDLED = "the handler has finished"
    LOST = "another consumer has taken the entry over"
    EXIT = "the handler asked for the end of the process"


@attrs.define(eq=False)
class DeliveryAttempts:
    """
    Calls a handler for an entry until it succeeds or the deliveries are used up.

    @ivar exit: called with a sentence when the handler asks for the end of the
        process.
    @ivar lost: ids of entries that another consumer has taken over; its owner
        adds to it.
    @ivar cancelled: whether running calls were cancelled: an error is not
        counted as a failure of the handler then.
    """

    group: IEventGroup
    handler: Handler
    flush: Flush
    exit: Callable[[str], object]
    clock: IReactorTime
    jitter: Callable[[], float]
    max_deliveries: int
    counts: ConsumerCounts
    lost: Set[str]
    cancelled: bool = attrs.field(default=False, init=False)
    _log = Logger()

    async def deliver(
        self, entry: Entry, notification: Notification, unfinished: Unfinished | None = None
    ) -> Ended | Letter:
        """
        Deliver an entry, and return how that ended.

        @param unfinished: what the first call still has to do, if it was made.
        """
        deliveries, failed_before = entry.deliveries, self.flush.failed
        while True:
            try:
                if unfinished is None:
                    await self._count_delivery(entry.id, deliveries)
                    failed_before = self.flush.failed
                    unfinished = call(self.handler, notification)
                if unfinished is not None:
                    await unfinished
                await self.flush.run(failed_before)
            except HandlerExit as error:
                self._log.failure("the handler asked to end the process on entry {id}", id=entry.id)
                self.exit(f"{error}")
                return Ended.EXIT
            except Exception as error:
                if self.cancelled:
                    raise
                follow = self._note_failure(entry, deliveries, error)
            else:
                return Ended.HANDLED
            if isinstance(follow, SetAside):
                return Letter.of(entry.id, follow, deliveries)
            await deferLater(self.clock, follow.after)
            if entry.id in self.lost:
                return Ended.LOST
            deliveries, unfinished = deliveries + 1, None

    def _note_failure(self, entry: Entry, deliveries: int, error: Exception) -> Retry | SetAside:
        words = "the handler failed on {id}, delivery {count}"
        self._log.failure(words, level=LogLevel.warn, id=entry.id, count=deliveries)
        self.counts.failed += 1
        problem = str(error) if isinstance(error, HandlerMistake) else f"{type(error).__name__}: {safe_str(error)}"
        return after_failure(deliveries, self.max_deliveries, problem, self.jitter())

    async def _count_delivery(self, id: str, deliveries: int) -> None:
        """
        Count a delivery in Redis before the handler is called again.

        So an entry that ends the process is eventually given up.  If Redis
        does not count it, the handler is called anyway.
        """
        self.counts.redelivered += 1
        try:
            await self.group.count_delivery(id, deliveries)
        except CancelledError:
            raise
        except Exception as error:
            self._log.debug("cannot count a delivery of entry {id}: {error}", id=id, error=error)
