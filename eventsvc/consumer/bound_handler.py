"""
A handler in its one form, whatever shape it was written in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.python.reflect import safe_repr

from eventsvc.consumer.handler_call import HandlerExit, HandlerMistake, Unfinished, call
from eventsvc.errors import LONGEST_PAUSE, BatchFailed, RetryAfter
from eventsvc.event import Notification

#: Seconds that a cancelled handler has to end.
_GRACE: Final = 1.0


class HandlerTimeout(Exception):
    """The handler has taken longer than it may."""


def do_nothing() -> None:
    """Do nothing: the start and stop of a handler without either."""


@attrs.define(eq=False)
class BoundHandler:
    """
    Begins the calls of a handler.

    @ivar function: takes a notification, or a list of them if there is a
        C{batch_size}.
    @ivar batch_size: most events in one call; 0: it takes one event.
    @ivar timeout: seconds a call may take; 0: for ever.
    @ivar defer_to_thread: calls something in a thread, for handlers that block.
    @ivar most_threads: calls that may run in threads, with those that were given
        up and still run.
    """

    function: Callable[[Any], object]
    clock: IReactorTime
    batch_size: int = 0
    timeout: float = 0.0
    defer_to_thread: Callable[..., Deferred[None]] | None = None
    most_threads: int = 0
    start: Callable[[], object] = do_nothing
    stop: Callable[[], object] = do_nothing
    _in_threads: set[object] = attrs.field(factory=set, init=False)

    def begin(self, argument: Notification | Sequence[Notification]) -> Unfinished | None:
        """Call the handler; see L{call}."""
        if self.defer_to_thread is not None:
            unfinished: Unfinished | None = _await(self._begin_in_thread(self.defer_to_thread, argument))
        else:
            unfinished = call(self.function, argument)
        if unfinished is None or not self.timeout:
            return unfinished
        return _await(end_within(unfinished, self.timeout, self.clock))

    def _begin_in_thread(self, defer_to_thread: Callable[..., Deferred[None]], argument: object) -> Deferred[None]:
        """
        Call the handler in a thread.

        A thread cannot be cancelled.  When too many are left that hang, no other
        call would ever begin, so the process asks for its end.

        @raise HandlerExit: too many threads hang.
        """
        if len(self._in_threads) >= self.most_threads > 0:
            raise HandlerExit(f"{len(self._in_threads)} calls of the handler hang in threads: the process ends")
        token = object()
        self._in_threads.add(token)

        def run() -> None:
            try:
                _call_plain(self.function, argument)
            finally:
                self._in_threads.discard(token)

        return defer_to_thread(run)

    def begin_one(self, notification: Notification) -> Unfinished | None:
        """Call the handler for one event alone."""
        if not self.batch_size:
            return self.begin(notification)
        return self._begin_batch_of_one(notification)

    async def _begin_batch_of_one(self, notification: Notification) -> None:
        try:
            unfinished = self.begin([notification])
            if unfinished is not None:
                await unfinished
        except BatchFailed as failed:
            errors = errors_of(failed, [notification.stream_id])
            raise next(
                iter(errors.values()), HandlerMistake(f"BatchFailed names no event of the batch: {failed}")
            ) from None


def pause_of(error: Exception) -> float | None:
    """Return the seconds after which a handler wants its event again; C{None} if it asks for nothing that is valid."""
    if not isinstance(error, RetryAfter):
        return None
    seconds: object = getattr(error, "seconds", None)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
        return None
    return float(min(seconds, LONGEST_PAUSE))


def errors_of(failed: BatchFailed, ids: Iterable[str]) -> dict[str, Exception]:
    """Return what a handler says of those events of a batch that failed, by their ids."""
    errors: object = failed.errors
    if not isinstance(errors, Mapping):
        return {}
    return {id: _as_exception(errors[id]) for id in ids if id in errors}


def _as_exception(error: object) -> Exception:
    if isinstance(error, Exception):
        return error
    return HandlerMistake(f"the handler raised BatchFailed with {safe_repr(error)}: expected an Exception")


def _call_plain(function: Callable[[Any], object], argument: object) -> None:
    """Call a function in a thread, where nothing that it returns could be awaited."""
    unfinished = call(function, argument)
    if unfinished is not None:
        unfinished.close()
        raise HandlerMistake("the handler returned an awaitable in a thread: CONSUMER_THREADS is for plain functions")


async def _await(deferred: Deferred[None]) -> None:
    await deferred


def end_within(unfinished: Unfinished, seconds: float, clock: IReactorTime) -> Deferred[None]:
    """
    Await what a handler has left to do for so long, then cancel it.

    Fails with L{HandlerTimeout} when it was cancelled, and has ended or has had
    L{_GRACE} seconds to end.  A handler that goes on in spite of it is
    abandoned: its event is delivered again while it still runs.
    """
    running = ensureDeferred(unfinished)
    ended: Deferred[None] = Deferred(lambda _: running.cancel())
    timers = []

    def time_out() -> None:
        timers.append(clock.callLater(_GRACE, fail, ", and cannot be cancelled: it still runs"))
        running.cancel()

    def fail(how: str) -> None:
        if not ended.called:
            ended.errback(HandlerTimeout(f"the handler took longer than {seconds:g} s{how}"))

    def finish(result: Any) -> None:
        for timer in timers:
            if timer.active():
                timer.cancel()
        if len(timers) > 1 and isinstance(result, Failure) and not result.check(HandlerExit):
            fail("")
        elif not ended.called:
            ended.callback(result)  # a Failure too

    timers.append(clock.callLater(seconds, time_out))
    running.addBoth(finish)
    return ended
