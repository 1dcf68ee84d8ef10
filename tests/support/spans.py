"""
Spans that are kept in memory, and the trace contexts of clients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer

TRACE: Final = "0af7651916cd43dd8448eb211c80319c"


def traceparent(number: int = 1, flags: str = "01") -> str:
    """Return the C{traceparent} of a client: the span with that number, in L{TRACE}."""
    return f"00-{TRACE}-{number:016x}-{flags}"


@attrs.define
class Spans:
    """Keeps the spans that have ended."""

    exporter: InMemorySpanExporter = attrs.field(factory=InMemorySpanExporter)
    provider: TracerProvider = attrs.field(init=False)

    @provider.default
    def _make(self) -> TracerProvider:
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        return provider

    @property
    def tracer(self) -> Tracer:
        return self.provider.get_tracer("test")

    @property
    def ended(self) -> Sequence[ReadableSpan]:
        return self.exporter.get_finished_spans()

    @property
    def only(self) -> ReadableSpan:
        """The span that is the only one."""
        [span] = self.ended
        return span


def attributes_of(span: ReadableSpan) -> Mapping[str, Any]:
    return dict(span.attributes or {})


def error_of(span: ReadableSpan) -> str | None:
    """Return the C{error.type} of a span; check that its status says the same."""
    error = attributes_of(span).get("error.type")
    assert span.status.is_ok is (error is None)
    return error


def links_of(span: ReadableSpan) -> list[str]:
    """Return the C{traceparent} of each link."""
    contexts = [link.context for link in span.links]
    return [f"00-{each.trace_id:032x}-{each.span_id:016x}-{each.trace_flags:02x}" for each in contexts]


def parent_of(span: ReadableSpan) -> int | None:
    """Return the number of the client's span that is the parent."""
    return None if span.parent is None else span.parent.span_id
