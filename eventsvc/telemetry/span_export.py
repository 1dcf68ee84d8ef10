"""
Sends spans to a collector, without ever waiting for it.

OpenTelemetry's own exporter does the work in a thread of its own.  What is here
bounds it, counts what is lost, says so once, and lets the process exit in time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from threading import Lock, Thread
from typing import Any, Final

import attrs
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Tracer, set_tracer_provider
from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from eventsvc import __version__
from eventsvc.settings.reading import InvalidSettings
from eventsvc.text import shorten

#: Seconds within which the last spans must be sent when the process ends.
FAREWELL: Final = 2.0

_QUEUE: Final = "OTEL_BSP_MAX_QUEUE_SIZE"
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


class SdkLog(logging.Handler):
    """
    Takes what OpenTelemetry logs, most of it once for each span or attempt.

    @ivar said: what its exporter logged since this was last emptied.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.said: list[str] = []
        self._log = Logger()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record of the exporter, and log it for those who debug."""
        text = record.getMessage()
        self._log.debug("{name}: {text}", name=record.name, text=text)
        if record.name.startswith("opentelemetry.exporter"):
            self.said = [*self.said[:1], text]


@attrs.define(eq=False)
class SpanAccount:
    """
    The account of spans that have ended.  Any thread may use it.

    @ivar most: how many may wait; those beyond are lost.
    @ivar waiting: those that were not exported yet.
    @ivar lost: those that will never be.
    """

    most: int
    waiting: int = 0
    lost: int = 0
    _is_failing: bool = False
    _overflowed: bool = False
    _is_closed: bool = False
    _lock: Lock = attrs.field(factory=Lock)
    _log = Logger()

    @property
    def is_failing(self) -> bool:
        """Whether the last export failed."""
        return self._is_failing

    def admit(self) -> bool:
        """Count a span that has ended; return whether it may wait."""
        with self._lock:
            if self.waiting < self.most:
                self.waiting += 1
                return True
            self.lost += 1
            told, self._overflowed = self._overflowed, True
        if not told:
            words = "spans are lost: {most} wait for the collector already; eventsvc_spans_lost_total counts them"
            self._log.warn(words, most=self.most)
        return False

    def exported(self, spans: int, problem: str | None) -> None:
        """Count spans that were exported, or were not because of a problem; log when that changes."""
        with self._lock:
            if self._is_closed:  # they were counted then
                return
            self.waiting -= spans
            self.lost += spans if problem is not None else 0
            changed = self._is_failing is (problem is None)
            self._is_failing = problem is not None
        if changed and problem is None:
            self._log.info("spans are exported again; {lost} are lost", lost=self.lost)
        elif changed:
            self._log.warn("spans cannot be exported, and are lost: {problem}", problem=shorten(problem or "", 500))

    def close(self) -> None:
        """Count as lost what still waits."""
        with self._lock:
            self._is_closed = True
            left, self.waiting = self.waiting, 0
            self.lost += left
        if left:
            self._log.warn("{left} spans are lost: the collector did not take them before the process ended", left=left)


@attrs.define(eq=False)
class CountedExporter(SpanExporter):
    """Keeps account of what an exporter does."""

    exporter: SpanExporter
    account: SpanAccount
    log: SdkLog

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export spans; never raises."""
        self.log.said = []
        try:
            result = self.exporter.export(spans)
        except Exception as error:
            result = SpanExportResult.FAILURE
            self.log.said = [f"{type(error).__name__}: {error}"]
        words = "; ".join(self.log.said) or "no reason is known"
        self.account.exported(len(spans), None if result is SpanExportResult.SUCCESS else words)
        return result

    def shutdown(self) -> None:
        """Stop the exporter."""
        self.exporter.shutdown()


@attrs.define(eq=False)
class BoundedProcessor(SpanProcessor):
    """Gives ended spans to a processor, as long as not too many wait there."""

    processor: SpanProcessor
    account: SpanAccount

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Pass on that a span was begun."""
        self.processor.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        """Pass on that a span has ended, unless it is not sampled or is lost."""
        context = span.get_span_context()
        if context is not None and context.trace_flags.sampled and self.account.admit():
            self.processor.on_end(span)

    def shutdown(self) -> None:
        """Export what waits, and stop."""
        self.processor.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Export what waits."""
        return self.processor.force_flush(timeout_millis)


@attrs.define(eq=False, slots=False)
class SpanExport(Service):
    """
    Exports the spans of a process, and at its end those that wait.

    @ivar call_from_thread: has the reactor call something.
    @ivar farewell: seconds that the end may take; what is left then is lost.
    """

    provider: TracerProvider
    exporter: SpanExporter
    account: SpanAccount
    clock: IReactorTime
    call_from_thread: Callable[..., object]
    farewell: float = FAREWELL

    @property
    def tracer(self) -> Tracer:
        """What makes the spans of eventsvc."""
        return self.provider.get_tracer("eventsvc", __version__)

    def stopService(self) -> Deferred[None]:
        """Export what waits, in a thread, for which nobody waits longer than C{farewell} seconds."""
        super().stopService()
        ended: Deferred[None] = Deferred()

        def end() -> None:
            try:
                if self.account.is_failing:
                    self.exporter.shutdown()  # it would wait before its next attempt
                self.provider.shutdown()
            finally:
                self.call_from_thread(ended.callback, None)

        Thread(target=end, name="spans", daemon=True).start()
        return ended.addTimeout(self.farewell, self.clock).addErrback(_give_up).addCallback(self._close)

    def _close(self, _: None) -> None:
        self.account.close()


def _give_up(failure: Failure) -> None:
    failure.trap(TimeoutError)


def make_export(
    role: str, environment: Mapping[str, str], clock: IReactorTime, call_from_thread: Callable[..., object]
) -> SpanExport:
    """
    Return what exports the spans of a role over OTLP, as OpenTelemetry's own variables say.

    @raise InvalidSettings: a variable has a value that OpenTelemetry cannot use.
    """
    log = SdkLog()
    logging.getLogger("opentelemetry").addHandler(log)
    try:
        _check_protocol(environment)
        export = export_with(OTLPSpanExporter(), role, environment, log, clock, call_from_thread)
    except (ValueError, OSError) as error:
        raise InvalidSettings(f"TRACING=otlp: OpenTelemetry cannot use its OTEL_ variables: {error}") from error
    set_tracer_provider(export.provider)  # for the spans of handlers; it has no effect if there is one already
    return export


def export_with(
    exporter: SpanExporter,
    role: str,
    environment: Mapping[str, str],
    log: SdkLog,
    clock: IReactorTime,
    call_from_thread: Callable[..., object],
    **more: Any,
) -> SpanExport:
    """
    Return what exports the spans of a role with an exporter.

    @raise ValueError: a variable has a value that OpenTelemetry cannot use.
    """
    account = SpanAccount(_read_queue(environment))
    counted = CountedExporter(exporter, account, log)
    provider = TracerProvider(resource=_describe(role), shutdown_on_exit=False)
    provider.add_span_processor(BoundedProcessor(BatchSpanProcessor(counted, account.most), account))
    return SpanExport(provider, counted, account, clock, call_from_thread, **more)


def _check_protocol(environment: Mapping[str, str]) -> None:
    for name in _PROTOCOLS:
        if environment.get(name, "http/protobuf") != "http/protobuf":
            raise ValueError(f"{name}={environment[name]!r}: expected http/protobuf")


def _read_queue(environment: Mapping[str, str]) -> int:
    text = environment.get(_QUEUE, "2048")
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"{_QUEUE}={text!r}: expected a whole number")
    return int(text)


def _describe(role: str) -> Resource:
    """Return the resource of a process: what the environment says of it goes first."""
    own = Resource.create({"service.name": f"eventsvc-{role}", "service.version": __version__})
    return own.merge(OTELResourceDetector().detect())
