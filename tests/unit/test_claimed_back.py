"""
Tests for entries that another consumer claims, and does not finish.
"""

from __future__ import annotations

from eventsvc.consumer.recent import RecentEntries
from eventsvc.consumer.service import Consumer
from eventsvc.event import EVENT_FIELD, Entry, Notification, encode_notification
from tests.support.consumer_world import ConsumerWorld
from tests.support.failovers import Calls, link_of

CLAIM_IDLE = 6.0


def claim(consuming: ConsumerWorld, *places: int) -> None:
    """Let an absent consumer claim entries."""
    for place in places:
        row = consuming.stream.groups["group"].pending[place]
        row.consumer, row.since = "absent", consuming.clock.seconds()


def handle_what_another_claims(consuming: ConsumerWorld) -> tuple[Consumer, Calls]:
    """Let a consumer handle an event that another one claims meanwhile, so that it cannot acknowledge it."""
    calls = Calls(consuming)
    consumer = consuming.consumer(calls, claim_idle=CLAIM_IDLE)
    consuming.add("a")
    consuming.run(1.0)
    claim(consuming, 1)
    consuming.run(CLAIM_IDLE / 2)
    assert consumer.in_flight.lost == {"1-0"}
    calls.end("a")
    assert consuming.pending == [1]
    return consumer, calls


def test_what_was_handled_meanwhile_is_acknowledged_once_it_is_claimed_back(consuming: ConsumerWorld) -> None:
    consumer, _ = handle_what_another_claims(consuming)
    consuming.run(2 * CLAIM_IDLE)
    assert (consuming.seen, consuming.pending) == (["a"], [])
    assert consumer.recovery.recognised == 1


def test_what_was_handled_without_redis_is_acknowledged_once_it_is_claimed_back(consuming: ConsumerWorld) -> None:
    calls = Calls(consuming)
    consumer = consuming.consumer(calls, concurrency=2, claim_idle=CLAIM_IDLE)
    consuming.add("a", "b")
    consuming.run(1.0)
    link_of(consumer).disconnect()
    calls.end("a", "b")
    claim(consuming, 1, 2)
    link_of(consumer).connect()
    consuming.run(1.0)
    assert consuming.pending == [1, 2]
    consuming.run(2 * CLAIM_IDLE)
    assert (consuming.seen, consuming.pending) == (["a", "b"], [])


def test_what_ends_while_redis_is_asked_is_acknowledged_once_it_is_claimed_back(consuming: ConsumerWorld) -> None:
    """The answer is on its way that the entry is not ours any more."""
    calls = Calls(consuming)
    consumer = consuming.consumer(calls, claim_idle=CLAIM_IDLE)
    consuming.add("a")
    consuming.run(1.0)
    link_of(consumer).disconnect()
    claim(consuming, 1)
    link_of(consumer).latency = 0.5
    link_of(consumer).connect()
    while not consumer.in_flight.in_doubt:
        consuming.run(0.1)
    calls.end("a")
    consuming.run(3 * CLAIM_IDLE)
    assert (consuming.seen, consuming.pending) == (["a"], [])


def test_another_event_under_its_id_is_handled(consuming: ConsumerWorld) -> None:
    _, calls = handle_what_another_claims(consuming)
    consuming.stream.entries[1] = {EVENT_FIELD: encode_notification(Notification(1, "b", "now"))}
    consuming.run(2 * CLAIM_IDLE)
    calls.end("b")
    assert (consuming.seen, consuming.pending) == (["a", "b"], [])


def test_what_is_read_again_is_handled_again(consuming: ConsumerWorld) -> None:
    """Somebody has set the group back."""
    handle_what_another_claims(consuming)
    group = consuming.stream.groups["group"]
    group.pending.clear()
    group.last = 0
    consuming.run(CLAIM_IDLE)
    assert consuming.seen == ["a", "a"]


def test_the_oldest_are_forgotten() -> None:
    recent = RecentEntries()
    entries = [Entry(f"{number}-0", {EVENT_FIELD: b"x"}) for number in range(12_000)]
    for start in range(0, 12_000, 500):
        recent.keep(entries[start : start + 500])
    assert [recent.is_claimed_back(entry) for entry in entries] == [False] * 2_000 + [True] * 10_000
    recent.clear()
    assert not any(map(recent.is_claimed_back, entries))
