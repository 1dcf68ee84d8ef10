"""
Turns tracing on, if the settings say so.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
from twisted.application.service import MultiService

from eventsvc.settings import RedisSettings
from eventsvc.settings.reading import InvalidSettings
from eventsvc.settings.tracing import TracingSettings
from eventsvc.telemetry.metrics import Figure, Metrics

if TYPE_CHECKING:
    from eventsvc.consumer.bound_handler import BoundHandler
    from eventsvc.producer.appender import Appender
    from eventsvc.telemetry.span_export import SpanExport

_NO_LIBRARY = (
    "TRACING=otlp: {error}: install eventsvc with its extra [otel], or run "
    "`pip install 'opentelemetry-sdk >= 1.30' 'opentelemetry-exporter-otlp-proto-http >= 1.30'`"
)


@attrs.frozen
class Tracing:
    """Makes the parts of roles that are traced."""

    export: SpanExport

    def trace_appender(self, appender: Appender, stream: str, redis: RedisSettings) -> Appender:
        """Return an appender that makes spans, in place of one that was not started."""
        from eventsvc.producer import traced_appender
        from eventsvc.telemetry.tracing import StreamAppends

        server: dict[str, str | int] = {"server.address": redis.host, "server.port": redis.port}
        if redis.sentinels:  # the address changes
            server = {}
        return traced_appender.trace(appender, StreamAppends(self.export.tracer, stream, server))

    def trace_handler(self, handler: BoundHandler, stream: str, group: str, consumer: str) -> BoundHandler:
        """Return a handler that makes spans."""
        from eventsvc.consumer import traced_handler
        from eventsvc.telemetry.tracing import StreamHandling

        names = {"messaging.consumer.group.name": group, "messaging.client.id": consumer}
        return traced_handler.trace(handler, StreamHandling(self.export.tracer, stream, names))


def start_tracing(
    reactor: Any, settings: TracingSettings, role: str, process: MultiService, metrics: Metrics
) -> Tracing | None:
    """
    Put the export of spans into a process, if tracing is on; call it before other parts are added.

    The process stops it after them, so their last spans are exported too.

    @raise InvalidSettings: a library is missing, or one of OpenTelemetry's variables is invalid.
    """
    if settings.tracing == "OFF":
        return None
    try:
        from eventsvc.telemetry.span_export import make_export
    except ImportError as error:
        raise InvalidSettings(_NO_LIBRARY.format(error=error)) from None
    export = make_export(role, os.environ, reactor, reactor.callFromThread)
    export.setServiceParent(process)
    metrics.add(tracing_figures(lambda: export.account.lost))
    return Tracing(export)


def tracing_figures(lost: Callable[[], int]) -> list[Figure]:
    """Return the metrics of tracing."""
    return [Figure("counter", "eventsvc_spans_lost", "Spans that were not exported.", lost)]
