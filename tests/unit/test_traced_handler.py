"""
Tests for the spans of handler calls: L{eventsvc.consumer.traced_handler} and
L{eventsvc.telemetry.tracing}.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from contextvars import ContextVar, copy_context
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.trace import INVALID_SPAN, SpanKind, get_current_span
from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from twisted.internet.task import deferLater

from eventsvc.consumer.bound_handler import BoundHandler
from eventsvc.consumer.traced_handler import trace
from eventsvc.errors import BatchFailed, Reject, RetryAfter
from eventsvc.event import EVENT_FIELD, Notification, encode_notification
from eventsvc.telemetry.tracing import StreamHandling
from tests.support.consumer_world import ConsumerWorld, eager
from tests.support.failing_handlers import raise_now
from tests.support.spans import TRACE, Spans, attributes_of, error_of, links_of, parent_of, traceparent


@pytest.fixture
def spans() -> Spans:
    return Spans()


def traced(world: ConsumerWorld, spans: Spans, handler: Any = None, **options: Any) -> Any:
    """Start a consumer that makes spans."""
    handling = StreamHandling(spans.tracer, "orders", {"messaging.consumer.group.name": "group"})
    return eager(world.consumer(handler, wrap=partial(trace, spans=handling), **options))


def add(world: ConsumerWorld, text: str, context: str | None = None) -> None:
    world.stream.add({EVENT_FIELD: encode_notification(Notification(7, text, "now", traceparent=context))})


def current() -> int:
    """Return the id of the current span; 0 if there is none."""
    return get_current_span().get_span_context().span_id


def ids(spans: Spans) -> list[int]:
    contexts = [span.get_span_context() for span in spans.ended]
    return [context.span_id for context in contexts if context is not None]


# What spans say


def test_an_event_that_is_handled_is_a_span_in_the_trace_of_its_client(consuming: ConsumerWorld, spans: Spans) -> None:
    traced(consuming, spans)
    add(consuming, "a", traceparent(5))
    consuming.run(1.0)
    span = spans.only
    assert (span.name, span.kind) == ("process orders", SpanKind.CONSUMER)
    assert (parent_of(span), links_of(span)) == (5, [traceparent(5)])
    assert span.context is not None
    assert f"{span.context.trace_id:032x}" == TRACE
    assert attributes_of(span) == {
        "messaging.system": "redis",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "orders",
        "messaging.consumer.group.name": "group",
        "messaging.message.id": "7",
        "eventsvc.entry.id": "1-0",
        "eventsvc.deliveries": 1,
    }
    assert error_of(span) is None


@pytest.mark.parametrize("malformed", [None, "", "x", traceparent(0), "1" * 100_000])
def test_an_event_without_a_trace_begins_one(malformed: str | None, consuming: ConsumerWorld, spans: Spans) -> None:
    traced(consuming, spans)
    add(consuming, "a", malformed)
    consuming.run(1.0)
    assert (spans.only.parent, spans.only.links) == (None, ())
    assert consuming.seen == ["a"]


def test_an_event_that_its_client_does_not_sample_is_no_span(consuming: ConsumerWorld, spans: Spans) -> None:
    seen: list[bool] = []
    traced(consuming, spans, lambda _: seen.append(get_current_span().get_span_context().trace_flags.sampled))
    add(consuming, "a", traceparent(5, flags="00"))
    consuming.run(1.0)
    assert spans.ended == ()
    assert seen == [False]


def test_a_batch_is_one_span_that_is_linked_to_each_event(consuming: ConsumerWorld, spans: Spans) -> None:
    traced(consuming, spans, batch=lambda batch: consuming.seen.append(str(len(batch))))
    for number in (1, 2, 3):
        add(consuming, f"{number}", traceparent(number))
    consuming.run(1.0)
    assert consuming.seen == ["3"]
    span = spans.only
    assert (parent_of(span), links_of(span)) == (None, [traceparent(number) for number in (1, 2, 3)])
    assert attributes_of(span)["messaging.batch.message_count"] == 3
    assert "messaging.message.id" not in attributes_of(span)


def test_a_batch_of_one_event_is_in_its_trace(consuming: ConsumerWorld, spans: Spans) -> None:
    traced(consuming, spans, batch=lambda batch: None)
    add(consuming, "a", traceparent(5))
    consuming.run(1.0)
    assert (parent_of(spans.only), links_of(spans.only)) == (5, [traceparent(5)])
    assert attributes_of(spans.only)["messaging.batch.message_count"] == 1


def test_the_page_names_every_attribute_and_no_other(consuming: ConsumerWorld, spans: Spans) -> None:
    traced(consuming, spans, batch=lambda batch: None)
    add(consuming, "a")
    consuming.run(1.0)
    page = Path(__file__).parents[2] / "docs" / "tracing.md"
    rows = re.findall(r"^\| (`(?:messaging|server|eventsvc)\.[^|]*) \|", page.read_text(), re.M)
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    others = {"server.address", "server.port", "messaging.client.id"}  # of appends, and given by the role
    assert named == attributes_of(spans.only).keys() | others


# Failures


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError("away"), "OSError"),
        (Unprintable(), "Unprintable"),
        (OSError("\ud800" * 1_000_000), "OSError"),
        (GeneratorExit(), "HandlerMistake"),
    ],
)
@pytest.mark.parametrize("later", [False, True])
def test_each_delivery_that_fails_is_a_span_with_its_error(
    error: BaseException, kind: str, later: bool, consuming: ConsumerWorld, spans: Spans
) -> None:
    async def fail_later(_: Notification) -> None:
        await deferLater(consuming.clock, 1.0)
        raise error

    traced(consuming, spans, fail_later if later else lambda _: raise_now(error), max_deliveries=2)
    add(consuming, "a", traceparent(5))
    consuming.run(30.0)
    assert [error_of(span) for span in spans.ended] == [kind, kind]
    assert [attributes_of(span)["eventsvc.deliveries"] for span in spans.ended] == [1, 2]
    assert [parent_of(span) for span in spans.ended] == [5, 5]
    [event] = spans.ended[0].events
    assert event.attributes is not None
    assert event.attributes["exception.type"] == kind
    assert len(str(event.attributes["exception.message"]).encode()) <= 2_000
    assert len(consuming.dead) == 1


def test_an_event_that_is_asked_for_again_has_not_failed(consuming: ConsumerWorld, spans: Spans) -> None:
    def handler(notification: Notification) -> None:
        if not consuming.seen:
            consuming.see(notification)
            raise RetryAfter(2.5, "busy")

    traced(consuming, spans, handler)
    add(consuming, "a")
    consuming.run(10.0)
    first, second = spans.ended
    assert (error_of(first), error_of(second)) == (None, None)
    [event] = first.events
    assert (event.name, event.attributes) == ("retry after", {"eventsvc.retry_after": 2.5})


def test_an_event_that_is_rejected_is_an_error(consuming: ConsumerWorld, spans: Spans) -> None:
    traced(consuming, spans, lambda _: raise_now(Reject("no such order")))
    add(consuming, "a")
    consuming.run(1.0)
    assert error_of(spans.only) == "Reject"
    assert spans.only.status.description == "no such order"


def test_a_batch_that_fails_for_some_is_an_error(consuming: ConsumerWorld, spans: Spans) -> None:
    def handle_batch(batch: list[Notification]) -> None:
        failed = {each.stream_id: OSError() for each in batch if each.description == "bad"}
        if failed:
            raise BatchFailed(failed)

    traced(consuming, spans, batch=handle_batch, max_deliveries=1)
    for text in ("a", "bad", "b"):
        add(consuming, text)
    consuming.run(5.0)
    assert error_of(spans.ended[0]) == "BatchFailed"
    assert consuming.dead.keys() == {"2-0"}


def test_a_handler_that_hangs_is_a_span_until_its_time_is_over(consuming: ConsumerWorld, spans: Spans) -> None:
    traced(consuming, spans, lambda _: Deferred(), timeout=2.0, max_deliveries=1)
    add(consuming, "a")
    consuming.run(5.0)
    assert error_of(spans.only) == "HandlerTimeout"


def test_a_handler_that_is_cancelled_at_the_end_is_a_span(consuming: ConsumerWorld, spans: Spans) -> None:
    consumer = traced(consuming, spans, lambda _: Deferred(), drain_timeout=2.0)
    add(consuming, "a")
    consuming.run(1.0)
    consuming.stop(consumer)
    assert error_of(spans.only) == "CancelledError"


def test_a_handler_that_asks_for_the_end_is_a_span(consuming: ConsumerWorld, spans: Spans) -> None:
    said: list[str] = []
    traced(consuming, spans, lambda _: raise_now(SystemExit(1)), exit=said.append)
    add(consuming, "a")
    consuming.run(1.0)
    assert error_of(spans.only) == "HandlerExit"
    assert said == ["the handler raised SystemExit: 1"]


# The current span


def plain(world: ConsumerWorld, note: Callable[[], None]) -> Any:
    return lambda _: note()


def coroutine(world: ConsumerWorld, note: Callable[[], None]) -> Any:
    async def handler(_: Notification) -> None:
        note()
        await succeed(None)
        note()
        for _turn in range(3):
            await deferLater(world.clock, 0.1)
            note()
        try:
            await deferLater(world.clock, 0.1, raise_now, OSError())
        except OSError:
            note()

    return handler


def inline_callbacks(world: ConsumerWorld, note: Callable[[], None]) -> Any:
    @inlineCallbacks
    def handler(_: Notification) -> Generator[Deferred[Any], Any, None]:
        note()
        yield deferLater(world.clock, 0.1)
        note()

    return handler


def nested(world: ConsumerWorld, note: Callable[[], None]) -> Any:
    """What it returns leaves something to be awaited in its turn."""

    async def handler(notification: Notification) -> Any:
        await deferLater(world.clock, 0.1)
        return coroutine(world, note)(notification)

    return handler


@pytest.mark.parametrize("shape", [plain, coroutine, inline_callbacks, nested])
@pytest.mark.parametrize("timeout", [0.0, 100.0])
def test_the_span_is_the_current_one_in_all_of_a_handler_and_nowhere_else(
    shape: Callable[..., Any], timeout: float, consuming: ConsumerWorld, spans: Spans
) -> None:
    """Also with several at once, whose steps take turns."""
    noted: list[int] = []
    outside: list[int] = []

    def note() -> None:
        noted.append(current())
        consuming.clock.callLater(0, lambda: outside.append(current()))

    traced(consuming, spans, shape(consuming, note), timeout=timeout, concurrency=3)
    for number in range(1, 7):
        add(consuming, f"{number}", traceparent(number))
    consuming.run(10.0)
    assert set(noted) == set(ids(spans))
    assert {noted.count(id) for id in ids(spans)} == {len(noted) // 6}
    assert set(outside) == {0}
    assert get_current_span() is INVALID_SPAN


def test_spans_of_a_handler_are_children_of_that_of_its_event(consuming: ConsumerWorld, spans: Spans) -> None:
    async def handler(_: Notification) -> None:
        await deferLater(consuming.clock, 0.1)
        with spans.tracer.start_as_current_span("query"):
            await deferLater(consuming.clock, 0.1)

    traced(consuming, spans, handler)
    add(consuming, "a", traceparent(5))
    consuming.run(1.0)
    query, process = spans.ended
    assert query.name == "query"
    assert query.parent == process.get_span_context()


def test_a_handler_in_a_thread_has_the_span(consuming: ConsumerWorld, spans: Spans) -> None:
    from concurrent.futures import ThreadPoolExecutor

    noted: list[int] = []

    def defer(function: Callable[..., Any], *arguments: Any) -> Deferred[None]:
        with ThreadPoolExecutor(1) as pool:
            return succeed(pool.submit(function, *arguments).result(10.0))

    def in_threads(bound: BoundHandler) -> BoundHandler:
        bound.defer_to_thread = defer
        return trace(bound, StreamHandling(spans.tracer, "orders", {}))

    consuming.consumer(lambda _: noted.append(current()), wrap=in_threads)
    add(consuming, "a")
    add(consuming, "b")
    consuming.run(1.0)
    assert noted == ids(spans)
    assert len(noted) == 2


variable: ContextVar[str] = ContextVar("variable", default="")


def test_what_a_handler_sets_does_not_reach_the_next_nor_the_consumer(consuming: ConsumerWorld, spans: Spans) -> None:
    found: list[str] = []

    def handler(notification: Notification) -> None:
        found.append(variable.get())
        variable.set(notification.description)

    traced(consuming, spans, handler)
    add(consuming, "a")
    add(consuming, "b")
    consuming.run(1.0)
    assert found == ["", ""]
    assert variable.get() == ""


def test_a_handler_keeps_its_shape(consuming: ConsumerWorld, spans: Spans) -> None:
    """All that a consumer asks of a handler is there in the one that is traced."""
    bound = BoundHandler(print, consuming.clock, batch_size=3, timeout=2.0, most_threads=4, start=list, stop=dict)
    made = trace(bound, StreamHandling(spans.tracer, "orders", {}))
    assert made.timeout == 0.0  # its timers would be set in the context of the call
    assert (made.batch_size, made.limit, made.most_threads, made.start, made.stop) == (3, 2.0, 4, list, dict)


def test_what_is_left_where_a_call_begins_does_not_reach_the_handler(consuming: ConsumerWorld, spans: Spans) -> None:
    """asyncio runs a timer in the context that set it, such as that of another event."""
    found: list[str] = []
    bound = BoundHandler(lambda _: found.append(variable.get()), consuming.clock)
    handler = trace(bound, StreamHandling(spans.tracer, "orders", {}))

    def begin() -> None:
        variable.set("left")
        handler.begin(Notification(1, "a", "now"))

    copy_context().run(begin)
    assert found == [""]
