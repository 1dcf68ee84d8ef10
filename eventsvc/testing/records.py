"""
Records the calls of a handler, and what is logged meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import implementer

from eventsvc.consumer.bound_handler import BoundHandler, errors_of
from eventsvc.consumer.handler_call import Unfinished
from eventsvc.errors import BatchFailed
from eventsvc.event import Notification


@attrs.define
class Call:
    """
    A call of the handler.

    @ivar at: the time when it began, in seconds.
    @ivar events: the descriptions of its events.
    @ivar deliveries: C{Notification.deliveries} of the first.
    @ivar seconds: how long it took; C{None} while it runs, or if its process
        was killed.
    @ivar error: what it raised.
    """

    at: float
    events: Sequence[str]
    deliveries: int
    seconds: float | None = None
    error: Exception | None = None


@attrs.define(eq=False)
class CallRecord:
    """
    The calls of a handler so far.

    @ivar handled: the descriptions of the events that it has handled, each time
        that it has.
    """

    calls: list[Call] = attrs.field(factory=list)
    handled: list[str] = attrs.field(factory=list)


@implementer(ILogObserver)
@attrs.define(eq=False)
class LogRecord:
    """
    What was logged so far.

    @ivar messages: from C{info} on.
    """

    messages: list[str] = attrs.field(factory=list)
    alarms: list[str] = attrs.field(factory=list)

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_level", LogLevel.info) >= LogLevel.info:
            self.messages.append(formatEvent(event))
        if alarm := event.get("details", {}).get("alarm"):
            self.alarms.append(alarm)


@attrs.define(eq=False)
class RecordedHandler(BoundHandler):
    """
    A handler whose calls are recorded, in a process that may be killed.

    @ivar after_call: called with the descriptions of events when the handler has
        finished with them; it may kill the process.
    """

    record: CallRecord = attrs.field(factory=CallRecord)
    after_call: Callable[[Sequence[str]], object] = attrs.field(default=lambda _: None)
    killed: bool = attrs.field(default=False, init=False)

    @classmethod
    def of(
        cls, bound: BoundHandler, record: CallRecord, after_call: Callable[[Sequence[str]], object]
    ) -> RecordedHandler:
        """Return a handler that is recorded."""
        fields: dict[str, Any] = {
            field.name: getattr(bound, field.name) for field in attrs.fields(BoundHandler) if field.init
        }
        return cls(**fields, record=record, after_call=after_call)

    def _is_killed(self) -> bool:
        return self.killed

    def begin(self, argument: Notification | Sequence[Notification]) -> Unfinished | None:
        if self._is_killed():
            return _never()
        events = [argument] if isinstance(argument, Notification) else list(argument)
        call = Call(self.clock.seconds(), [event.description for event in events], events[0].deliveries)
        self.record.calls.append(call)
        try:
            unfinished = super().begin(argument)
        except Exception as error:
            self._end(call, events, error)
            if self._is_killed():
                return _never()
            raise
        if unfinished is not None:
            return self._finish(call, events, unfinished)
        self._end(call, events)
        return _never() if self._is_killed() else None

    async def _finish(self, call: Call, events: Sequence[Notification], unfinished: Unfinished) -> None:
        try:
            await unfinished
        except Exception as error:
            self._end(call, events, error)
            if self._is_killed() and not isinstance(error, CancelledError):
                await _never()
            raise
        self._end(call, events)
        if self._is_killed():
            await _never()

    def _end(self, call: Call, events: Sequence[Notification], error: Exception | None = None) -> None:
        if self._is_killed():
            return
        call.seconds, call.error = self.clock.seconds() - call.at, error
        failed = {event.stream_id for event in events} if error is not None else set()
        if isinstance(error, BatchFailed):
            failed = set(errors_of(error, failed)) or failed
        handled = [event.description for event in events if event.stream_id not in failed]
        self.record.handled += handled
        self.after_call(handled)


async def _never() -> None:
    """Wait for ever: nobody learns how a call ended whose process was killed."""
    await Deferred()
