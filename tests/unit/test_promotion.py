"""
Tests for L{eventsvc.redis.promotion}: a promoted replica is used before a Sentinel names it.
"""

from __future__ import annotations

from typing import Any, Final

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from eventsvc.redis.promotion import PATIENCE, Promotion
from eventsvc.redis.session import Session
from tests.support.fake_connection import messages, usable
from tests.support.fake_redis import GOOD, HANG_UP, SILENCE, FakeRedis, bulk
from tests.support.fake_sentinels import PROMOTED, REPLICA, SWITCHED, A, B, FakeDeployment, array

#: What the leader of the Sentinels says once it has told the replica.
PROMOTING: Final = "+failover-state-wait-promotion"


@pytest.fixture
def world() -> FakeDeployment:
    return FakeDeployment()


def test_a_promoted_replica_is_used_once_it_is_a_primary(world: FakeDeployment) -> None:
    """And no earlier: until then the session with the primary from before stays, as in a planned failover."""
    connection = world.start()
    asked = [len(sentinel.attempts) for sentinel in world.sentinels]
    with capturedLogs() as events:
        world.announce(1, PROMOTING, PROMOTED)
        world.run(1.0)
        assert usable(connection)
        assert connection.connects == 1
        world.b.answers = dict(GOOD)
        world.run(0.06)
    assert usable(connection)
    assert connection.primary.target == B
    assert not world.a.link.open
    assert [len(sentinel.attempts) for sentinel in world.sentinels] == asked
    assert messages(events) == [f"Sentinel 10.0.1.2:26379: the primary of mymaster is {B}"]
    world.stop(connection)


@pytest.mark.parametrize("state", ["down", "gone", "frozen"])
def test_it_is_used_though_the_primary_from_before_is_dead(world: FakeDeployment, state: str) -> None:
    connection = world.start()
    world.a.state, world.a.answers = ("up" if state == "frozen" else state), {}
    world.a.link.close()
    world.run(1.0)
    assert not usable(connection)
    world.b.answers = dict(GOOD)
    world.announce(0, PROMOTING, PROMOTED)
    world.run()
    assert usable(connection)
    assert connection.primary.target == B
    world.stop(connection)


def takes_over(world: FakeDeployment) -> Any:
    """Return a connection that uses B, while all Sentinels name A."""
    connection = world.start()
    world.b.answers = dict(GOOD)
    world.announce(0, PROMOTING, PROMOTED)
    world.run()
    assert connection.primary.target == B
    return connection


def test_that_sentinels_come_to_know_it_changes_nothing(world: FakeDeployment) -> None:
    connection = takes_over(world)
    world.run(0.8)
    world.announce(0, "+promoted-slave", PROMOTED)
    world.promote()
    for number in (1, 2, 0):
        world.announce(number, "+switch-master", SWITCHED)
        world.run(0.5)
    world.run(60.0)
    assert connection.connects == 2
    world.stop(connection)


def test_sentinels_that_do_not_know_it_yet_are_not_believed(world: FakeDeployment) -> None:
    """Neither at a check, nor when the session is lost: the primary from before still answers."""
    connection = takes_over(world)
    world.subscription(2).close()
    world.run(1.0)
    assert connection.connects == 2
    world.b.link.close()
    world.run(0.1)
    assert connection.connects == 3
    assert connection.primary.target == B
    world.stop(connection)


def test_a_failover_that_is_undone_is_given_up(world: FakeDeployment) -> None:
    """Nobody announces that: so the Sentinels are asked after some seconds."""
    connection = takes_over(world)
    world.run(PATIENCE - 0.1)
    assert connection.primary.target == B
    with capturedLogs() as events:
        world.run(0.2)
    assert usable(connection)
    assert connection.primary.target == A
    assert messages(events) == [f"Sentinels: the primary of mymaster is {A}"]
    world.run(60.0)
    assert connection.connects == 3
    world.stop(connection)


def test_what_another_sentinel_announces_counts_more(world: FakeDeployment) -> None:
    """A Sentinel that has lost the others promotes B; they have kept A, and say so."""
    connection = takes_over(world)
    world.announce(1, "+switch-master", f"mymaster {B.host} {B.port} {A.host} {A.port}")
    world.run()
    assert connection.primary.target == A
    world.run(60.0)
    assert connection.connects == 3
    world.stop(connection)


def test_a_primary_that_is_not_enough_yet_is_waited_for(world: FakeDeployment) -> None:
    """As with C{REDIS_DURABILITY=replicas}: it has none for a second."""
    connection = world.start()
    attempts: list[float] = []

    async def find_problem(session: Session, role: Any) -> str:
        attempts.append(world.clock.seconds())
        return "it has no replicas" if attempts[-1] - attempts[0] < 2.0 else ""

    connection.find_problem = find_problem
    world.b.answers = dict(GOOD)
    world.announce(0, PROMOTING, PROMOTED)
    world.run(2.5)
    assert usable(connection)
    assert connection.primary.target == B
    assert len(world.a.attempts) == 1
    world.stop(connection)


#: What a server may do that never becomes a primary.
NEVER: Final = [
    *[(state, {}) for state in ("down", "gone", "hanging up")],
    *[
        ("up", {"ROLE": answer})
        for answer in (
            REPLICA,
            SILENCE,
            HANG_UP,
            b"-NOPERM this user has no permissions to run the 'role' command\r\n",
            b"$-1\r\n",
            b"*0\r\n",
            b":1\r\n",
            bulk(b"master"),
            array("sentinel", "mymaster"),
            b"HTTP/1.1 400 Bad Request\r\n",
        )
    ],
]


@pytest.mark.parametrize(("state", "answers"), NEVER)
def test_a_replica_that_becomes_no_primary_is_forgotten(
    world: FakeDeployment, state: str, answers: dict[str, bytes]
) -> None:
    """The session stays; and the replica is asked for some seconds, one connection at a time."""
    connection = world.start()
    world.b.state, world.b.answers = state, answers
    with capturedLogs() as events:
        world.announce(0, PROMOTING, PROMOTED)
        while world.clock.seconds() < PATIENCE + 0.6:
            world.run(0.1)
            assert len([link for link in world.b.links if link.open]) <= 1
    tried = len(world.b.attempts)
    world.run(60.0)
    assert 5 <= tried == len(world.b.attempts) <= 101
    assert messages(events) == []
    assert connection.connects == 1
    assert usable(connection)
    world.stop(connection)


@pytest.mark.parametrize(
    "text",
    [PROMOTED.replace("mymaster", "other"), PROMOTED.replace(B.host, A.host), "", "@"],
)
def test_other_promotions_are_not_followed(world: FakeDeployment, text: str) -> None:
    connection = world.start()
    world.b.answers = dict(GOOD)
    world.announce(0, PROMOTING, text)
    world.run(10.0)
    assert connection.connects == 1
    assert world.b.attempts == []
    world.stop(connection)


def test_two_sentinels_that_promote_are_followed_once(world: FakeDeployment) -> None:
    """As when both parts of a network elect a leader: the last one counts."""
    connection = world.start()
    for number in (0, 1, 2):
        world.announce(number, PROMOTING, PROMOTED)
        world.run(0.02)
    assert len([link for link in world.b.links if link.open]) <= 1
    world.b.answers = dict(GOOD)
    world.run(1.0)
    assert connection.connects == 2
    world.stop(connection)


@pytest.mark.parametrize("channel", ["+promoted-slave", "+switch-master"])
def test_an_announcement_ends_the_questions(world: FakeDeployment, channel: str) -> None:
    """A replica that is frozen meanwhile does not hold it up."""
    connection = world.start()
    world.b.answers = {"ROLE": SILENCE}
    world.announce(0, PROMOTING, PROMOTED)
    world.run(0.1)
    world.promote()
    world.announce(0, channel, {"+promoted-slave": PROMOTED, "+switch-master": SWITCHED}[channel])
    world.run()
    assert usable(connection)
    assert connection.primary.target == B
    assert connection.primary.expected is None
    assert len(world.open_links()) == 4
    world.run(60.0)
    assert connection.connects == 2
    world.stop(connection)


def test_a_primary_that_is_found_meanwhile_is_not_left(world: FakeDeployment) -> None:
    """The question hangs, while the Sentinels lead there."""
    connection = world.start()
    world.b.answers = {"ROLE": SILENCE}
    world.announce(0, PROMOTING, PROMOTED)
    world.run(0.1)
    world.promote()
    world.a.link.close()
    world.run(0.3)
    assert connection.primary.target == B
    world.run(60.0)
    assert connection.connects == 2
    world.stop(connection)


@pytest.mark.parametrize("role", [GOOD["ROLE"], REPLICA, SILENCE])
@pytest.mark.parametrize("state", ["up", "gone", "down"])
@pytest.mark.parametrize("seconds", [0.0, 0.03, PATIENCE - 0.1, PATIENCE])
def test_a_stop_at_any_stage_leaves_nothing(world: FakeDeployment, role: bytes, state: str, seconds: float) -> None:
    connection = world.start()
    world.b.answers, world.b.state = GOOD | {"ROLE": role}, state
    world.announce(0, PROMOTING, PROMOTED)
    world.run(seconds)
    world.stop(connection)


@pytest.mark.parametrize(
    ("user", "sent"),
    [
        ({"username": "u", "password": "p"}, [[b"AUTH", b"u", b"p"], [b"ROLE"]]),
        ({"password": "p"}, [[b"AUTH", b"p"], [b"ROLE"]]),
        ({}, [[b"ROLE"]]),
    ],
)
def test_the_replica_is_asked_as_the_user_of_redis(user: dict[str, str], sent: list[list[bytes]]) -> None:
    server = FakeRedis()
    promotion = Promotion(lambda address: server, server.clock, **user)
    found: list[bool] = []
    Deferred.fromCoroutine(promotion.is_done(A)).addCallback(found.append)
    server.run()
    assert found == [True]
    assert server.link.commands == sent
    assert not server.link.open
    assert "p" not in repr(promotion).split("password")[-1:]
