"""
An appender each of whose batches is a span.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from eventsvc.event import Event
from eventsvc.producer.appender import Appender
from eventsvc.producer.backlog import PendingRequest
from eventsvc.spans import AppendSpans
from eventsvc.submission import BatchOutcome, IdempotencyKey, Result


@attrs.define(eq=False, kw_only=True)
class TracedAppender(Appender):
    """Stores events as L{Appender} does, and makes a span of each batch."""

    spans: AppendSpans

    def submit(
        self,
        events: Sequence[Event],
        keys: Sequence[IdempotencyKey],
        answer: Callable[[PendingRequest, Result], None],
        since: float | None = None,
    ) -> PendingRequest:
        """Store events and call C{answer} later; as L{Appender.submit}."""
        request = super().submit(events, keys, answer, since)
        request.traceparent, request.tracestate = events[0].traceparent, events[0].tracestate  # all have the same
        return request

    async def _commit(self, batch: Sequence[PendingRequest]) -> BatchOutcome | None:
        """Attempt a batch in a span; as L{Appender._commit}."""
        span = self.spans.begin(batch, sum([len(request.ids) for request in batch]))
        outcome = None
        try:
            outcome = await super()._commit(batch)
        finally:
            unknown = any(request.sent and (request.late or outcome is None) for request in batch)
            span.end(outcome, unknown, batch[0].problem)
        return outcome


def trace(appender: Appender, spans: AppendSpans) -> TracedAppender:
    """Return an appender that makes spans, in place of one that was not started."""
    fields = {field.name: getattr(appender, field.name) for field in attrs.fields(Appender) if field.init}
    return TracedAppender(**fields, spans=spans)
