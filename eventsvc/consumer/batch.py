"""
Delivers several entries with one call of the handler.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final

import attrs
from twisted.logger import Logger, LogLevel

from eventsvc.consumer.bound_handler import BoundHandler, HandlerTimeout, errors_of, pause_of
from eventsvc.consumer.counts import ConsumerCounts
from eventsvc.consumer.delivery_attempts import DeliveryAttempts
from eventsvc.consumer.handler_call import HandlerExit, Unfinished
from eventsvc.consumer.open_entries import OpenEntries
from eventsvc.errors import BatchFailed, RetryAfter
from eventsvc.event import Entry, Notification

#: Entries with their notifications, in order.
Batch = Sequence[tuple[Entry, Notification]]

_NONE: Final[Mapping[str, Exception]] = {}


@attrs.define(eq=False)
class BatchDelivery:
    """
    Delivers a batch, and finds the entries in it that fail.

    # Note [Halving]

    A batch that fails as a whole does not say which of its events is to blame.
    A call for each event would cost as many transactions as there are events;
    halves cost about 2 log2(n) calls for each event that fails::

        1 2 3 4 5 6 7 8   fails
        1 2 3 4           succeeds
                5 6 7 8   fails
                5 6       fails
                5         fails: a failed delivery, retried alone
                  6       succeeds
                    7 8   succeeds

    The order is kept.  Only a failure alone counts against an event.

    @ivar deliver: delivers one entry alone, and returns what is to be put back.
    @ivar succeed: called with entries that were handled.
    @ivar leave: called with the entries on which the handler asks for the end of
        the process.
    @ivar may_begin: whether the handler may be called.
    """

    handler: BoundHandler
    attempts: DeliveryAttempts
    counts: ConsumerCounts
    open: OpenEntries
    deliver: Callable[[Entry, Notification, Unfinished | None], Coroutine[Any, Any, Batch]]
    succeed: Callable[[Sequence[Entry]], None]
    leave: Callable[[Iterable[Entry]], None]
    may_begin: Callable[[], bool]
    _log = Logger()

    def begin(self, batch: Batch) -> Unfinished | None:
        """Call the handler with a batch."""
        if len(batch) == 1:
            return self.handler.begin_one(batch[0][1])
        return self.handler.begin([notification for _, notification in batch])

    async def run(self, batch: Batch, unfinished: Unfinished | None = None) -> Batch:
        """
        Deliver a batch, and return those entries that are to be put back.

        @param unfinished: what the first call still has to do, if it was made.
        """
        while True:
            if len(batch) < 2:
                return await self.deliver(*batch[0], unfinished) if batch else []
            try:
                failed, began = await self._attempt(batch, unfinished)
                break
            except HandlerExit as error:
                self.attempts.note_exit(batch[0][0].id, error)
                self.leave([entry for entry, _ in batch])
                return []
            except RetryAfter as error:
                error.__traceback__ = None
                await self.attempts.pause(pause_of(error) or 0.0)
                batch, unfinished = self._still_ours(batch), None
                if not self.may_begin():
                    return batch
        if failed is None:
            middle = len(batch) // 2
            return await self._run_each([batch[:middle], batch[middle:]])
        if handled := [entry for entry, _ in batch if not failed or entry.id not in failed]:
            self.counts.deliveries.observe(1, len(handled))
            self.succeed(handled)
            self.attempts.breaker.succeeded(began)
            self.attempts.breaker.suspect(failed)
        return await self._run_each([[each] for each in batch if each[0].id in failed], failed)

    async def _run_each(self, parts: Sequence[Batch], failed: Mapping[str, Exception] = _NONE) -> Batch:
        """Deliver parts of a batch in order, for as long as the handler may be called."""
        back: list[tuple[Entry, Notification]] = []
        for part in parts:
            ours = self._still_ours(part)
            if not self.may_begin():
                back += ours
            elif ours:
                error = failed.get(ours[0][0].id)
                back += await self.run(ours, None if error is None else fail_with(error))
        return back

    async def _attempt(self, batch: Batch, unfinished: Unfinished | None) -> tuple[dict[str, Exception] | None, float]:
        """
        Call the handler; return the errors of those that failed, and when the call began.

        C{None} if it is not known which failed.

        @raise RetryAfter: the batch is wanted again later.
        """
        began = self.attempts.clock.seconds()
        try:
            if unfinished is None:
                unfinished = self.handler.begin([notification for _, notification in batch])
            if unfinished is not None:
                await unfinished
        except HandlerExit:
            raise
        except BatchFailed as error:
            return errors_of(error, [entry.id for entry, _ in batch]) or None, began
        except Exception as error:
            if self.attempts.cancelled or pause_of(error) is not None:
                raise
            words = "the handler failed on a batch of {count} from {id} on, which is halved to find the event"
            self._log.failure(words, level=LogLevel.warn, count=len(batch), id=batch[0][0].id)
            error.__traceback__ = None  # see DeliveryAttempts
            self.counts.timed_out += isinstance(error, HandlerTimeout)
            return None, began
        else:
            return {}, began
        finally:
            self.counts.handler_seconds.observe(self.attempts.clock.seconds() - began)

    def _still_ours(self, batch: Batch) -> Batch:
        """Forget the entries of a batch that another consumer has taken over, and return the rest."""
        lost = [entry.id for entry, _ in batch if entry.id in self.open.lost]
        if lost:
            self.attempts.forget(lost)
            self.open.forget(lost)
        return [each for each in batch if each[0].id not in lost]


async def fail_with(error: Exception) -> None:
    """Fail: what is left to do of a call that raised an error."""
    raise error
