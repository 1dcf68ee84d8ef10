"""
The settings of tracing.
"""

from __future__ import annotations

import attrs

from eventsvc.settings.kinds import TRACING
from eventsvc.settings.reading import setting


@attrs.frozen(kw_only=True)
class TracingSettings:
    """Whether spans are made.  Where they go is set by OpenTelemetry's own variables."""

    tracing: str = setting(
        "TRACING",
        TRACING,
        "OFF",
        "Spans for appends and handlers; otlp sends them to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names, and "
        "needs the extra [otel].",
    )
