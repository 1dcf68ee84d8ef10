"""
Tests for the spans of appends: L{eventsvc.producer.traced_appender} and
L{eventsvc.telemetry.tracing}.
"""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from opentelemetry.trace import SpanKind

from eventsvc.event import Event
from eventsvc.producer.traced_appender import trace
from eventsvc.telemetry.tracing import MOST_LINKS, StreamAppends
from eventsvc.testing import Fate
from tests.support.producer_world import ProducerWorld, make_world
from tests.support.spans import Spans, attributes_of, error_of, links_of, parent_of, traceparent


@attrs.define
class TracedWorld:
    """An appender on a fake clock, and the spans that it makes."""

    world: ProducerWorld
    spans: Spans

    def post(self, text: str, *more: str, traceparent: str | None = None, tracestate: str | None = None) -> Any:
        """Post events together, as a client with a trace context."""
        events = [Event(each, traceparent=traceparent, tracestate=tracestate) for each in (text, *more)]
        return self.world.appender.submit(events, (), lambda _, result: self.world.told.update({text: result}))

    def run(self, seconds: float = 1.0) -> None:
        self.world.run(seconds)


def make_traced(*fates: Fate, **limits: Any) -> TracedWorld:
    spans = Spans()
    world = make_world(iter(fates), **limits)
    world.appender.stop()
    world.appender = trace(world.appender, StreamAppends(spans.tracer, "orders", {"server.address": "here"}))
    world.appender.start()
    return TracedWorld(world, spans)


def test_a_batch_is_a_span_in_the_words_of_the_conventions() -> None:
    traced = make_traced()
    traced.post("a", "b")
    traced.post("c")
    traced.run()
    span = traced.spans.only
    assert (span.name, span.kind, span.parent, span.links) == ("send orders", SpanKind.CLIENT, None, ())
    assert attributes_of(span) == {
        "messaging.system": "redis",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "orders",
        "messaging.batch.message_count": 3,
        "server.address": "here",
    }
    assert error_of(span) is None
    assert traced.world.stored() == ["a", "b", "c"]


def test_a_span_is_linked_to_the_traces_of_its_requests_and_to_each_once() -> None:
    traced = make_traced()
    traced.post("a", traceparent=traceparent(1), tracestate="vendor=x")
    traced.post("b")
    traced.post("c", traceparent=traceparent(2))
    traced.post("d", traceparent=traceparent(2))
    traced.run()
    span = traced.spans.only
    assert links_of(span) == [traceparent(1), traceparent(2)]
    assert span.links[0].context.trace_state.to_header() == "vendor=x"
    assert parent_of(span) is None


def test_the_links_of_a_span_are_bounded() -> None:
    traced = make_traced()
    for number in range(1, MOST_LINKS + 50):
        traced.post(f"{number}", traceparent=traceparent(number))
    traced.run()
    assert links_of(traced.spans.only) == [traceparent(number) for number in range(1, MOST_LINKS + 1)]


@pytest.mark.parametrize("malformed", ["", "x", "00-0-0-0", traceparent(0), "ff" + traceparent()[2:], "1" * 1_000_000])
def test_a_malformed_trace_context_is_no_link(malformed: str) -> None:
    traced = make_traced()
    traced.post("a", traceparent=malformed, tracestate="vendor=x")
    traced.run()
    assert links_of(traced.spans.only) == []


@pytest.mark.parametrize("malformed", ["", "=", ",,", "a=b," * 1_000_000, "é=1"])
def test_a_malformed_tracestate_costs_no_link(malformed: str) -> None:
    traced = make_traced()
    traced.post("a", traceparent=traceparent(), tracestate=malformed)
    traced.run()
    assert links_of(traced.spans.only) == [traceparent()]


# Outcomes


@pytest.mark.parametrize("fate", [Fate.REFUSED, Fate.CUT_BEFORE, Fate.CUT_AFTER, Fate.LATE])
def test_a_batch_that_is_stored_in_the_end_is_one_span_without_an_error(fate: Fate) -> None:
    traced = make_traced(fate)
    traced.post("a")
    traced.run()
    span = traced.spans.only
    assert error_of(span) is None
    assert [event.name for event in span.events] == ["attempt failed"]
    assert traced.world.stored() == ["a"]


def test_a_batch_whose_clients_are_told_unknown_is_an_error_although_it_is_stored_later() -> None:
    traced = make_traced(Fate.CUT_AFTER, Fate.SILENT, wait=1.0)
    traced.post("a")
    traced.world.live(20.0)
    assert error_of(traced.spans.only) == "unknown"
    assert traced.world.stored() == ["a"]


def test_a_client_that_has_left_is_told_nothing_and_is_no_error() -> None:
    traced = make_traced()
    traced.post("a").abandon()
    traced.post("b")
    traced.world.turn()
    traced.run()
    assert error_of(traced.spans.only) is None


def test_a_batch_that_is_refused_until_nobody_waits_is_refused() -> None:
    traced = make_traced(*[Fate.REFUSED] * 100, wait=2.0)
    traced.post("a")
    traced.run(5.0)
    span = traced.spans.only
    assert error_of(span) == "refused"
    assert span.status.description
    assert traced.world.stored() == []


def test_a_batch_for_a_full_stream_is_an_error() -> None:
    traced = make_traced()
    traced.world.stream.hard_max = 0
    traced.post("a")
    traced.run()
    assert error_of(traced.spans.only) == "full"


def test_a_batch_that_is_lost_is_an_error() -> None:
    """The log has lost the sequences of the producer, while an attempt was in doubt."""
    traced = make_traced(Fate.FINE, Fate.CUT_AFTER)
    traced.post("a")
    traced.run()
    traced.post("b")
    traced.world.run(0.002)
    traced.world.stream.producer_ids.clear()
    traced.run()
    assert [error_of(span) for span in traced.spans.ended] == [None, "lost"]


def test_a_batch_in_doubt_at_a_stop_is_unknown() -> None:
    traced = make_traced(Fate.SILENT)
    traced.post("a")
    traced.run()
    assert traced.spans.ended == ()
    traced.world.appender.stop()
    assert error_of(traced.spans.only) == "unknown"
