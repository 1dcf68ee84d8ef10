"""
Tests for the rounds of L{eventsvc.consumer.service}, with realistic handlers:
slow coroutines, several at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise, product

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock, deferLater
from twisted.logger import capturedLogs

from eventsvc.consumer.chore import Chore
from eventsvc.event import Entry, Notification
from eventsvc.interfaces import Refused, Unknown
from eventsvc.testing import Fate, MemoryEventGroup, MemoryStream
from tests.support.consumer_world import ConsumerWorld
from tests.unit.test_consumer import link_of


class NoRightToRead(MemoryEventGroup):
    """A group whose user may do everything but read."""

    def read(self, count: int, block: float) -> Deferred[Sequence[Entry]]:
        return fail(Refused("NOPERM no permissions to run the 'xreadgroup' command"))


class NoRightToAcknowledge(MemoryEventGroup):
    """A group whose user may do everything but acknowledge."""

    def acknowledge(self, ids: Sequence[str]) -> Deferred[None]:
        return fail(Refused("NOPERM no permissions to run the 'xack' command"))


class TestPhases:
    """Periodic work is done in every phase."""

    def test_own_entries_that_are_taken_up_are_not_claimed(self, consuming: ConsumerWorld) -> None:
        """They were idle for nearly long enough to be claimed, and are handled slowly."""
        names = [f"{number}" for number in range(9)]
        consuming.leave_pending("slow", *names, idle=29.0)
        consuming.consumer(consuming.slow(25.0), name="slow", concurrency=3)
        consuming.run(0.5)
        consuming.consumer(name="quick")
        consuming.run(28.0)
        assert sorted(consuming.seen[-3:]) == ["0", "1", "2"]  # what it had begun with was left to it
        consuming.run(100.0)
        assert sorted(consuming.seen) == names
        assert consuming.pending == []

    def test_chores_are_done_while_own_entries_are_taken_up(self, consuming: ConsumerWorld) -> None:
        """That may take hours, with a slow handler and many entries."""
        consuming.leave_pending("consumer", *"abcdef")
        consumer = consuming.consumer(consuming.slow(100.0))
        consuming.run(99.0)
        operations = link_of(consumer).operations
        assert consuming.seen == []
        assert 9 <= operations.count("renew") <= 10
        assert operations.count("trim") >= 50

    def test_a_page_is_no_larger_than_there_is_room(self, consuming: ConsumerWorld) -> None:
        """This also applies to own entries and claimed ones."""
        consuming.leave_pending("consumer", *[f"{number}" for number in range(50)])
        consuming.leave_pending("dead", *[f"{number}" for number in range(50)], idle=100.0)
        consumer = consuming.consumer(consuming.slow(5.0), concurrency=3)
        most = 0
        for _ in range(200):
            consuming.run(1.0)
            most = max(most, len(consumer.in_flight.entries))
        assert most <= 12  # what three handlers do within half of the idle time, and a little
        assert len(consuming.seen) == 100

    def test_what_is_in_flight_is_renewed_while_a_stop_drains(self, consuming: ConsumerWorld) -> None:
        """The handlers continue, so no other consumer may claim their entries."""
        consumer = consuming.consumer(consuming.slow(80.0), name="first", concurrency=3, drain_timeout=100.0)
        consuming.add("a", "b", "c")
        consuming.run(1.0)
        stopping = consumer.stopService()
        consuming.consumers.remove(consumer)
        consuming.consumer(name="second")
        consuming.run(90.0)
        assert stopping.called
        assert sorted(consuming.seen) == ["a", "b", "c"]
        assert consuming.pending == []

    def test_what_ends_while_a_stop_drains_is_acknowledged_at_once(self, consuming: ConsumerWorld) -> None:
        """Otherwise it would be handled again if the process is killed before the last handler ends."""
        durations = iter([5.0, 60.0])
        consumer = consuming.consumer(
            lambda event: consuming.slow(next(durations))(event), concurrency=2, drain_timeout=90.0
        )
        consuming.add("quick", "slow")
        consuming.run(1.0)
        stopping = consumer.stopService()
        consuming.run(6.0)
        assert (consuming.seen, consuming.pending, consumer.problem) == (["quick"], [2], "")
        consuming.run(60.0)
        assert stopping.called
        consuming.consumers.remove(consumer)

    def test_a_stop_begins_with_nothing_more(self, consuming: ConsumerWorld) -> None:
        """Neither waiting entries nor new ones."""
        consumer = consuming.consumer(consuming.slow(3.0), concurrency=3)
        consuming.add(*["x"] * 60)
        consuming.run(20.0)
        consuming.seen.clear()
        waiting = len(consumer.in_flight.entries) - 3
        assert waiting > 3
        stopping = consumer.stopService()
        consuming.run(9.0)
        assert stopping.called
        consuming.consumers.remove(consumer)
        assert (len(consuming.seen), len(consuming.pending)) == (3, waiting)

    def test_a_stop_reads_nothing_while_it_drains(self, consuming: ConsumerWorld) -> None:
        """Other consumers would get the events only at the end."""
        consumer = consuming.consumer(consuming.slow(8.0), concurrency=3)
        consuming.add("a")
        consuming.run(1.0)
        stopping = consumer.stopService()
        consuming.add("b", "c")
        consuming.run(6.0)
        assert (stopping.called, consuming.stream.groups["group"].last, consuming.pending) == (False, 1, [1])
        consuming.run(3.0)
        assert stopping.called
        consuming.consumers.remove(consumer)

    def test_handlers_are_cancelled_when_the_drain_is_over(self, consuming: ConsumerWorld) -> None:
        """They are cancelled, and their entries are handed over."""
        cancelled: list[str] = []

        def handle(notification: Notification) -> Deferred[None]:
            return Deferred(lambda _: cancelled.append(notification.description))

        consumer = consuming.consumer(handle, concurrency=3, drain_timeout=5.0)
        consuming.add("a", "b", "c")
        consuming.run(1.0)
        stopping = consumer.stopService()
        consuming.run(4.9)
        assert cancelled == []
        consuming.run(1.0)
        assert (sorted(cancelled), stopping.called) == (["a", "b", "c"], True)
        consuming.consumers.remove(consumer)
        assert consuming.pending == [1, 2, 3]

    def test_what_ends_is_acknowledged_soon_though_a_read_waits(self, consuming: ConsumerWorld) -> None:
        """There is room for more, so the next read blocks while handlers run."""
        consumer = consuming.consumer(consuming.slow(1.0), concurrency=3)
        consuming.run(10.0)
        consuming.add("a")
        consuming.run(1.15)
        assert (consuming.seen, consuming.pending) == (["a"], [])
        assert not consumer.acknowledgements.unconfirmed

    def test_what_ends_during_a_chore_is_acknowledged_before_the_next_read(self, consuming: ConsumerWorld) -> None:
        """That read may wait for seconds for new events."""
        consumer = consuming.consumer(consuming.slow(0.002))
        consumer.chores.append(Chore(0.0, lambda: deferLater(consuming.clock, 0.005)))
        consuming.run(0.5)
        consuming.add("a")
        consuming.run(0.05)
        assert (consuming.seen, consuming.pending) == (["a"], [])

    def test_a_chore_is_done_as_often_as_it_says(self, consuming: ConsumerWorld) -> None:
        """Not more often either."""
        consumer = consuming.consumer(consuming.slow(0.01), concurrency=3)
        for _ in range(60):
            consuming.add(*"abc")
            consuming.run(1.0)
        assert 20 <= link_of(consumer).operations.count("trim") <= 60
        assert link_of(consumer).operations.count("remove_stale") == 1

    def test_a_chore_is_done_in_time_while_the_handler_is_busy(self, consuming: ConsumerWorld) -> None:
        """The wait for the handler ends when the chore is due."""
        consumer = consuming.consumer(consuming.slow(100.0))
        consuming.add("a")
        consuming.run(1.0)
        times: list[float] = []

        async def note() -> None:
            times.append(consuming.clock.seconds())

        consumer.chores.append(Chore(0.3, note))
        consuming.run(10.0)
        assert {round(later - before, 1) for before, later in pairwise(times)} == {0.3}

    def test_a_chore_may_be_due_after_so_many_entries(self, consuming: ConsumerWorld) -> None:
        """History must be trimmed before the stream is full, however fast events come."""
        consumer = consuming.consumer(consuming.slow(0.01), concurrency=3)
        done: list[int] = []

        async def note() -> None:
            done.append(consumer.in_flight.counts.handled)

        consumer.chores.append(Chore(3_600.0, note, handled=50))
        consuming.add(*["x"] * 500)
        consuming.run(20.0)
        assert 8 <= len(done) <= 11
        assert min(later - before for before, later in pairwise(done)) >= 50

    def test_a_stop_gives_up_the_read(self, consuming: ConsumerWorld) -> None:
        """Otherwise it would read an event that nobody handles, and delay the stop."""
        consumer = consuming.consumer(consuming.slow(0.1), concurrency=3)
        consuming.run(10.0)
        stopping = consumer.stopService()
        consuming.run(0.3)
        assert stopping.called
        consuming.consumers.remove(consumer)
        consuming.add("late")
        consuming.run(10.0)
        assert consuming.stream.groups["group"].last == -1

    def test_a_stop_waits_two_seconds_for_redis(self, consuming: ConsumerWorld) -> None:
        """Other consumers claim the remaining entries when these are idle."""
        consumer = consuming.consumer()
        consuming.run(1.0)
        link_of(consumer).fates = iter(lambda: Fate.SILENT, None)
        stopped: list[None] = []
        with capturedLogs() as logs:
            consumer.stopService().addCallback(stopped.append)
            consuming.run(1.9)
            assert (stopped, logs) == ([], [])
            consuming.run(0.2)
        consuming.consumers.remove(consumer)
        assert stopped == [None]
        assert [(event["log_level"].name, event["seconds"]) for event in logs] == [("warn", 2.0)]

    @pytest.mark.parametrize(("fate", "error"), [(Fate.REFUSED, Refused), (Fate.CUT_BEFORE, Unknown)])
    def test_a_stop_ends_well_though_it_cannot_hand_over(
        self, consuming: ConsumerWorld, fate: Fate, error: type[Exception]
    ) -> None:
        """The log says why."""
        consumer = consuming.consumer()
        consuming.run(1.0)
        link_of(consumer).fates = iter(lambda: fate, None)
        stopped: list[None] = []
        with capturedLogs() as logs:
            consumer.stopService().addCallback(stopped.append)
            consuming.run(1.0)
        consuming.consumers.remove(consumer)
        assert stopped == [None]
        assert [(event["log_level"].name, type(event["error"])) for event in logs] == [("warn", error)]

    def test_a_stop_says_how_many_events_are_not_finished(self, consuming: ConsumerWorld) -> None:
        """It logs no error, because the stop was requested."""
        consumer = consuming.consumer(consuming.slow(100.0), concurrency=3, drain_timeout=1.0)
        consuming.add("a", "b")
        consuming.run(1.0)
        with capturedLogs() as logs:
            consuming.stop(consumer)
        assert [(event["log_level"].name, event["count"]) for event in logs] == [("warn", 2)]

    @pytest.mark.parametrize(("claim_idle", "unseen"), [(30.0, 3_600.0), (1_000.0, 10_000.0)])
    def test_a_consumer_that_is_gone_is_removed(
        self, consuming: ConsumerWorld, claim_idle: float, unseen: float
    ) -> None:
        """Once it was idle for long and has nothing pending; the log names it."""
        consuming.consumer(claim_idle=claim_idle)
        consuming.run(1.0)
        consumers = consuming.stream.groups["group"].consumers
        consumers["gone"] = consuming.clock.seconds()
        with capturedLogs() as logs:
            consuming.run(unseen - 60.0)
            assert (sorted(consumers), logs) == (["consumer", "gone"], [])
            consuming.run(180.0)
        assert list(consumers) == ["consumer"]
        assert [(event["log_level"].name, event["names"]) for event in logs] == [("info", "gone")]

    def test_what_is_not_confirmed_is_not_handed_over(self, consuming: ConsumerWorld) -> None:
        """Otherwise the next consumer would handle it again."""
        consumer = consuming.consumer(consuming.slow(0.5), concurrency=3)
        consuming.run(1.0)
        link = link_of(consumer)
        consuming.add("a")
        consuming.run(0.4)
        link.fates = iter(lambda: Fate.SILENT, None)
        consuming.run(1.0)
        assert (consuming.seen, consuming.pending) == (["a"], [1])
        link.expect()
        consuming.stop(consumer)
        assert consuming.pending == []


class TestPagesOfIds:
    """Operations on pages of ids cover all ids."""

    @pytest.fixture(autouse=True)
    def small_pages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in ("recovery", "acknowledgements"):
            monkeypatch.setattr(f"eventsvc.consumer.{module}._PAGE", 2)

    def test_all_that_is_left_is_handed_over(self, consuming: ConsumerWorld) -> None:
        consumer = consuming.consumer(consuming.slow(900.0), concurrency=7, drain_timeout=1.0, name="first")
        consuming.add(*"abcdefg")
        consuming.run(5.0)
        consuming.stop(consumer)
        assert link_of(consumer).operations.count("release") == 4
        consuming.consumer(name="second", claim_idle=3_600.0)
        consuming.run(2.0)
        assert consuming.seen == [*"abcdefg"]

    def test_all_that_is_in_flight_is_renewed(self, consuming: ConsumerWorld) -> None:
        consuming.consumer(consuming.slow(100.0), concurrency=7, name="first")
        consuming.add(*"abcdefg")
        consuming.run(5.0)
        consuming.consumer(name="second")
        consuming.run(120.0)
        assert sorted(consuming.seen) == [*"abcdefg"]

    def test_all_that_is_done_is_acknowledged_on_a_new_connection(self, consuming: ConsumerWorld) -> None:
        consumer = consuming.consumer(consuming.slow(5.0), concurrency=7)
        consuming.add(*"abcdefg")
        consuming.run(4.0)
        link_of(consumer).disconnect()
        consuming.run(2.0)
        link_of(consumer).connect()
        consuming.run(3.0)
        assert (sorted(consuming.seen), consuming.pending) == ([*"abcdefg"], [])


class TestRestart:
    """A consumer is started once."""

    def test_a_second_start_is_refused_in_words(self, consuming: ConsumerWorld) -> None:
        """While it runs and after it has stopped; its state does not change."""
        consumer = consuming.consumer(consuming.slow(0.1))
        chores = len(consumer.chores)
        with pytest.raises(RuntimeError, match="a consumer is started once"):
            consumer.startService()
        consuming.add("a")
        consuming.run(1.0)
        assert (consuming.seen, len(consumer.chores), consumer.running) == (["a"], chores, True)
        consuming.stop(consumer)
        with pytest.raises(RuntimeError, match="make a new one"):
            consumer.startService()
        assert not consumer.running

    def test_it_may_stop_before_it_was_started(self, consuming: ConsumerWorld) -> None:
        """As happens when a process fails to start."""
        consumer = consuming.consumer()
        fresh = type(consumer)(group=consumer.group, in_flight=consumer.in_flight, clock=consuming.clock)
        stopping = fresh.stopService()
        consuming.run(1.0)
        assert stopping.called


class TestReadiness:
    """It says whether Redis lets the consumer work."""

    def test_a_refused_read_is_told(self, consuming: ConsumerWorld) -> None:
        """It is not ready until a read succeeds; it stays live."""
        consumer = consuming.consumer(group_type=NoRightToRead)
        consuming.leave_pending("consumer", "a")
        for _ in range(20):
            consuming.run(3.0)
            assert "The last round failed" in consumer.problem
            assert consuming.clock.seconds() - consumer.last_round < 3.0
        assert 20 <= sum(consumer.refused.values()) <= 40  # with growing pauses in between
        assert consuming.seen == ["a"]  # what was read before is handled all the same
        assert link_of(consumer).operations.count("trim") >= 20

    def test_it_is_fit_from_its_first_round_on(self, consuming: ConsumerWorld) -> None:
        """Whether there is nothing or much to read."""
        consumer = consuming.consumer(consuming.slow(100.0))
        assert consumer.problem
        consuming.run(0.1)
        assert consumer.problem == ""
        consuming.add("a")
        consuming.run(50.0)
        assert consumer.problem == ""

    def test_a_lost_connection_is_told_until_a_round_succeeds(self, consuming: ConsumerWorld) -> None:
        consumer = consuming.consumer()
        consuming.run(1.0)
        link_of(consumer).cut()
        consuming.run(0.01)
        assert (consumer.problem, consumer.refused) == ("The last round failed: unknown", {"unknown": 1})
        consuming.run(1.0)
        assert consumer.problem == ""

    def test_it_is_fit_again_while_its_handler_is_busy(self, consuming: ConsumerWorld) -> None:
        """Nothing is read then, but Redis has answered all that it was asked."""
        consumer = consuming.consumer(consuming.slow(1_000.0))
        consuming.add("a")
        consuming.run(1.0)
        link_of(consumer).cut()
        consuming.run(5.0)
        assert consumer.problem == ""

    def test_nothing_is_read_while_acknowledgements_are_refused(self, consuming: ConsumerWorld) -> None:
        """Otherwise handled but pending entries would grow without limit."""
        consumer = consuming.consumer(consuming.slow(0.1), concurrency=3, group_type=NoRightToAcknowledge)
        for _ in range(20):
            consuming.add(*"abc")
            consuming.run(3.0)
        assert len(consuming.seen) == len(consuming.pending) <= 6
        assert consumer.problem
        assert Counter(consuming.pending) == Counter(set(consuming.pending))

    def test_it_is_fit_while_own_entries_are_taken_up(self, consuming: ConsumerWorld) -> None:
        """That may take hours, in which nothing new is read."""
        consuming.leave_pending("consumer", *"abc")
        consumer = consuming.consumer(consuming.slow(100.0))
        consuming.run(0.1)
        assert consumer.problem == ""

    def test_a_refused_chore_is_logged_once_and_counted_each_time(self, consuming: ConsumerWorld) -> None:
        """It is tried again, and the loop continues without it."""
        consumer = consuming.consumer()
        consuming.run(1.0)
        chore, attempts = consumer.chores[0], 0
        trim = chore.work

        def refuse() -> Deferred[None]:
            nonlocal attempts
            attempts += 1
            return fail(Refused("NOPERM no permissions to run the 'xtrim' command"))

        with capturedLogs() as logs:
            chore.work = refuse
            consuming.run(60.0)
            assert consumer.problem == ""
            assert consumer.refused == {"redis_away": attempts}
            assert attempts >= 10
            assert [event["log_level"].name for event in logs] == ["warn"]
            chore.work = trim
            consuming.run(10.0)
            assert chore.problem == ""
            chore.work = refuse
            consuming.run(10.0)
        assert [event["log_level"].name for event in logs] == ["warn", "warn"]


def test_what_is_refused_to_be_acknowledged_is_not_handled_again(consuming: ConsumerWorld) -> None:
    """The list of own entries, requested before the refusal, still contains it."""
    consuming.leave_pending("consumer", *[f"{number}" for number in range(30)])
    consumer = consuming.consumer(consuming.slow(0.2), concurrency=3)
    link = link_of(consumer)
    link.latency = 0.1

    def fates() -> Iterator[Fate]:
        while True:
            refused = link.operations[-1] == "acknowledge" and link.operations.count("acknowledge") % 3
            yield Fate.REFUSED if refused else Fate.FINE

    link.fates = fates()
    consuming.run(300.0)
    assert sorted(consuming.seen) == sorted(f"{number}" for number in range(30))
    link.expect()
    consuming.run(10.0)
    assert consuming.pending == []


LOSSES = (Fate.FINE, Fate.REFUSED, Fate.CUT_BEFORE, Fate.CUT_AFTER, Fate.LATE)


@pytest.mark.parametrize("first", LOSSES)
def test_whatever_is_lost_an_event_in_flight_is_handled_once(first: Fate) -> None:
    """
    All runs of operations from the first connection on, each with every fate
    in two places: a process that lives handles no event twice, however slow.
    """
    for second, place in product(LOSSES, range(12)):
        clock = Clock()
        world = ConsumerWorld(clock, MemoryStream(clock))
        world.add("a", "b", "c", "d")
        fates = [Fate.FINE] * place + [first, second]
        consumer = world.consumer(world.slow(0.4), fates=fates, concurrency=3)
        world.run(0.5)
        world.add("e", "f")
        world.run(45.0)
        assert sorted(world.seen) == [*"abcdef"], fates
        assert world.pending == [], fates
        world.stop(consumer)
