"""
Tests for the reads of L{eventsvc.consumer.service}: how much, how long they wait, and when
it reads ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import attrs
import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import capturedLogs

from eventsvc.consumer.chore import Chore
from eventsvc.consumer.service import Consumer
from eventsvc.event import Entry, Notification
from eventsvc.interfaces import Refused, Unknown
from eventsvc.testing import Fate, MemoryEventGroup
from tests.support.consumer_world import ConsumerWorld
from tests.unit.test_consumer import link_of


@attrs.frozen
class Read:
    """A read, the time it was sent, and how many events were handled by then."""

    time: float
    handled: int
    count: int
    block: float


@attrs.define
class Reads:
    """Records all reads, and can refuse them."""

    sent: list[Read] = attrs.field(factory=list)
    error: Exception | None = None

    @property
    def pauses(self) -> list[float]:
        """Return the seconds between consecutive reads."""
        return [later.time - read.time for read, later in pairwise(self.sent)]


@pytest.fixture
def reads(consuming: ConsumerWorld, monkeypatch: pytest.MonkeyPatch) -> Reads:
    """Record reads, and refuse them on demand."""
    made = Reads()
    read = MemoryEventGroup.read

    def recorded(group: MemoryEventGroup, count: int, block: float) -> Deferred[Sequence[Entry]]:
        made.sent.append(Read(consuming.clock.seconds(), len(consuming.seen), count, block))
        return read(group, count, block) if made.error is None else fail(made.error)

    monkeypatch.setattr(MemoryEventGroup, "read", recorded)
    return made


def practise(consuming: ConsumerWorld, consumer: Consumer) -> None:
    """Let a consumer handle small events until its reads have full size and one waits."""
    for _ in range(20):
        consuming.add("small")
        consuming.run(4.0)
    consuming.seen.clear()


class TestAhead:
    """The next read is sent before a batch is handled, if there is room for as much again."""

    def test_a_quick_handler_has_its_next_batch_read_meanwhile(self, consuming: ConsumerWorld, reads: Reads) -> None:
        """Handled events are acknowledged between two batches."""
        consumer = consuming.consumer()
        practise(consuming, consumer)
        before, operations = len(reads.sent), link_of(consumer).operations
        del operations[:]
        consuming.add(*["x"] * 1_200)
        consuming.run(0.02)
        found = [(read.handled, read.count) for read in reads.sent[before:]]
        assert found == [(1, 500), (1, 500), (501, 500), (1_200, 500)]
        assert [read.block for read in reads.sent[before + 1 : before + 3]] == [0.0, 0.0]
        calls = [name for name in operations if name in ("read", "acknowledge")]
        assert calls == ["acknowledge", "read", "read", "acknowledge", "read", "acknowledge", "acknowledge", "read"]

    def test_no_more_is_read_ahead_than_there_is_room_for(self, consuming: ConsumerWorld, reads: Reads) -> None:
        """With an entry in flight, one whole batch fits, but not two."""

        def handle(event: Notification) -> Deferred[None] | None:
            consuming.see(event)
            return Deferred() if event.description == "long" else None

        consumer = consuming.consumer(handle, concurrency=2)
        practise(consuming, consumer)
        consuming.add("long")
        consuming.run(0.5)
        before = len(reads.sent)
        consuming.add(*["x"] * 1_200)
        consuming.run(0.1)
        first, second = reads.sent[before : before + 2]
        assert (first.handled, first.count, second.handled) == (2, 500, 502)

    def test_nothing_is_read_ahead_while_a_chore_is_due(self, consuming: ConsumerWorld, reads: Reads) -> None:
        """Otherwise the chore would wait as long as there is a backlog."""
        consumer = consuming.consumer()
        practise(consuming, consumer)
        consumer.chores.append(Chore(0.0, lambda: succeed(None)))
        before = len(reads.sent)
        consuming.add(*["x"] * 1_200)
        consuming.run(0.02)
        assert [read.handled for read in reads.sent[before:]] == [1, 501, 1_001, 1_200]


class TestBlock:
    """How long a read waits."""

    def test_a_read_on_an_idle_stream_waits_for_seconds(self, consuming: ConsumerWorld, reads: Reads) -> None:
        """After a first success, and not beyond the next claim."""
        consuming.consumer(claim_idle=70.0)
        consuming.run(60.0)
        assert reads.sent[0].block == 0.0
        assert max(read.block for read in reads.sent[1:]) == 5.0
        assert [read.block for read in reads.sent[2:4]] == pytest.approx([2.0, 5.0], abs=0.01)

    def test_a_read_beside_a_handler_waits_for_a_moment(self, consuming: ConsumerWorld, reads: Reads) -> None:
        """The acknowledgement must not wait longer, and Redis must not be polled constantly."""
        consuming.consumer(consuming.slow(9.0), concurrency=3)
        consuming.add("a")
        consuming.run(1.0)
        del reads.sent[:]
        consuming.run(5.0)
        assert all(0.0 < read.block <= 0.1 for read in reads.sent)
        assert len(reads.sent) <= 60

    def test_a_read_while_the_handler_is_busy_does_not_wait(self, consuming: ConsumerWorld, reads: Reads) -> None:
        """It is repeated only when a handler ends or a chore is due."""
        consumer = consuming.consumer(consuming.slow(9.0))
        consumer._pace.size = 10
        consuming.add("a")
        consuming.run(1.0)
        del reads.sent[:]
        consuming.run(5.0)
        assert {read.block for read in reads.sent} == {0.0}
        assert 3 <= len(reads.sent) <= 8

    def test_nothing_is_read_once_the_hand_is_full_of_claimed_entries(
        self, consuming: ConsumerWorld, reads: Reads
    ) -> None:
        """The room is counted again after a claim."""
        consuming.leave_pending("dead", *"abc", idle=100.0)
        consumer = consuming.consumer(consuming.slow(9.0), concurrency=3)
        consuming.add("new")
        consuming.run(5.0)
        assert (len(consumer.in_flight.entries), reads.sent) == (3, [])


class TestPace:
    """The entries in flight are those that the handler manages in half of the idle time."""

    def test_handlers_that_take_their_time_have_half_of_the_idle_time_in_flight(self, consuming: ConsumerWorld) -> None:
        """Three handlers, each a second: the number handled in 15 seconds."""
        consuming.add(*["x"] * 300)
        consumer = consuming.consumer(consuming.slow(1.0), concurrency=3)
        held = []
        for _ in range(60):
            consuming.run(1.0)
            held.append(len(consumer.in_flight.entries))
        assert 45 <= max(held) <= 60

    def test_waiting_for_events_is_not_taken_for_a_slow_handler(self, consuming: ConsumerWorld) -> None:
        """One event every four seconds, each handled at once; then many together."""
        consumer = consuming.consumer()
        practise(consuming, consumer)
        consumer.in_flight.handler.function = lambda _: Deferred()
        consuming.add(*["x"] * 100)
        consuming.run(0.1)
        assert len(consumer.in_flight.entries) >= 99


class TestPauses:
    """A failed round is followed by a pause."""

    def test_pauses_grow_while_nothing_is_handled(self, consuming: ConsumerWorld, reads: Reads) -> None:
        """They grow to two seconds; a handled event makes them short again."""
        consumer = consuming.consumer()
        consuming.run(1.0)
        reads.error = Refused("NOPERM no permissions to run the 'xreadgroup' command")
        del reads.sent[:]
        consuming.run(12.0)
        pauses = [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
        assert reads.pauses == pytest.approx(pauses, abs=0.01)
        reads.error = None
        consuming.add("a")
        consuming.run(3.0)
        reads.error = Unknown("no reply")
        del reads.sent[:]
        consuming.run(12.0)
        assert reads.pauses == pytest.approx(pauses, abs=0.01)
        assert (consuming.seen, consumer.refused) == (["a"], {"redis_away": 10, "unknown": 10})
        reads.error = None

    def test_an_unexpected_failure_is_logged_and_the_loop_goes_on(self, consuming: ConsumerWorld, reads: Reads) -> None:
        """It is counted like any other failure."""
        consumer = consuming.consumer()
        reads.error = ValueError("a mistake of ours")
        with capturedLogs() as logs:
            consuming.run(0.01)
        assert (consumer.refused, consumer.problem) == ({"unexpected": 1}, "The last round failed: unexpected")
        assert [event["log_failure"].type for event in logs if "log_failure" in event] == [ValueError]
        reads.error = None
        consuming.add("a")
        consuming.run(1.0)
        assert (consuming.seen, consumer.problem) == (["a"], "")

    def test_a_failure_is_logged_once(self, consuming: ConsumerWorld, reads: Reads) -> None:
        """Not at each attempt."""
        consumer = consuming.consumer()
        reads.error = Refused("NOPERM")
        with capturedLogs() as logs:
            consuming.run(20.0)
        assert consumer.refused["redis_away"] > 5
        assert [event["log_level"].name for event in logs] == ["warn"]

    def test_the_loop_is_seen_to_go_round_without_a_connection(self, consuming: ConsumerWorld) -> None:
        """From the start, so that the liveness check does not fail."""
        consuming.run(100.0)
        consumer = consuming.consumer(fates=[Fate.SILENT])
        consuming.run(1.0)
        assert consumer.last_round == 100.0
        link_of(consumer).fates = iter(lambda: Fate.REFUSED, None)
        link_of(consumer).cut()
        for _ in range(10):
            consuming.run(3.0)
            assert consuming.clock.seconds() - consumer.last_round < 3.0
        link_of(consumer).expect()
