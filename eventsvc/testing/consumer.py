"""
Runs a handler on a consumer in memory, for tests of handlers.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final

import attrs
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import globalLogPublisher

from eventsvc.consumer.handler_shape import bind, check, count_threads, make
from eventsvc.event import EVENT_FIELD, Event, Notification, encode_notification, format_timestamp
from eventsvc.testing.clock import ProcessClock, run_clock
from eventsvc.testing.clock_loop import ClockLoop
from eventsvc.testing.group import MemoryEventGroup
from eventsvc.testing.link import Link
from eventsvc.testing.log import MemoryStream
from eventsvc.testing.notification import accept, make_notification
from eventsvc.testing.process import Process, make_consumer
from eventsvc.testing.records import Call, CallRecord, LogRecord, RecordedHandler

#: Seconds that a stop may take after the drain.
_FAREWELL: Final = 5.0


@attrs.define(eq=False)
class MemoryConsumer:
    """
    Runs a handler on a consumer in memory, as long as a C{with} block::

        with MemoryConsumer(handle, max_deliveries=2) as consumer:
            consumer.post("a", "b")
            consumer.advance(60.0)
            assert consumer.handled == ["a", "b"]

    The consumer is the one that runs in production, with a stream in memory.  Its
    clock stands still until L{advance}.  It reads an event a few milliseconds
    after it was posted.

    Events are known by their descriptions: give each its own.

    @ivar handler: what C{CONSUMER_HANDLER} may name: a function, an object, a
        class or a factory.
    @ivar concurrency: C{CONSUMER_CONCURRENCY}; the next fields are settings too.
    @ivar threads: C{CONSUMER_THREADS}.  There are none here: calls are made one
        after another.
    @ivar reactor: C{"asyncio"}: asyncio's loop runs the handler, on the same
        clock; C{"auto"}: if the handler asks for it.
    @ivar environment: the settings of the handler's own.
    @ivar ended: why the handler has ended the process; empty if it has not.
    """

    handler: Any
    concurrency: int = attrs.field(default=1, kw_only=True)
    max_deliveries: int = attrs.field(default=5, kw_only=True)
    retry_for: float = attrs.field(default=0.0, kw_only=True)
    handler_timeout: float = attrs.field(default=0.0, kw_only=True)
    drain_timeout: float = attrs.field(default=10.0, kw_only=True)
    threads: int = attrs.field(default=0, kw_only=True)
    reactor: str = attrs.field(default="auto", kw_only=True)
    environment: Mapping[str, str] = attrs.field(factory=lambda: os.environ, kw_only=True)
    clock: ProcessClock = attrs.field(factory=ProcessClock, kw_only=True)
    ended: str = attrs.field(default="", init=False)
    _stream: MemoryStream = attrs.field(init=False)
    _record: CallRecord = attrs.field(factory=CallRecord, init=False)
    _log: LogRecord = attrs.field(factory=LogRecord, init=False)
    _posted: dict[str, str] = attrs.field(factory=dict, init=False)
    _kill_after: Counter[str] = attrs.field(factory=Counter, init=False)
    _process: Process | None = attrs.field(default=None, init=False)
    _killed: list[Process] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        check(self.handler, _name_of(self.handler))
        self._stream = MemoryStream(self.clock)

    def __enter__(self) -> MemoryConsumer:
        globalLogPublisher.addObserver(self._log)
        self.start()
        return self

    def __exit__(
        self, type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            globalLogPublisher.removeObserver(self._log)
            for process in self._killed:
                process.end()

    @property
    def calls(self) -> Sequence[Call]:
        """The calls of the handler so far."""
        return self._record.calls

    @property
    def handled(self) -> Sequence[str]:
        """The events that the handler has handled, in the order in which it finished; twice if it did twice."""
        return self._record.handled

    @property
    def unacknowledged(self) -> Sequence[str]:
        """The events that were posted, and are neither acknowledged nor dead letters."""
        group = self._stream.groups.get("group")
        dead = {letter["id"] for letter in self._stream.dead}
        return [
            text
            for id, text in self._posted.items()
            if id not in dead and (group is None or (place := int(id[:-2])) > group.last or place in group.pending)
        ]

    @property
    def dead(self) -> Mapping[str, str]:
        """The dead letters: reason and error by event, such as C{"failed: KeyError: 'x'"}."""
        return {self._posted[letter["id"]]: f"{letter['reason']}: {letter['error']}" for letter in self._stream.dead}

    @property
    def alarms(self) -> Sequence[str]:
        """The alarms that were logged, such as C{dead_letter}."""
        return self._log.alarms

    @property
    def messages(self) -> Sequence[str]:
        """The messages that were logged, from C{info} on."""
        return self._log.messages

    def post(
        self, *events: str | Event | Notification, type: str | None = None, key: str | None = None, data: object = None
    ) -> None:
        """
        Add events to the stream: by their descriptions, as a client posts them, or as handlers get them.

        @param type: the type of those given by their description, as are C{key}
            and C{data}.
        """
        for event in events:
            now, number = format_timestamp(round(self.clock.seconds() * 1e9)), len(self._posted) + 1
            if isinstance(event, str):
                event = make_notification(event, type=type, key=key, data=data, id=number, timestamp=now)
            elif isinstance(event, Event):
                event = accept(event, id=number, timestamp=now)
            id = self._stream.add({EVENT_FIELD: encode_notification(event)})
            self._posted[id] = event.description

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        run_clock(_Steps(self), seconds)

    def start(self) -> None:
        """Start a consumer, after L{stop}."""
        if self._process is not None:
            raise RuntimeError("the consumer runs already")
        name, clock = _name_of(self.handler), self.clock.current
        handler = make(self.handler, name, self.environment)
        threads = count_threads(handler, name, self.threads)
        bound = bind(handler, clock, self.handler_timeout, maybeDeferred if threads else None)
        link = Link(clock)
        recorded = RecordedHandler.of(bound, self._record, self._after_call)
        consumer = make_consumer(
            group=MemoryEventGroup(self._stream, link),
            handler=recorded,
            clock=clock,
            drain_timeout=self.drain_timeout,
            concurrency=threads or self.concurrency,
            max_deliveries=self.max_deliveries,
            retry_for=self.retry_for,
            exit=self._end,
        )
        asked = "asyncio" in (self.reactor, getattr(self.handler, "reactor", None))
        self._process = Process(consumer, recorded, link, ClockLoop(clock) if asked else None)
        consumer.startService()

    def stop(self) -> None:
        """Stop the consumer as C{SIGTERM} does: what runs may finish, the rest is handed over."""
        process = self._process
        if process is None:
            return
        process.call(process.stop)
        steps, end = _Steps(self), self.clock.seconds() + self.drain_timeout + _FAREWELL
        while not process.is_stopped and self.clock.seconds() < end and (calls := steps.getDelayedCalls()):
            steps.advance(max(0.0, min(call.getTime() for call in calls) - self.clock.seconds()))
        self._process = None
        process.kill()
        self.clock.lose_timers()
        process.end()

    def crash(self) -> None:
        """
        Kill the consumer as C{SIGKILL} does, and start another of its name, which takes over.

        Calls that run never end.  A class or factory makes a new handler.
        """
        process = self._process
        if process is None:
            raise RuntimeError("no consumer runs")
        process.kill()
        self._killed.append(process)
        self._process = None
        self.clock.lose_timers()
        self.start()

    def crash_after(self, *descriptions: str) -> None:
        """L{crash} when the handler has handled an event next, before that is acknowledged."""
        self._kill_after.update(descriptions)

    def disconnect(self, seconds: float) -> None:
        """Lose the connection to Redis for so long."""
        process = self._process
        if process is not None:
            process.call(process.link.disconnect)
            self.clock.callLater(seconds, process.link.connect)

    def _after_call(self, handled: Sequence[str]) -> None:
        found = [text for text in handled if self._kill_after[text]]
        if found:
            self._kill_after.subtract(found)
            self.crash()

    def _end(self, sentence: str) -> None:
        """End the process, because the handler asks for it."""
        self.ended = sentence
        if self._process is not None:
            self.clock.callLater(0, self._process.stop)

    def _step(self, seconds: float) -> None:
        """Let time pass until the next timer."""
        if self._process is None:
            self.clock.current.advance(seconds)
        else:
            self._process.call(self.clock.current.advance, seconds)


@attrs.frozen
class _Steps:
    """The clock of a consumer in memory, as what advances it sees it."""

    consumer: MemoryConsumer

    def seconds(self) -> float:
        return self.consumer.clock.seconds()

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        return self.consumer.clock.getDelayedCalls()

    def advance(self, seconds: float) -> None:
        self.consumer._step(seconds)


def _name_of(handler: object) -> str:
    return getattr(handler, "__qualname__", type(handler).__qualname__)
