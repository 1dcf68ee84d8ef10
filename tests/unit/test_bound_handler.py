"""
Tests for L{eventsvc.consumer.bound_handler} and L{eventsvc.consumer.handler_lifecycle}:
how long a call may take, calls in threads, and what is started and stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import attrs
import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogLevel, capturedLogs

from eventsvc.errors import RetryAfter
from eventsvc.event import Notification
from tests.support.consumer_world import ConsumerWorld, eager
from tests.support.failing_handlers import raise_now

# How long a call may take


def test_a_handler_that_hangs_is_cancelled_and_has_failed(consuming: ConsumerWorld) -> None:
    async def handler(notification: Notification) -> None:
        consuming.see(notification)
        if notification.description == "bad":
            await Deferred()

    consumer = consuming.consumer(handler, timeout=2.0, max_deliveries=2)
    consuming.add("bad", "a")
    consuming.run(10.0)
    assert consuming.seen == ["bad", "bad", "a"]
    assert consuming.dead == {"1-0": "failed: HandlerTimeout: the handler took longer than 2 s"}
    assert (consumer.in_flight.counts.timed_out, consumer.in_flight.counts.failed) == (2, 2)


def test_a_handler_in_time_is_left_alone(consuming: ConsumerWorld) -> None:
    consumer = consuming.consumer(consuming.slow(1.9), timeout=2.0)
    consuming.add("a", "b")
    consuming.run(10.0)
    assert consuming.seen == ["a", "b"]
    assert consumer.in_flight.counts.timed_out == 0


def test_a_handler_that_cannot_be_cancelled_is_abandoned(consuming: ConsumerWorld) -> None:
    """It has a second to end; then its slot is for others, and what it does later counts for nothing."""
    stubborn: list[Deferred[None]] = []

    async def handler(notification: Notification) -> None:
        consuming.see(notification)
        while notification.description == "bad":
            stubborn.append(Deferred())
            try:
                await stubborn[-1]
            except CancelledError:
                continue
            raise OSError("much later")

    consumer = consuming.consumer(handler, timeout=2.0, max_deliveries=1)
    consuming.add("bad", "a")
    with capturedLogs() as logs:
        consuming.run(2.9)
        assert consuming.seen == ["bad"]
        consuming.run(2.0)
        assert consuming.seen == ["bad", "a"]
        assert "cannot be cancelled: it still runs" in consuming.dead["1-0"]
        stubborn[-1].callback(None)
        consuming.run(1.0)
    assert consumer.in_flight.counts.failed == 1
    assert [log["log_format"] for log in logs if log["log_level"] is LogLevel.critical] == []


def test_a_handler_that_ends_well_although_its_time_is_over_has_handled_its_event(consuming: ConsumerWorld) -> None:
    async def handler(notification: Notification) -> None:
        try:
            await Deferred()
        except CancelledError:
            consuming.see(notification)

    consumer = consuming.consumer(handler, timeout=2.0)
    consuming.add("a")
    consuming.run(5.0)
    assert consuming.seen == ["a"]
    assert consumer.in_flight.counts.handled == 1


def test_a_handler_that_asks_for_the_end_when_its_time_is_over_is_given_it(consuming: ConsumerWorld) -> None:
    said: list[str] = []

    async def handler(_: Notification) -> None:
        try:
            await Deferred()
        except CancelledError:
            raise SystemExit(1) from None

    consuming.consumer(handler, timeout=2.0, exit=said.append)
    consuming.add("a")
    consuming.run(5.0)
    assert said == ["the handler raised SystemExit: 1"]


def test_a_batch_that_hangs_is_cancelled_and_halved(consuming: ConsumerWorld) -> None:
    async def handle_batch(batch: list[Notification]) -> None:
        texts = [notification.description for notification in batch]
        if "bad" in texts:
            await Deferred()
        consuming.seen += texts

    consumer = eager(consuming.consumer(batch=handle_batch, timeout=1.0, max_deliveries=1))
    consuming.add("a", "b", "bad", "c")
    eager(consumer)
    consuming.run(10.0)
    assert consuming.seen == ["a", "b", "c"]
    assert consuming.dead.keys() == {"3-0"}
    assert consumer.in_flight.counts.timed_out == 3


def test_the_drain_timeout_cancels_a_call_that_has_time_left(consuming: ConsumerWorld) -> None:
    cancelled: list[str] = []

    def handler(notification: Notification) -> Deferred[None]:
        return Deferred(lambda _: cancelled.append(notification.description))

    consumer = consuming.consumer(handler, timeout=100.0, drain_timeout=2.0, name="first")
    consuming.add("a")
    consuming.run(1.0)
    consuming.stop(consumer)
    assert cancelled == ["a"]
    assert consuming.pending == [1]


# Threads


@attrs.define
class Threads:
    """Calls that threads have not begun yet."""

    waiting: list[Callable[[], None]] = attrs.field(factory=list)

    def defer(self, function: Callable[..., Any], *arguments: Any) -> Deferred[None]:
        ended: Deferred[None] = Deferred()

        def run() -> None:
            try:
                result = function(*arguments)
            except BaseException:
                ended.errback()
            else:
                ended.callback(result)

        self.waiting.append(run)
        return ended


def in_threads(world: ConsumerWorld, handler: Callable[[Notification], Any], threads: Threads, **options: Any) -> Any:
    consumer = eager(world.consumer(handler, **options))
    consumer.in_flight.handler.defer_to_thread = threads.defer
    return consumer


def test_each_event_is_acknowledged_when_its_thread_has_finished(consuming: ConsumerWorld) -> None:
    threads = Threads()
    in_threads(consuming, consuming.see, threads, concurrency=2)
    consuming.add("a", "b", "c")
    consuming.run(1.0)
    assert len(threads.waiting) == 2
    threads.waiting.pop(1)()
    consuming.run(1.0)
    assert consuming.seen == ["b"]
    assert consuming.pending == [1, 3]
    for run in threads.waiting:
        run()
    consuming.run(1.0)
    assert consuming.pending == []


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (lambda _: raise_now(KeyError("x")), "failed: KeyError: 'x'"),
        (lambda _: Deferred(), "failed: the handler returned an awaitable in a thread"),
        (lambda _: raise_now(GeneratorExit()), "failed: the handler raised GeneratorExit"),
    ],
)
def test_what_goes_wrong_in_a_thread_is_a_failed_delivery(
    consuming: ConsumerWorld, handler: Callable[[Notification], Any], words: str
) -> None:
    threads = Threads()
    in_threads(consuming, handler, threads, max_deliveries=1)
    consuming.add("a")
    consuming.run(1.0)
    threads.waiting.pop()()
    consuming.run(1.0)
    assert consuming.dead["1-0"].startswith(words)


def test_a_thread_that_asks_for_the_end_is_given_it(consuming: ConsumerWorld) -> None:
    said: list[str] = []
    threads = Threads()
    in_threads(consuming, lambda _: raise_now(SystemExit(3)), threads, exit=said.append)
    consuming.add("a")
    consuming.run(1.0)
    threads.waiting.pop()()
    assert said == ["the handler raised SystemExit: 3"]


def test_a_thread_that_hangs_is_given_up(consuming: ConsumerWorld) -> None:
    threads = Threads()
    in_threads(consuming, consuming.see, threads, timeout=2.0, max_deliveries=1)
    consuming.add("a")
    consuming.run(5.0)
    assert consuming.dead.keys() == {"1-0"}
    threads.waiting.pop()()  # it ends after all


def test_when_too_many_threads_hang_the_process_ends(consuming: ConsumerWorld) -> None:
    """No call would ever begin, and none would fail: with a restart the threads are gone."""
    said: list[str] = []
    threads = Threads()
    consumer = in_threads(consuming, consuming.see, threads, timeout=1.0, retry_for=1_000.0, exit=said.append)
    consumer.in_flight.handler.most_threads = 3
    consuming.add("a")
    consuming.run(5.0)
    assert len(threads.waiting) == 3
    assert said == ["3 calls of the handler hang in threads: the process ends"]


def test_threads_that_end_late_are_free_again(consuming: ConsumerWorld) -> None:
    said: list[str] = []
    threads = Threads()
    consumer = in_threads(consuming, consuming.see, threads, timeout=1.0, exit=said.append)
    consumer.in_flight.handler.most_threads = 3
    for text in "abc":
        consuming.add(text)
        consuming.run(1.5)
        while threads.waiting:
            threads.waiting.pop()()
    consuming.run(5.0)
    assert said == []


# Start and stop


@attrs.define
class Pool:
    """A handler with something to open and close."""

    world: ConsumerWorld
    start_with: Callable[[], object] = lambda: None
    stop_with: Callable[[], object] = lambda: None
    log: list[str] = attrs.field(factory=list)

    async def start(self) -> None:
        self.log.append("start")
        result: Any = self.start_with()
        if result is not None:
            await result
        self.log.append("started")

    async def stop(self) -> None:
        self.log.append(f"stop, {len(self.world.pending)} pending")
        result: Any = self.stop_with()
        if result is not None:
            await result


async def never_cancelled() -> None:
    """Wait for ever, and again when that is cancelled."""
    while True:
        with suppress(CancelledError):
            await Deferred()


def test_nothing_is_read_before_the_handler_has_started(consuming: ConsumerWorld) -> None:
    opened: Deferred[None] = Deferred()
    pool = Pool(consuming, lambda: opened)
    consuming.add("a")
    consumer = consuming.consumer(start=pool.start, stop=pool.stop)
    consuming.run(5.0)
    assert (consuming.seen, pool.log) == ([], ["start"])
    assert consumer.problem
    opened.callback(None)
    consuming.run(1.0)
    assert consuming.seen == ["a"]
    assert consumer.problem == ""
    consuming.stop(consumer)
    assert pool.log == ["start", "started", "stop, 0 pending"]


@pytest.mark.parametrize("error", [OSError("no database"), SystemExit(3), GeneratorExit()])
def test_a_handler_that_cannot_start_ends_the_process(consuming: ConsumerWorld, error: BaseException) -> None:
    said: list[str] = []
    consuming.add("a")
    pool = Pool(consuming, lambda: raise_now(error))
    consumer = consuming.consumer(start=pool.start, stop=pool.stop, exit=said.append)
    consuming.run(5.0)
    assert len(said) == 1
    assert said[0].startswith("the handler cannot start: ")
    assert consuming.seen == []
    consuming.stop(consumer)
    assert pool.log == ["start"]  # what never started is not stopped


def test_a_start_that_is_cancelled_by_its_own_ends_the_process(consuming: ConsumerWorld) -> None:
    """Nobody stops the consumer, so it must not stand still in silence."""
    said: list[str] = []
    connected: Deferred[None] = Deferred()
    consuming.clock.callLater(1.0, connected.cancel)
    consuming.consumer(start=lambda: connected, exit=said.append)
    consuming.run(5.0)
    assert said == ["the handler cannot start: CancelledError"]


@pytest.mark.parametrize("how", ["raises", "hangs", "exits", "cannot be cancelled"])
def test_a_handler_that_cannot_stop_does_not_keep_the_process(consuming: ConsumerWorld, how: str) -> None:
    ways: dict[str, Callable[[], object]] = {
        "raises": lambda: raise_now(OSError("x")),
        "hangs": lambda: Deferred(),
        "exits": lambda: raise_now(SystemExit(1)),
        "cannot be cancelled": never_cancelled,
    }
    pool = Pool(consuming, lambda: None, ways[how])
    consumer = consuming.consumer(start=pool.start, stop=pool.stop)
    consuming.add("a")
    consuming.run(1.0)
    with capturedLogs() as logs:
        consuming.stop(consumer)
    assert [log for log in logs if log["log_level"] >= LogLevel.warn]
    assert consuming.pending == []


def test_a_stop_while_the_handler_starts_ends(consuming: ConsumerWorld) -> None:
    pool = Pool(consuming, lambda: Deferred())
    consumer = consuming.consumer(start=pool.start, stop=pool.stop)
    consuming.run(1.0)
    consuming.stop(consumer)
    assert pool.log == ["start"]


# Retries


def test_an_event_may_be_wanted_again_later_as_often_as_it_likes(consuming: ConsumerWorld) -> None:
    times: list[float] = []

    def handler(notification: Notification) -> None:
        times.append(consuming.clock.seconds())
        assert notification.deliveries == 1
        if len(times) < 12:
            raise RetryAfter(3.0, "the limit of calls")

    consumer = consuming.consumer(handler, max_deliveries=2)
    consuming.add("a")
    consuming.run(60.0)
    assert [round(time - times[0]) for time in times] == list(range(0, 36, 3))
    assert (consumer.in_flight.counts.failed, consuming.dead, consuming.pending) == (0, {}, [])


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf"), "x"])
def test_a_pause_that_is_none_is_a_mistake(seconds: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        RetryAfter(seconds)


def test_an_event_is_retried_for_as_long_as_the_setting_says(consuming: ConsumerWorld) -> None:
    seen: list[tuple[float, int]] = []

    def handler(notification: Notification) -> None:
        seen.append((consuming.clock.seconds(), notification.deliveries))
        raise KeyError("x")

    consumer = consuming.consumer(handler, max_deliveries=3, retry_for=60.0, name="first")
    consuming.add("bad")
    consuming.run(120.0)
    assert [deliveries for _, deliveries in seen] == list(range(1, len(seen) + 1))
    assert 60.0 <= seen[-1][0] - seen[0][0] <= 70.0
    assert consuming.dead.keys() == {"1-0"}
    assert int(consuming.stream.dead[0]["deliveries"]) == len(seen)
    assert consumer.in_flight.counts.redelivered == len(seen) - 1


def test_an_event_that_was_retried_for_long_is_not_given_up_by_the_next_consumer(consuming: ConsumerWorld) -> None:
    """Its deliveries are used up, but its time is not over."""
    consumer = consuming.consumer(lambda _: raise_now(KeyError("x")), max_deliveries=3, retry_for=600.0, name="first")
    consuming.add("a")
    consuming.run(60.0)
    consuming.stop(consumer)
    consuming.consumer(max_deliveries=3, retry_for=600.0, name="second")
    consuming.run(5.0)
    assert (consuming.seen, consuming.dead) == (["a"], {})


def test_a_handler_knows_which_delivery_it_is(consuming: ConsumerWorld) -> None:
    seen: list[int] = []

    def handler(notification: Notification) -> None:
        seen.append(notification.deliveries)
        if len(seen) < 3:
            raise KeyError("x")

    consumer = consuming.consumer(handler)
    consuming.add("a")
    consuming.run(5.0)
    assert seen == [1, 2, 3]
    histogram = consumer.in_flight.counts.deliveries
    assert (sum(histogram.counts), histogram.total) == (1, 3.0)
    assert sum(consumer.in_flight.counts.handler_seconds.counts) == 3


def test_a_stop_does_not_wait_for_retries(consuming: ConsumerWorld) -> None:
    consumer = consuming.consumer(lambda _: raise_now(KeyError("x")), retry_for=600.0, drain_timeout=30.0, name="first")
    consuming.add("a")
    consuming.run(30.0)
    consuming.consumers.remove(consumer)
    stopping = consumer.stopService()
    consuming.run(0.5)
    assert stopping.called
    consuming.consumer(name="second")
    consuming.run(1.0)
    assert consuming.seen == ["a"]


@pytest.mark.parametrize("seconds", [None, -1.0, float("nan"), "5", True])
@pytest.mark.parametrize("is_batch", [True, False])
def test_a_pause_that_makes_no_sense_is_a_failed_delivery(
    consuming: ConsumerWorld, seconds: Any, is_batch: bool
) -> None:
    """A subclass may leave out what it should set."""

    class Odd(RetryAfter):
        def __init__(self) -> None:
            self.seconds = seconds

    def handler(_: object) -> None:
        raise Odd

    options: dict[str, Any] = {"batch": handler} if is_batch else {"handler": handler}
    consumer = eager(consuming.consumer(**options, max_deliveries=2))
    consuming.add("a", "b")
    consuming.run(10.0)
    assert consuming.dead.keys() == {"1-0", "2-0"}
    assert consumer.in_flight.entries == {}


def test_a_fault_of_our_own_strands_no_entry(consuming: ConsumerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is logged, and the entry is claimed again when it is idle."""
    faults = iter([True])

    def broken(*_: object) -> None:
        if next(faults, False):
            raise AssertionError("a fault of our own")

    monkeypatch.setattr("eventsvc.consumer.delivery_attempts.DeliveryAttempts._note_error", broken)
    failures = iter([KeyError("x")])

    def handler(notification: Notification) -> None:
        for error in failures:
            raise error
        consuming.see(notification)

    consumer = consuming.consumer(handler, claim_idle=30.0)
    consuming.add("a", "b")
    with capturedLogs() as logs:
        consuming.run(60.0)
    assert sorted(consuming.seen) == ["a", "b"]
    assert consuming.pending == []
    assert consumer.in_flight.entries == {}
    assert [log["log_format"] for log in logs if "log_failure" in log] == [
        "delivering entries failed unexpectedly; they are claimed and delivered again later"
    ]
