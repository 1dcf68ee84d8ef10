"""
Tests for L{eventsvc.consumer.delivery_attempts}: handlers that fail, return
nothing that runs, or ask for the end of the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from traceback import extract_tb
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, fail
from twisted.logger import LogLevel, capturedLogs

from eventsvc.errors import RetryAfter
from eventsvc.event import Notification
from eventsvc.interfaces import Refused
from eventsvc.testing import MemoryEventGroup
from tests.support.consumer_world import ConsumerWorld, eager
from tests.support.failing_handlers import HOW, Own, generate, generate_async, raiser


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("handler", [generate, generate_async, lambda _: asyncio.sleep, lambda _: asyncio.Future])
def test_an_event_that_was_not_handled_is_not_acknowledged(
    consuming: ConsumerWorld, handler: Callable[[object], Any], concurrency: int
) -> None:
    consumer = consuming.consumer(handler, concurrency=concurrency)
    consuming.add("a", "b")
    consuming.run(0.05)
    assert 1 in consuming.pending
    consuming.run(20.0)
    assert consumer.in_flight.counts.handled == 0
    assert consuming.dead.keys() == {"1-0", "2-0"}
    assert all(words.startswith("failed: the handler returned ") for words in consuming.dead.values())


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("error", [asyncio.CancelledError(), CancelledError(), GeneratorExit(), Own(), KeyError("x")])
def test_whatever_a_handler_raises_is_one_failed_delivery(
    consuming: ConsumerWorld, how: str, error: BaseException, concurrency: int
) -> None:
    """The loop goes on, no slot is lost, and no event is stranded."""
    consumer = consuming.consumer(raiser(consuming, how, error), concurrency=concurrency, max_deliveries=3)
    consuming.add("bad", *"abc", "bad", *"def", "bad", *"ghi", "bad", *"jkl")
    consuming.run(60.0)
    assert sorted(consuming.seen) == list("abcdefghijkl")
    assert consuming.pending == []
    assert consuming.dead.keys() == {"1-0", "5-0", "9-0", "13-0"}
    assert all(type(error).__name__ in words for words in consuming.dead.values())
    assert consumer.in_flight.counts.failed == 12
    assert consumer.in_flight.entries == {}


@pytest.mark.parametrize("error", [OSError("no database"), RetryAfter(1.0)])
@pytest.mark.parametrize("is_batch", [True, False])
def test_an_error_that_is_raised_again_and_again_collects_no_tracebacks(
    consuming: ConsumerWorld, error: Exception, is_batch: bool
) -> None:
    """Some libraries keep the error of a lost connection; in a long outage its traceback would grow without end."""

    def handle(_: object) -> None:
        consuming.seen.append("")
        raise error

    eager(consuming.consumer(None if is_batch else handle, batch=handle if is_batch else None))
    consuming.add(*"abcd")
    consuming.run(60.0)
    assert len(consuming.seen) > 20
    assert len(extract_tb(error.__traceback__)) < 20


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("error", [SystemExit(0), SystemExit("x"), KeyboardInterrupt()])
def test_a_handler_that_asks_for_the_end_is_given_it_and_its_event_handed_over(
    consuming: ConsumerWorld, how: str, error: BaseException, concurrency: int
) -> None:
    said: list[str] = []
    begun: list[str] = []
    begun_before: list[int] = []
    handle = raiser(consuming, how, error)

    def handler(notification: Notification) -> Any:
        begun.append(notification.description)
        return handle(notification)

    def end(words: str) -> None:
        said.append(words)
        begun_before.append(len(begun))

    consuming.add("a", "bad", "b", "c", "d", "e", "f")
    consumer = eager(consuming.consumer(handler, concurrency=concurrency, exit=end, name="first"))
    consuming.run(10.0)
    assert len(said) == 1
    assert type(error).__name__ in said[0]
    assert 2 in consuming.pending
    assert begun_before == [len(begun)]  # nothing is begun after
    consuming.stop(consumer)
    consuming.consumer(name="second")
    consuming.run(90.0)
    assert sorted(consuming.seen) == ["a", "b", "bad", "c", "d", "e", "f"]
    assert consuming.pending == []


def test_an_event_that_always_fails_is_delivered_five_times_unless_told_otherwise(consuming: ConsumerWorld) -> None:
    """Each failure is in the log, with the event and its delivery."""
    consumer = consuming.consumer(raiser(consuming, "now", KeyError("x")))
    consuming.add("bad")
    with capturedLogs() as logs:
        consuming.run(10.0)
    assert consumer.in_flight.counts.redelivered == 4
    failures = [(event["id"], event["count"]) for event in logs if "log_failure" in event]
    assert failures == [("1-0", delivery) for delivery in range(1, 6)]
    assert consuming.dead == {"1-0": "failed: KeyError: 'x'"}


def test_a_delivery_that_cannot_be_counted_goes_on(consuming: ConsumerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler is not kept waiting for a number."""
    monkeypatch.setattr(MemoryEventGroup, "count_delivery", lambda *_: fail(Refused("OOM")))
    consuming.consumer(raiser(consuming, "now", KeyError("x")), max_deliveries=3)
    consuming.add("bad", "a")
    with capturedLogs() as logs:
        consuming.run(5.0)
    assert consuming.seen == ["a"]
    assert consuming.dead.keys() == {"1-0"}
    assert [event["id"] for event in logs if event["log_level"] is LogLevel.debug] == ["1-0", "1-0"]
