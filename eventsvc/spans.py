"""
The contract between roles and tracing: what a role says of its spans.

A role that is not traced has C{None} in place of these, and calls nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from eventsvc.event import Notification
from eventsvc.submission import BatchOutcome


class Carrier(Protocol):
    """
    What carries the trace context of a client: the texts of its headers, or C{None}.

    Source: W3C Trace Context.
    """

    @property
    def traceparent(self) -> str | None: ...

    @property
    def tracestate(self) -> str | None: ...


class AppendSpan(Protocol):
    """The span of a batch, from its first attempt until its outcome is known."""

    def end(self, outcome: BatchOutcome | None, unknown: bool, problem: str) -> None:
        """
        End the span; call it once.

        @param outcome: what the log answered; C{None} if the batch was given up.
        @param unknown: whether the batch may be stored although a client was not
            told so.
        @param problem: why the last attempt that failed did; empty if none did.
        """


class AppendSpans(Protocol):
    """Begins the spans of an appender."""

    def begin(self, requests: Sequence[Carrier], events: int) -> AppendSpan:
        """Begin the span of a batch with so many events, linked to the trace contexts of its requests."""


class HandleSpan(Protocol):
    """The span of one call of a handler, until the handler has finished."""

    def make_current(self) -> None:
        """Make it the current span of the calling C{contextvars.Context}, for as long as that lives."""

    def end(self, error: BaseException | None = None, pause: float | None = None) -> None:
        """
        End the span; call it once.

        @param error: what the handler failed with.
        @param pause: seconds after which the handler asks for its events again;
            then the error is no failure.
        """


class HandleSpans(Protocol):
    """Begins the spans of a consumer."""

    def begin(self, notifications: Sequence[Notification], is_batch: bool) -> HandleSpan:
        """
        Begin the span of one call of the handler.

        @param is_batch: whether the handler takes several events in one call.
        """
