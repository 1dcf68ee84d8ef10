"""
Tests for L{eventsvc.telemetry.metrics}, L{eventsvc.producer.counts}, L{eventsvc.telemetry.lag} and what the
roles publish, read from parts that did real work on a fake clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from eventsvc.consumer.chore import Chore
from eventsvc.consumer.name_hold import NameHold
from eventsvc.consumer.retention import Retention
from eventsvc.consumer.service import Consumer
from eventsvc.event import MARKER_FIELD, Event
from eventsvc.handlers.webhook import make_webhook
from eventsvc.histogram import Histogram
from eventsvc.memory import Memory
from eventsvc.outcome import Outcome, PostedBatch
from eventsvc.producer.room import Room
from eventsvc.redis.connection import Connection
from eventsvc.redis.durability import OnDisk
from eventsvc.settings.webhook import WebhookSettings
from eventsvc.simulator.service import Simulator
from eventsvc.tap.figures import (
    connection_figures,
    consumer_figures,
    memory_figures,
    simulator_figures,
    webhook_figures,
)
from eventsvc.tap.health import Vitals
from eventsvc.tap.producer_figures import durability_figures, producer_figures, room_figures, tls_figures
from eventsvc.tap.token_file import TokenFile, token_figures
from eventsvc.tap.tracing import tracing_figures
from eventsvc.telemetry.lag import Lag
from eventsvc.telemetry.metrics import Figure, Metrics
from eventsvc.testing import Fate, Link, MemoryEventGroup, MemoryStream
from eventsvc.web.access import Access
from eventsvc.web.tokens import Tokens
from tests.support.consumer_world import ConsumerWorld
from tests.support.producer_world import ProducerWorld, key, make_world

#: An endpoint that nobody connects to.
NOWHERE: Any = None
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


def make_hold(consumer: Consumer) -> NameHold:
    """Return the hold on the name of a consumer."""
    return NameHold(consumer.group, consumer.clock, "token", 1.0)


def read(metrics: Metrics) -> dict[str, float]:
    """Return all our samples by name and labels, as a scraper sees them."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sample.labels.items())
            name = f"{sample.name}{{{labels}}}" if labels else sample.name
            assert name not in found, f"{name} is there twice"
            found[name] = sample.value
    return {name.removeprefix("eventsvc_"): value for name, value in found.items() if name.startswith("eventsvc_")}


def publish(*figures: Figure) -> Metrics:
    """Return metrics that publish these figures."""
    metrics = Metrics()
    metrics.add(list(figures))
    return metrics


@pytest.fixture
def world() -> Iterator[ProducerWorld]:
    made = make_world(wait=2.0, queue_events=3)
    yield made
    made.appender.stop()
    made.run(10.0)


def producer(world: ProducerWorld) -> dict[str, float]:
    """Return what a producer publishes of its one stream."""
    figures = read(publish(*producer_figures({"s": world.appender})))
    assert all("stream=s" in name for name in figures)
    return {re.sub(r"\{stream=s\}|stream=s,|,stream=s", "", name): value for name, value in figures.items()}


def test_a_histogram_counts_up_to_each_bound_and_past_the_last() -> None:
    """A value on a bound is within it; buckets are cumulative, as in Prometheus."""
    histogram = Histogram((1, 10))
    for value in (0.5, 1, 2, 10, 11):
        histogram.observe(value)
    assert read(publish(Figure("histogram", "eventsvc_size", "Sizes.", lambda: histogram))) == {
        "size_bucket{le=1.0}": 2,
        "size_bucket{le=10.0}": 4,
        "size_bucket{le=+Inf}": 5,
        "size_count": 5,
        "size_sum": 24.5,
    }


def test_figures_of_one_name_are_one_family() -> None:
    """Two roles in one process publish one metric of two connections as one family."""
    metrics = Metrics()
    for role, value in (("producer", 1.0), ("consumer", 0.0)):
        metrics.add([Figure("gauge", "eventsvc_up", "Up.", lambda role=role, value=value: {role: value}, "role")])  # type: ignore[misc]
    assert read(metrics) == {"up{role=producer}": 1, "up{role=consumer}": 0}
    assert metrics.text().count(b"# HELP eventsvc_up ") == 1


def test_what_is_not_known_is_not_published() -> None:
    """A missing number is better than a wrong one."""
    assert read(publish(Figure("gauge", "eventsvc_age", "Age.", lambda: None))) == {}


def test_each_process_has_figures_of_its_own() -> None:
    """There is no shared registry."""
    one, other = publish(Figure("gauge", "eventsvc_one", "One.", lambda: 1.0)), Metrics()
    assert b"eventsvc_one" in one.text()
    assert b"eventsvc_one" not in other.text()
    assert b"process_resident_memory_bytes" in other.text()


def test_a_producer_counts_what_clients_are_told(world: ProducerWorld) -> None:
    """Accepted, repeated, refused by reason and unknown, in events."""
    world.post("a", "b")
    world.run(0.1)
    world.post("c", key=key("k"))
    world.run(0.1)
    world.post("c", key=key("k"))
    world.run(0.1)
    world.post("1", "2", "3")
    world.post("too", "many")
    world.post("and", "more")
    world.run(0.1)
    world.link.expect(Fate.SILENT)
    world.post("d")
    world.run(0.1)
    world.post("e", "f")
    world.run(3.0)
    figures = producer(world)
    assert figures["events_accepted_total"] == 6
    assert figures["events_repeated_total"] == 1
    assert figures["events_refused_total{reason=queue_full}"] == 4
    assert figures["events_refused_total{reason=redis_away}"] == 2
    assert figures["events_refused_total{reason=stream_full}"] == 0
    assert figures["events_unknown_total"] == 1


def test_a_producer_counts_its_batches(world: ProducerWorld) -> None:
    """Their number, size, duration, and duplicates."""
    world.post("a")
    world.run(0.1)
    world.post("b", "c")
    world.run(0.1)
    world.post("d", key=key("k"))
    world.run(0.1)
    world.post("d", key=key("k"))
    world.run(0.1)
    figures = producer(world)
    assert figures["batches_total"] == 4
    assert figures["batch_events_count"] == 4
    assert figures["batch_events_sum"] == 5
    assert figures["batch_events_bucket{le=1.0}"] == 3
    assert figures["append_seconds_count"] == 4
    assert figures["append_seconds_sum"] == pytest.approx(0.004)
    assert figures["events_appended_total"] == 4


def test_a_lost_reply_is_part_of_what_a_batch_took(world: ProducerWorld) -> None:
    """An outage shows in the latency, and the resolved duplicate is counted."""
    world.link.expect(Fate.CUT_AFTER)
    world.post("a")
    world.run(1.0)
    figures = producer(world)
    assert figures["duplicates_resolved_total"] == 1
    assert figures["events_appended_total"] == 1
    assert figures["append_seconds_sum"] > 0.05
    assert figures["wait_seconds_sum"] == pytest.approx(figures["append_seconds_sum"])


def test_the_oldest_request_of_a_batch_says_how_long_clients_wait(world: ProducerWorld) -> None:
    """It includes the time before the batch was sent."""
    world.link.disconnect()
    world.post("a")
    world.run(1.0)
    world.post("b")
    world.link.connect()
    world.run(0.5)
    figures = producer(world)
    assert figures["wait_seconds_sum"] == pytest.approx(1.0 + figures["append_seconds_sum"])
    assert figures["queue_events"] == 0


def test_the_queue_shows_what_waits(world: ProducerWorld) -> None:
    """It shows events and bytes, and is reported full before it refuses."""
    world.link.disconnect()
    world.run(0.1)
    world.post("a", "b")
    assert not world.appender.backlog.is_full
    world.post("c")
    figures = producer(world)
    assert figures["queue_events"] == 3
    assert figures["queue_bytes"] > 3
    assert world.appender.backlog.is_full


@pytest.mark.parametrize(("retained", "level", "alarm"), [(1 << 20, "warn", "restored"), (0, "critical", "lost")])
def test_events_that_redis_lost_are_an_alarm(retained: int, level: str, alarm: str) -> None:
    """They are counted, and logged with the member C{alarm}: a warning if they are stored again."""
    world = make_world(retain=(30.0, retained))
    world.post("a")
    world.run(0.1)
    world.stream.wipe()
    with capturedLogs() as logs:
        world.post("b")
        world.run(0.1)
    figures = producer(world)
    assert figures[f"{alarm}_total"] == 1
    assert figures["restored_total"] + figures["lost_events_total"] == 1
    assert [event["details"] for event in logs if event["log_level"].name == level] == [{"alarm": alarm}]
    assert figures["retained_seconds"] <= 30.0
    assert bool(figures["retained_bytes"]) is bool(retained)


def test_a_consumer_counts_what_became_of_entries(consuming: ConsumerWorld) -> None:
    """Handled, passed over, failed, redelivered and set aside; and how far behind it is."""

    def handler(notification: object) -> None:
        consuming.see(notification)  # type: ignore[arg-type]
        if consuming.seen[-1] == "bad":
            raise ValueError("no")

    with capturedLogs() as logs:
        consumer = consuming.consumer(handler, max_deliveries=3)
        lag = Lag("s", "g", consumer.group.measure, consuming.clock, lifetime=30.0)
        consumer.chores.append(Chore(2.0, lag.measure))
        consuming.stream.add({MARKER_FIELD: b"stream created"})
        consuming.add("good", "bad", "good")
        consuming.run(20.0)
    metrics = publish(
        *consumer_figures(
            consumer,
            Retention(consumer.group, consuming.clock, 1000),
            lag,
            make_hold(consumer),
        )
    )
    figures = read(metrics)
    assert figures["consumed_total{outcome=handled}"] == 2
    assert figures["consumed_total{outcome=passed_over}"] == 1
    assert figures["handler_failures_total"] == 3
    assert figures["redelivered_total"] == 2
    assert figures["dead_lettered_total"] == figures["dead_letters"] == 1
    assert figures["stream_entries{group=g,stream=s}"] == 4
    assert figures["pending_entries{group=g,stream=s}"] == figures["in_flight"] == 0
    assert figures["oldest_unread_seconds{group=g,stream=s}"] == 0
    assert {"alarm": "dead_letter"} in [event.get("details") for event in logs]


def test_a_group_that_was_created_anew_is_an_alarm(consuming: ConsumerWorld) -> None:
    """It means that data was lost, so it is counted and logged as critical."""
    consumer = consuming.consumer()
    consuming.run(1.0)
    consuming.stream.wipe()
    with capturedLogs() as logs:
        consuming.run(10.0)
    lag = Lag("s", "g", consumer.group.measure, consuming.clock, lifetime=30.0)
    figures = read(
        publish(
            *consumer_figures(
                consumer,
                Retention(consumer.group, consuming.clock, 1000),
                lag,
                make_hold(consumer),
            )
        )
    )
    assert figures["groups_recreated_total"] == 1
    assert {"alarm": "group_recreated"} in [event.get("details") for event in logs]


def test_the_memory_of_redis_is_published_while_it_is_there() -> None:
    """Another server may take its place, so what it used then rings no alert."""
    connection: Any = Mock(ready=True)
    metrics = publish(*memory_figures(connection, lambda: Memory(95, 100), "producer"))
    assert read(metrics) == {"redis_memory_bytes{role=producer}": 95, "redis_memory_max_bytes{role=producer}": 100}
    connection.ready = False
    assert read(metrics) == {}


def test_keys_are_published_once_they_were_counted(world: ProducerWorld) -> None:
    assert "idempotency_keys" not in producer(world)
    world.run(10.0)
    assert producer(world)["idempotency_keys"] == 0


def test_a_measure_is_published_only_while_it_is_fresh() -> None:
    """After a long outage the last measure says nothing about the group."""
    clock = Clock()
    group = MemoryEventGroup(MemoryStream(clock), Link(clock))
    lag = Lag("s", "g", group.measure, clock, lifetime=30.0)
    assert lag.latest() is None
    group.open()
    clock.advance(1.0)
    ensureDeferred(lag.measure())
    clock.advance(1.0)
    clock.advance(29.0)
    latest = lag.latest()
    assert latest is not None
    assert latest.length == 0
    clock.advance(2.0)
    assert lag.latest() is None


def test_a_simulator_counts_by_outcome() -> None:
    """The metrics are those of its tally."""
    clock = Clock()

    async def post(events: Sequence[Event]) -> PostedBatch:
        return PostedBatch(Outcome.OK)

    simulator = Simulator(post=post, clock=clock, random=Random(1), rate=10.0, count=3)
    simulator.tally.outcomes |= {Outcome.OK: 3, Outcome.UNKNOWN: 1}
    figures = read(publish(*simulator_figures(simulator)))
    assert figures["simulated_total{outcome=ok}"] == 3
    assert figures["simulated_total{outcome=unknown}"] == 1
    assert figures["requests_in_flight"] == 0


def test_a_connection_counts_reconnections() -> None:
    """The first connection is not a reconnection."""
    connection = Connection(NOWHERE, Clock(), lambda: 0.5)
    metrics = publish(*connection_figures(connection, "producer"))
    assert read(metrics) == {"redis_connected{role=producer}": 0, "redis_reconnects_total{role=producer}": 0}
    connection.connects = 3
    assert read(metrics)["redis_reconnects_total{role=producer}"] == 2


def test_a_reactor_that_was_held_up_shows() -> None:
    """The delays of late beats add up."""
    clock = Clock()
    vitals = Vitals(clock)
    vitals.startService()
    clock.advance(1.0)
    clock.advance(3.5)
    assert read(vitals.metrics)["reactor_late_seconds_total"] == pytest.approx(2.5)
    vitals.stopService()
    assert clock.getDelayedCalls() == []


def every_figure() -> set[str]:
    """Return the names of all published metrics, as scraped."""
    clock = Clock()
    vitals = Vitals(clock)
    consumer = ConsumerWorld(clock, MemoryStream(clock)).consumer()
    group = consumer.group
    simulator = Simulator(post=lambda _: ..., clock=clock, random=Random(1), rate=1.0)  # type: ignore[arg-type,return-value]
    vitals.metrics.add(producer_figures({"s": make_world().appender}))
    vitals.metrics.add(room_figures(Room(cast(Any, None), clock, lambda: 0)))
    vitals.metrics.add(memory_figures(cast(Any, None), lambda: Memory(), "producer"))
    lag = Lag("s", "g", group.measure, clock, 1.0)
    vitals.metrics.add(consumer_figures(consumer, Retention(group, clock, 1), lag, make_hold(consumer)))
    vitals.metrics.add(connection_figures(Connection(NOWHERE, clock, lambda: 0.5), "producer"))
    vitals.metrics.add(simulator_figures(simulator))
    webhook = make_webhook(clock, WebhookSettings(url="http://h/", secret=()), lambda: 0)
    vitals.metrics.add(webhook_figures(webhook))
    access = Access(Tokens(), lambda: 0, lambda: 0)
    vitals.metrics.add(token_figures(TokenFile("", frozenset(), access)))
    vitals.metrics.add(tracing_figures(lambda: 0))
    certificates: Any = SimpleNamespace(expires=0.0, failures=0)
    vitals.metrics.add(tls_figures(certificates))
    vitals.metrics.add(durability_figures(OnDisk(clock)))
    return set(re.findall(r"^# HELP (eventsvc_\w+) ", vitals.metrics.text().decode(), re.M))


def test_the_docs_name_every_figure_and_no_other() -> None:
    """An operator can look up every metric that raises an alert."""
    documented = set(re.findall(r"^\| `(eventsvc_\w+)", OPERATIONS.read_text(encoding="utf-8"), re.M))
    assert documented == every_figure()
