"""
Makes spans of appends and of handler calls, in the words of OpenTelemetry's
semantic conventions for messaging.

This module and L{eventsvc.telemetry.span_export} alone import OpenTelemetry.
They are imported if tracing is on, and not otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Final

import attrs
from opentelemetry.context import Context, attach
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue
from twisted.python.reflect import safe_str

from eventsvc.event import Notification
from eventsvc.spans import Carrier
from eventsvc.submission import BatchOutcome
from eventsvc.text import shorten

#: Most links of a span: OpenTelemetry's own default.
MOST_LINKS: Final = 128
#: Longest C{traceparent} and C{tracestate} that are read: W3C asks for 512 of the latter.
_LONGEST: Final = 512

_STORED: Final = (BatchOutcome.APPENDED, BatchOutcome.DUPLICATE)
_read: Final = TraceContextTextMapPropagator().extract

Attributes = Mapping[str, AttributeValue]


@attrs.frozen
class StreamAppends:
    """
    Begins the spans of an appender: C{send}, one for each batch.

    The trace contexts in the messages are those of the clients, so the spans are
    of the kind CLIENT, and linked to them.  Source: semantic conventions for
    messaging spans, "Span kind" and "Producer spans".
    """

    tracer: Tracer
    stream: str
    more: Attributes

    def begin(self, requests: Sequence[Carrier], events: int) -> Append:
        """Begin a span; as L{eventsvc.spans.AppendSpans.begin}."""
        attributes = {
            **_describe("send", self.stream),
            "messaging.batch.message_count": events,
            **self.more,
        }
        return Append(
            self.tracer.start_span(
                f"send {self.stream}", Context(), SpanKind.CLIENT, attributes, links=_links_to(_read_contexts(requests))
            )
        )


@attrs.frozen
class Append:
    """The span of a batch; see L{eventsvc.spans.AppendSpan}."""

    span: Span

    def end(self, outcome: BatchOutcome | None, unknown: bool, problem: str) -> None:
        """End the span; C{error.type} is C{unknown}, C{lost}, C{full} or C{refused}."""
        if problem:
            self.span.add_event("attempt failed", {"eventsvc.problem": shorten(problem)})
        if unknown or outcome not in _STORED:
            kind = "unknown" if unknown else "refused" if outcome is None else outcome.value
            self.span.set_attribute("error.type", kind)
            self.span.set_status(Status(StatusCode.ERROR, shorten(problem) or None))
        self.span.end()


@attrs.frozen
class StreamHandling:
    """
    Begins the spans of a consumer: C{process}, one for each call of the handler.

    A span is linked to the trace context of each event, and is a child of it if
    there is one event.  Source: semantic conventions for messaging spans,
    "Consumer spans".
    """

    tracer: Tracer
    stream: str
    more: Attributes

    def begin(self, notifications: Sequence[Notification], is_batch: bool) -> Handling:
        """Begin a span; as L{eventsvc.spans.HandleSpans.begin}."""
        contexts = _read_contexts(notifications)
        parent = Context()
        attributes = {**_describe("process", self.stream), **self.more}
        if is_batch:
            attributes["messaging.batch.message_count"] = len(notifications)
        if len(notifications) == 1:
            [notification] = notifications
            attributes["messaging.message.id"] = str(notification.id)
            attributes["eventsvc.entry.id"] = notification.stream_id
            attributes["eventsvc.deliveries"] = notification.deliveries
            parent = contexts[0] if contexts else parent
        links = _links_to(contexts)
        name = f"process {self.stream}"
        return Handling(self.tracer.start_span(name, parent, SpanKind.CONSUMER, attributes, links=links), parent)


@attrs.frozen
class Handling:
    """The span of a call of the handler; see L{eventsvc.spans.HandleSpan}."""

    span: Span
    parent: Context

    def make_current(self) -> None:
        """Make it the current span of the calling context."""
        attach(set_span_in_context(self.span, self.parent))

    def end(self, error: BaseException | None = None, pause: float | None = None) -> None:
        """End the span; C{error.type} is the name of the class of the error."""
        if pause is not None:
            self.span.add_event("retry after", {"eventsvc.retry_after": pause})
        elif error is not None:
            kind, words = type(error).__qualname__, shorten(safe_str(error))
            self.span.add_event("exception", {"exception.type": kind, "exception.message": words})
            self.span.set_attribute("error.type", kind)
            self.span.set_status(Status(StatusCode.ERROR, words))
        self.span.end()


def _describe(operation: str, stream: str) -> dict[str, AttributeValue]:
    return {
        "messaging.system": "redis",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": stream,
    }


def _read_contexts(carriers: Iterable[Carrier]) -> list[Context]:
    """Return the trace contexts of carriers, each once, at most L{MOST_LINKS}, and without those that are malformed."""
    texts = {(each.traceparent, each.tracestate): None for each in carriers if each.traceparent}
    contexts = [_read_context(traceparent, tracestate) for traceparent, tracestate in islice(texts, MOST_LINKS)]
    return [context for context in contexts if _span_context(context).is_valid]


def _read_context(traceparent: str | None, tracestate: str | None) -> Context:
    """Return the trace context of two headers; an empty one if they are malformed."""
    if not traceparent or len(traceparent) > _LONGEST:
        return Context()
    carrier = {"traceparent": traceparent}
    if tracestate and len(tracestate) <= _LONGEST:
        carrier["tracestate"] = tracestate
    return _read(carrier, Context())


def _links_to(contexts: Iterable[Context]) -> list[Link]:
    return [Link(_span_context(context)) for context in contexts]


def _span_context(context: Context) -> SpanContext:
    return get_current_span(context).get_span_context()
