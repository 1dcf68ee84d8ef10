"""
Tests for L{eventsvc.testing.consumer}: handlers of each shape run in it as they do in
a consumer's process.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping

import attrs
import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater

from eventsvc.consumer.handler_shape import WrongHandler
from eventsvc.handlers import BatchFailed, Notification, Reject, RetryAfter, asyncio_handler, handler_factory
from eventsvc.new_event import make_cloudevent, make_event
from eventsvc.settings.kinds import TEXT
from eventsvc.settings.reading import InvalidSettings, setting
from eventsvc.testing import MemoryConsumer, make_notification


def ignore(_: Notification) -> None:
    """Handle any event."""


async def coroutine(_: Notification) -> None:
    await succeed(None)


def deferred(_: Notification) -> Deferred[None]:
    return succeed(None)


@asyncio_handler
async def on_asyncio(_: Notification) -> None:
    async with asyncio.timeout(5.0):
        await asyncio.gather(asyncio.sleep(1.0), asyncio.sleep(2.0))


class Plain:
    def handle(self, _: Notification) -> None: ...


class Callable_:
    def __call__(self, _: Notification) -> None: ...


class Batches:
    def handle_batch(self, batch: list[Notification]) -> None:
        assert isinstance(batch, list)


class Threads:
    threads = 4

    def handle(self, _: Notification) -> None: ...


@attrs.frozen
class GreeterSettings:
    greeting: str = setting("GREETER", TEXT, "", "What is said.")


class Greeter:
    settings = GreeterSettings

    def __init__(self, settings: GreeterSettings) -> None:
        assert settings.greeting == "hello"

    def handle(self, _: Notification) -> None: ...


@handler_factory
def made(environment: Mapping[str, str]) -> Callable[[Notification], None]:
    assert environment == {"GREETER": "hello"}
    return ignore


@pytest.mark.parametrize(
    "handler",
    [
        *(ignore, coroutine, deferred, on_asyncio, Plain, Plain(), Callable_()),
        *(Batches, Batches(), Threads, Greeter, made),
    ],
)
def test_a_handler_of_each_shape_handles_events(handler: object) -> None:
    with MemoryConsumer(handler, environment={"GREETER": "hello"}) as consumer:
        consumer.post("a", "b", "c")
        consumer.advance(10.0)
        assert consumer.handled == ["a", "b", "c"]
        assert (consumer.unacknowledged, consumer.dead, consumer.alarms) == ([], {}, [])


@pytest.mark.parametrize("handler", [3, object(), Plain.handle, GreeterSettings])
def test_what_can_never_handle_an_event_is_refused(handler: object) -> None:
    with pytest.raises(WrongHandler):
        MemoryConsumer(handler)


def test_what_cannot_be_made_is_refused() -> None:
    class Broken(Plain):
        def __init__(self) -> None:
            raise OSError("no such table")

    class Exits(Plain):
        def __init__(self) -> None:
            sys.exit(0)

    class Picky(Plain):
        @attrs.frozen
        class settings:
            colour: str = setting("COLOUR", TEXT, None, "Any.")

        def __init__(self, settings: object) -> None:
            raise InvalidSettings("COLOUR: none is good")

    with pytest.raises(WrongHandler, match="cannot be made: OSError: no such table"), MemoryConsumer(Broken):
        pass
    with pytest.raises(WrongHandler, match="cannot be made: SystemExit: 0"), MemoryConsumer(Exits):
        pass
    with pytest.raises(InvalidSettings, match="COLOUR"), MemoryConsumer(Picky):
        pass
    with pytest.raises(InvalidSettings, match="is async"), MemoryConsumer(coroutine, threads=2):
        pass


def test_events_have_what_they_are_given() -> None:
    seen: list[Notification] = []
    with MemoryConsumer(seen.append) as consumer:
        consumer.post("a", "b", type="order", key="k", data={"total": [1, None]})
        consumer.advance(60.0)
        consumer.post(make_notification("whole", id=7, data="x"))
        consumer.post("last")
        consumer.advance(1.0)
    first, second, whole, last = seen
    assert (first.type, first.key, first.data, first.deliveries) == ("order", "k", {"total": [1, None]}, 1)
    assert first.id != second.id != last.id
    assert (whole.id, whole.data, whole.stream_id) == (7, "x", "3-0")
    assert (last.type, last.key, last.data) == (None, None, None)
    assert (first.timestamp, last.timestamp[:20]) == ("1970-01-01T00:00:00.000000000Z", "1970-01-01T00:01:00.")


def test_nothing_happens_until_time_passes() -> None:
    with MemoryConsumer(ignore) as consumer:
        consumer.post("a")
        assert (consumer.handled, consumer.unacknowledged) == ([], ["a"])
        consumer.advance(0.1)
        assert (consumer.handled, consumer.unacknowledged) == (["a"], [])


def test_failures_are_retried_with_backoff_and_set_aside() -> None:
    def fail(event: Notification) -> None:
        if event.description == "bad":
            raise KeyError("x")

    with MemoryConsumer(fail, max_deliveries=3) as consumer:
        consumer.post("a", "bad", "b")
        consumer.advance(60.0)
        assert consumer.handled == ["a", "b"]
        assert consumer.dead == {"bad": "failed: KeyError: 'x'"}
        assert (consumer.unacknowledged, consumer.alarms) == ([], ["dead_letter"])
        calls = [call for call in consumer.calls if call.events == ["bad"]]
        assert [call.deliveries for call in calls] == [1, 2, 3]
        assert [type(call.error) for call in calls] == [KeyError] * 3
        assert calls[2].at - calls[1].at > 1.9 * (calls[1].at - calls[0].at) > 0.1
        assert "moved entry 2-0 to the dead letters, failed: KeyError: 'x'" in consumer.messages


def test_a_handler_says_what_is_to_be_done() -> None:
    calls: list[str] = []

    def choose(event: Notification) -> None:
        calls.append(event.description)
        if event.description == "never":
            raise Reject("unknown customer")
        if calls.count("later") == 1:
            raise RetryAfter(600.0)

    with MemoryConsumer(choose) as consumer:
        consumer.post("never", "later")
        consumer.advance(599.0)
        assert (consumer.handled, consumer.unacknowledged) == ([], ["later"])
        consumer.advance(2.0)
        assert consumer.handled == ["later"]
        assert consumer.dead == {"never": "rejected: unknown customer"}
        assert [call.deliveries for call in consumer.calls if call.events == ["later"]] == [1, 1]


def test_an_outage_pauses_the_consumer() -> None:
    away = True

    def insert(_: Notification) -> None:
        if away:
            raise ConnectionError("the database is away")

    with MemoryConsumer(insert) as consumer:
        consumer.post(*[f"{number}" for number in range(20)])
        consumer.advance(600.0)
        assert consumer.alarms.count("handler_failing") == 1
        away = False
        consumer.advance(2.0)
        assert consumer.unacknowledged == []
        assert len(consumer.handled) + len(consumer.dead) == 20
        assert len(consumer.dead) <= 2


def test_a_batch_that_fails_is_halved() -> None:
    class Table:
        def handle_batch(self, batch: list[Notification]) -> None:
            if "bad" in [event.description for event in batch]:
                raise ValueError("bad row")

    with MemoryConsumer(Table, max_deliveries=1) as consumer:
        consumer.post("a", "b", "c", "d", "e", "bad")
        consumer.advance(5.0)
        assert consumer.handled == ["a", "b", "c", "d", "e"]
        assert consumer.dead == {"bad": "failed: ValueError: bad row"}
        assert max(len(call.events) for call in consumer.calls) > 1


def test_single_events_of_a_batch_may_fail() -> None:
    class Table:
        def handle_batch(self, batch: list[Notification]) -> None:
            if errors := {row.stream_id: KeyError(row.description) for row in batch if "bad" in row.description}:
                raise BatchFailed(errors)

    with MemoryConsumer(Table, max_deliveries=1) as consumer:
        consumer.post("a", "b", "bad", "c", "d", "worse bad", "e")
        consumer.advance(5.0)
        assert sorted(consumer.handled) == ["a", "b", "c", "d", "e"]
        assert list(consumer.dead) == ["bad", "worse bad"]


def test_events_of_a_key_are_handled_in_their_order() -> None:
    async def wait(event: Notification) -> None:
        await deferLater(consumer.clock, event.data)

    with MemoryConsumer(wait, concurrency=3) as consumer:
        consumer.post("a1", key="a", data=5.0)
        consumer.post("a2", key="a", data=0.5)
        consumer.post("b1", key="b", data=0.5)
        consumer.advance(10.0)
        assert consumer.handled == ["b1", "a1", "a2"]


@pytest.mark.parametrize("reactor", ["auto", "asyncio"])
def test_a_handler_that_takes_too_long_has_failed(reactor: str) -> None:
    async def hang(_: Notification) -> None:
        await Deferred()

    with MemoryConsumer(hang, handler_timeout=2.0, max_deliveries=1, reactor=reactor) as consumer:
        consumer.post("a")
        consumer.advance(1.9)
        assert [call.seconds for call in consumer.calls] == [None]
        consumer.advance(0.2)
        assert consumer.dead == {"a": "failed: HandlerTimeout: the handler took longer than 2 s"}


def test_asyncio_runs_on_the_clock() -> None:
    """Its timers, tasks, timeouts and queues; Deferreds too, and what is cancelled in time."""
    wrong: list[Notification] = []

    class Pool:
        async def start(self) -> None:
            self.queue: asyncio.Queue[Notification] = asyncio.Queue()
            self.task = asyncio.create_task(self.work())

        async def work(self) -> None:
            while True:
                event = await self.queue.get()
                await asyncio.sleep(event.data)

        async def handle(self, event: Notification) -> None:
            await self.queue.put(event)
            timer = asyncio.get_running_loop().call_later(1.0, wrong.append, event)
            await deferLater(consumer.clock, 0.5)
            timer.cancel()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.sleep(60.0), 2.0)

        async def stop(self) -> None:
            self.task.cancel()

    with MemoryConsumer(Pool, reactor="asyncio") as consumer:
        consumer.post("a", data=1.0)
        consumer.advance(1.0)
        assert consumer.handled == []
        consumer.advance(2.0)
        assert [call.seconds for call in consumer.calls] == [pytest.approx(2.5)]
    assert wrong == []


def test_timers_of_asyncio_are_cancelled_in_time() -> None:
    """Also by one that is due at the same time; and what is due when an advance ends is run."""
    fired: list[str] = []

    async def handle(_: Notification) -> None:
        loop = asyncio.get_running_loop()

        def first() -> None:
            second.cancel()
            loop.call_later(0.0, fired.append, "third")

        loop.call_at(2.0, first)
        second: asyncio.TimerHandle = loop.call_at(2.0, fired.append, "second")
        loop.call_at(1.0, fired.append, "twice")
        loop.call_at(1.0, fired.append, "twice")
        loop.call_at(4.0, fired.append, "fourth").cancel()

    with MemoryConsumer(handle, reactor="asyncio") as consumer:
        consumer.post("a")
        consumer.advance(2.0)
        assert fired == ["twice", "twice", "third"]
        assert 4.0 not in [call.getTime() for call in consumer.clock.getDelayedCalls()]
        consumer.advance(4.0)
    assert fired == ["twice", "twice", "third"]


def test_events_are_posted_as_a_client_posts_them() -> None:
    """A CloudEvent has all that follows from it; the order of a key is kept."""
    seen: list[Notification] = []
    with MemoryConsumer(seen.append) as consumer:
        consumer.post(make_cloudevent(source="/s", id="1", type="t", subject="a", partitionkey="k", data=b"\0"))
        consumer.post(make_event("b", key="k", data={"n": 1}), "c")
        consumer.advance(1.0)
        assert consumer.handled == ["a", "b", "c"]
    assert [(event.id, event.key, event.data) for event in seen] == [
        (1, "k", b"\0"),
        (2, "k", {"n": 1}),
        (3, None, None),
    ]
    assert seen[0].cloudevent["subject"] == "a"
    assert seen[0].type == "t"
