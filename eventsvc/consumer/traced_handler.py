"""
A handler each of whose calls is a span.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Sequence
from contextvars import Context, copy_context
from types import coroutine
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from eventsvc.consumer.bound_handler import BoundHandler, end_within, pause_of
from eventsvc.consumer.handler_call import Unfinished
from eventsvc.event import Notification
from eventsvc.spans import HandleSpan, HandleSpans


@attrs.define(eq=False, kw_only=True)
class TracedHandler(BoundHandler):
    """
    Begins the calls of a handler, each in a C{contextvars.Context} of its own
    where its span is the current one.

    # Note [Context of a call]

    Twisted runs what it resumes in the context of whoever began to wait, and
    that is the consumer.  So each step of a handler is run in its own context
    here, and the consumer's context never has the span::

        consumer:  begin |            reactor |              | end
        handler:         | until await        | rest         |
        context:         |   own              |   own        |

    A context is a copy of that in which the consumer was made.  A copy of the
    current one would not do: asyncio runs timers in the context that set them,
    so what a handler left there would reach the next.

    @ivar limit: seconds a call may take; 0: for ever.  It takes the place of
        C{timeout}, whose timers would be set in the context of the call.
    """

    spans: HandleSpans
    limit: float = 0.0
    _context: Context = attrs.field(factory=copy_context, init=False)

    def begin(self, argument: Notification | Sequence[Notification]) -> Unfinished | None:
        """Call the handler in a span; as L{BoundHandler.begin}."""
        notifications = [argument] if isinstance(argument, Notification) else argument
        span = self.spans.begin(notifications, is_batch=self.batch_size > 0)
        context = self._context.copy()
        context.run(span.make_current)
        try:
            unfinished = context.run(super().begin, argument)
        except BaseException as error:
            _end(span, error)
            raise
        if unfinished is None:
            span.end()
            return None
        return _finish(span, self._end_in_time(_run_in(context, unfinished)))

    def _begin_in_thread(self, defer_to_thread: Callable[..., Deferred[None]], argument: object) -> Deferred[None]:
        """Call the handler in a thread, whose own context is empty."""
        context = copy_context()  # one context cannot be entered twice at a time
        return super()._begin_in_thread(lambda run: defer_to_thread(context.run, run), argument)

    def _end_in_time(self, unfinished: Unfinished) -> Unfinished | Deferred[None]:
        return end_within(unfinished, self.limit, self.clock) if self.limit else unfinished


def trace(handler: BoundHandler, spans: HandleSpans) -> TracedHandler:
    """Return a handler that makes spans."""
    fields = {field.name: getattr(handler, field.name) for field in attrs.fields(BoundHandler) if field.init}
    return TracedHandler(**fields | {"timeout": 0.0}, spans=spans, limit=handler.timeout)


async def _finish(span: HandleSpan, unfinished: Unfinished | Deferred[None]) -> None:
    try:
        await unfinished
    except BaseException as error:
        _end(span, error)
        raise
    span.end()


def _end(span: HandleSpan, error: BaseException) -> None:
    span.end(error, pause_of(error) if isinstance(error, Exception) else None)


@coroutine
def _run_in(context: Context, steps: Coroutine[Any, Any, None]) -> Generator[Any, Any, None]:
    """Run a coroutine, each step of it in a context."""
    step: Callable[[Any], Any] = steps.send
    value: Any = None
    while True:
        try:
            waits_for = context.run(step, value)
        except StopIteration:
            return
        try:
            value = yield waits_for
            step = steps.send
        except BaseException as error:
            step, value = steps.throw, error
