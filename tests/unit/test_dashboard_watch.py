"""
Tests for L{eventsvc.dashboard.watch} on a fake clock, and for what it keeps and reads in Redis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from eventsvc.dashboard.point import PLACES, Point
from eventsvc.dashboard.story import Delivery
from eventsvc.dashboard.watch import Watch
from eventsvc.errors import Refused, Unknown
from eventsvc.heartbeat import SeenHeartbeat
from eventsvc.redis.events import StreamEvents
from eventsvc.redis.hour import Hour
from eventsvc.redis.survey import survey
from eventsvc.stream_state import StreamState
from tests.support.dashboard_world import STREAM, make_heartbeat, make_state
from tests.support.processes import Server
from tests.support.real_connection import logged, ready, started

KEY = "{NotificationStream}:hour"
DEAD = "{NotificationStream}:dead"


@attrs.define
class World:
    """A stream with one consumer, which handles ten events a second."""

    clock: Clock = attrs.field(factory=Clock)
    why_not: str = ""
    failure: Exception | None = None
    waiting: Deferred[Any] | None = None
    points: list[Point] = attrs.field(factory=list)
    problem: str = ""
    age: float = 0.0
    oldest: float = 0.0
    watch: Watch = attrs.field(init=False)

    @watch.default
    def _make(self) -> Watch:
        return Watch(STREAM, self.survey, self.Beats(self), self, self.clock, lambda: self.why_not)

    @attrs.define
    class Beats:
        world: World
        problem: str = ""

        def read(self) -> Deferred[Sequence[SeenHeartbeat]]:
            now = self.world.clock.seconds()
            beat = make_heartbeat(uptime=now, figures={"handled": 10 * now})
            return succeed([SeenHeartbeat(beat, self.world.age)])

    def survey(self) -> Deferred[StreamState]:
        if self.waiting is not None:
            return self.waiting
        if self.failure:
            return fail(self.failure)
        now = 1_000_000 + self.clock.seconds()
        group = make_state().groups[0]
        measures = attrs.evolve(group.measures, pending_age=now - self.oldest if self.oldest else 0.0)
        return succeed(attrs.evolve(make_state(attrs.evolve(group, measures=measures)), now=now))

    def keep(self, point: Point) -> Deferred[None]:
        self.points.append(point)
        return succeed(None)

    def read(self) -> Deferred[Sequence[Point]]:
        return succeed(list(self.points))

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1.0)
            self.watch.look()


@pytest.fixture
def world() -> World:
    return World()


def test_rates_are_taken_over_some_seconds(world: World) -> None:
    assert world.watch.overview.state is None
    world.run(3)
    assert world.watch.overview.rates.handled == pytest.approx(10.0)
    assert world.watch.overview.alarms == []
    world.run(60)
    assert world.watch.overview.rates.handled == pytest.approx(10.0)
    assert len(world.watch._window) <= 12


def test_a_point_is_kept_every_five_seconds(world: World) -> None:
    world.run(60)
    numbers = [point.number for point in world.points]
    assert numbers == sorted(set(numbers))
    assert len(numbers) in (12, 13)
    assert world.watch.hour == world.points


def test_without_a_ring_the_points_of_this_process_are_shown(world: World) -> None:
    world.problem = "NOPERM"
    world.run(5 * PLACES + 100)
    assert len(world.watch.hour) == PLACES


@pytest.mark.parametrize("failure", [Refused("no"), Unknown("no answer")])
def test_what_was_seen_is_told_to_be_old(world: World, failure: Exception) -> None:
    world.run(3)
    world.failure = failure
    world.run(3)
    assert world.watch.overview.alarms == []
    world.run(3)
    overview = world.watch.overview
    assert [alarm.name for alarm in overview.alarms] == ["RedisIsAway"]
    assert overview.problem == "Redis has not answered for 6 s"
    assert overview.state is not None
    world.failure = None
    world.run(1)
    assert world.watch.overview.alarms == []


def names(world: World) -> list[str]:
    return [alarm.name for alarm in world.watch.overview.alarms]


def test_an_event_is_stuck_if_the_same_one_is_the_oldest_for_ten_minutes(world: World) -> None:
    """Not if many are old, because a backlog is caught up."""
    world.run(1)
    for number in range(900):
        world.oldest = 999_000 + number / 100
        world.run(1)
        assert names(world) == []
    world.oldest = 999_500
    world.run(600)
    assert names(world) == []
    world.run(1)
    assert names(world) == ["AnEventIsStuck"]
    world.oldest += 1
    world.run(1)
    assert names(world) == []


def test_what_is_old_at_the_first_look_is_stuck_until_it_moves(world: World) -> None:
    world.oldest = 999_000
    world.run(1)
    assert names(world) == ["AnEventIsStuck"]
    world.oldest = 999_001
    world.run(1)
    assert names(world) == []


def test_after_an_outage_processes_have_a_moment_to_be_heard(world: World) -> None:
    world.run(20)
    world.why_not = "Redis cannot be reached: connection refused"
    world.run(60)
    [process] = world.watch.overview.processes
    assert process.age == 60.0  # and it says so
    world.why_not, world.age = "", 60.0
    world.run(3)
    assert names(world) == []
    world.run(3)
    assert names(world) == ["AProcessIsSilent"]


def test_rates_after_an_outage_are_not_those_since_the_start(world: World) -> None:
    world.run(20)
    world.why_not = "Redis cannot be reached: connection refused"
    world.run(60)
    world.why_not = ""
    world.run(1)
    assert world.watch.overview.rates.handled is None
    world.run(1)
    assert world.watch.overview.rates.handled == pytest.approx(10.0)


def test_while_redis_is_away_it_does_not_ask(world: World) -> None:
    world.why_not = "Redis cannot be reached: connection refused"
    world.failure = AssertionError("it has asked")
    world.run(3)
    assert [alarm.detail for alarm in world.watch.overview.alarms] == [world.why_not]


def test_it_asks_again_only_after_an_answer(world: World) -> None:
    world.waiting = Deferred()
    world.run(10)
    waiting, world.waiting = world.waiting, None
    waiting.errback(Unknown("no answer"))
    world.run(1)
    assert world.watch.overview.state is not None


# In Redis


@pytest_twisted.ensureDeferred
async def test_the_hour_is_shared_and_no_point_is_doubled(each_server: Server) -> None:
    """Two dashboards write at the same time: the first point of a moment stays."""
    with each_server.client() as client:
        async with started(each_server.port) as connection, started(each_server.port) as other:
            await ready(connection)
            await ready(other)
            ours, theirs = Hour(connection, STREAM), Hour(other, STREAM)
            now = int(client.time()[0] // 5)
            for number in range(now - PLACES - 5, now + 1):
                await ours.keep(Point(number=number, accepted=1.0))
                await theirs.keep(Point(number=number, accepted=2.0))
            assert client.hlen(KEY) == PLACES
            assert 0 < client.ttl(KEY) <= 7_200
            points = await theirs.read()
            later = int(client.time()[0] // 5)
            assert len(points) >= PLACES - (later - now)
            assert [point.number for point in points] == list(range(now - PLACES + 1, now + 1))[-len(points) :]
            assert {point.accepted for point in points} == {1.0}


@pytest_twisted.ensureDeferred
async def test_points_of_another_time_and_other_records_are_left_out(server: Server) -> None:
    """The clock of Redis was set back or forward; or somebody wrote there."""
    with server.client() as client:
        async with started(server.port) as connection:
            await ready(connection)
            hour = Hour(connection, STREAM)
            now = int(client.time()[0] // 5)
            await hour.keep(Point(number=now + 1_000))
            await hour.keep(Point(number=now - 1_000))
            client.hset(KEY, mapping={"x": "nonsense", "y": "1 {}"})
            assert await hour.read() == []
            await hour.keep(Point(number=now))
            await hour.keep(Point(number=now + 1_000, dead=3.0))
            assert [point.number for point in await hour.read()] == [now]


@pytest_twisted.ensureDeferred
async def test_a_dashboard_that_may_not_keep_points_goes_on_with_one_log_message(each_server: Server) -> None:
    with each_server.client() as client:
        async with started(each_server.port) as connection:
            await ready(connection)
            hour = Hour(connection, STREAM)
            client.execute_command("ACL", "SETUSER", "default", "resetkeys", f"~{STREAM}")
            with logged() as was_logged:
                await hour.keep(Point(number=1))
                assert was_logged(
                    "the charts have no history: Redis refuses NOPERM on the key {NotificationStream}:hour"
                )
            with logged() as was_logged:
                await hour.keep(Point(number=1))
                assert await hour.read() == []
                assert not was_logged("")
            client.execute_command("ACL", "SETUSER", "default", "allkeys")
            client.set(KEY, "a")
            await hour.keep(Point(number=1))
            assert hour.problem == "WRONGTYPE"


@pytest_twisted.ensureDeferred
async def test_entries_are_read_in_pages_of_bounded_size(each_server: Server) -> None:
    with each_server.client() as client:
        ids = [client.xadd(STREAM, {"EventStream": b"x" * 100_000}).decode() for _ in range(100)]
        async with started(each_server.port) as connection:
            await ready(connection)
            events = StreamEvents(connection, STREAM)
            newest = await events.read_newest("", 1_000)
            assert 10 <= len(newest) <= 40
            assert [each.id for each in newest] == ids[::-1][: len(newest)]
            assert [each.id for each in await events.read_newest(ids[50], 3)] == [ids[49], ids[48], ids[47]]
            assert [each.id for each in await events.read_after(ids[50], 3)] == ids[51:54]
            assert [each.id for each in await events.read_after("0-0", 1)] == ids[:1]
            assert await events.read_after(ids[-1], 10) == []
            assert await events.read_newest(ids[0], 10) == []
            found = await events.find(ids[7])
            assert found is not None
            assert found.size == 100_011
            assert await events.find("1-1") is None


@pytest_twisted.ensureDeferred
async def test_it_is_found_who_has_an_entry_and_its_dead_letter(each_server: Server) -> None:
    with each_server.client() as client:
        client.xgroup_create(STREAM, "group", "0", mkstream=True)
        first, second = (client.xadd(STREAM, {"EventStream": "{}"}).decode() for _ in range(2))
        client.xreadgroup("group", "me", {STREAM: ">"}, count=1)
        for number in range(300):
            client.xadd(DEAD, {"id": f"1-{number}", "reason": "failed"})
        client.xadd(DEAD, {"id": first, "reason": "failed", "deliveries": 5})
        async with started(each_server.port) as connection:
            await ready(connection)
            events = StreamEvents(connection, STREAM)
            (group,) = (await survey(connection, STREAM)).groups
            assert group.last == first
            delivery = await events.find_delivery(group, first)
            assert isinstance(delivery, Delivery)
            assert (delivery.consumer, delivery.deliveries) == ("me", 1)
            assert await events.find_delivery(group, second) is None
            letter = await events.find_letter(first)
            assert letter is not None
            assert letter.deliveries == 5
            assert await events.find_letter(second) is None
