"""
Tests for L{eventsvc.redis.sentinels}: who is asked, for how long, and what is said if nobody knows.
"""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import ensureDeferred
from twisted.logger import capturedLogs

from eventsvc.redis.primary_choice import Candidate
from eventsvc.redis.sentinels import ASK_TIMEOUT
from eventsvc.testing.clock import StrictClock
from tests.support.fake_connection import messages, usable
from tests.support.fake_redis import GOOD, HANG_UP
from tests.support.fake_sentinels import REPLICA, A, B, FakeDeployment, array, names

ALL = "10.0.1.1:26379, 10.0.1.2:26379, 10.0.1.3:26379"


@pytest.fixture
def world() -> FakeDeployment:
    return FakeDeployment()


def ask(world: FakeDeployment, seconds: float = 0.0, **more: Any) -> list[Any]:
    """Return what asking has led to; empty if it is not done."""
    found: list[Any] = []
    ensureDeferred(world.make_sentinels(**more).ask()).addBoth(found.append)
    world.run(seconds)
    return found


def test_all_are_asked_at_once_and_left(world: FakeDeployment) -> None:
    assert ask(world) == [[Candidate(A, 1, 3)]]
    for sentinel in world.sentinels:
        assert sentinel.attempts == [0.0]
        assert sentinel.link.commands == [
            [b"SENTINEL", b"MASTER", b"mymaster"],
            [b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", b"mymaster"],
        ]
    assert world.open_links() == []
    assert world.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("more", "sent"),
    [
        ({"password": "p"}, [b"AUTH", b"p"]),
        ({"username": "u", "password": "p"}, [b"AUTH", b"u", b"p"]),
        ({"username": "u"}, [b"AUTH", b"u", b""]),
    ],
)
def test_a_sentinel_has_credentials_of_its_own(world: FakeDeployment, more: Any, sent: list[bytes]) -> None:
    assert ask(world, **more) == [[Candidate(A, 1, 3)]]
    assert [sentinel.link.commands[0] for sentinel in world.sentinels] == [sent] * 3


@pytest.mark.parametrize("state", ["gone", "silent", "down", "hanging up"])
def test_one_that_is_dead_is_not_waited_for(world: FakeDeployment, state: str) -> None:
    """Two of three are enough; the third gets a tenth of a second more, because it may know best."""
    world.sentinels[1].state = state if state != "silent" else "up"
    world.sentinels[1].answers = {}
    assert ask(world, 0.11) == [[Candidate(A, 1, 2)]]
    world.run()
    assert world.open_links() == []
    assert world.clock.getDelayedCalls() == []


def test_one_that_is_a_little_late_counts(world: FakeDeployment) -> None:
    """It may be the leader of a failover, who alone knows the promoted replica."""
    answers, world.sentinels[1].answers = world.sentinels[1].answers | names(B, 2), {}
    found: list[Any] = []
    ensureDeferred(world.make_sentinels().ask()).addBoth(found.append)
    world.run(0.05)
    assert found == []
    for answer in ("SENTINEL MASTER", "SENTINEL GET-MASTER-ADDR-BY-NAME"):
        world.sentinels[1].link.say(answers[answer])
    world.run()
    assert found == [[Candidate(B, 2, 1), Candidate(A, 1, 2)]]


def test_one_of_three_is_enough_when_the_others_are_dead(world: FakeDeployment) -> None:
    """But they are waited for until their deadline."""
    for sentinel in world.sentinels[:2]:
        sentinel.state = "gone"
    assert ask(world, ASK_TIMEOUT - 0.01) == []
    assert ask(FakeDeployment(), ASK_TIMEOUT)
    world.run(0.02)
    assert world.open_links() == []


NO_SENTINEL = b"-ERR unknown command `SENTINEL`, with args beginning with: `MASTER`\r\n"


@pytest.mark.parametrize(
    ("state", "answers", "words"),
    [
        ("down", {}, "Connection refused"),
        ("gone", {}, "no answer within 0.6 s"),
        ("up", {"SENTINEL": b""}, "no answer within 0.6 s"),
        ("up", {"AUTH": b""}, "no answer within 0.6 s"),
        ("hanging up", {}, "closed the connection"),
        ("up", {"SENTINEL": HANG_UP}, "closed the connection"),
        ("up", {"AUTH": HANG_UP}, "closed the connection"),
        ("up", {"SENTINEL": NO_SENTINEL}, "is no Sentinel"),
        ("up", {"SENTINEL": b"HTTP/1.1 400 Bad Request\r\n"}, "not the Redis protocol"),
        ("up", {"SENTINEL": b"+OK\r\n+OK\r\n+OK\r\n"}, "gives no address"),
        ("up", {"SENTINEL": array("a", "b")}, "gives no address"),
        ("up", {"SENTINEL": b"*-1\r\n"}, "does not know mymaster"),
        ("up", {"AUTH": b"-WRONGPASS alice is unknown\r\n"}, "wrong user name or password"),
        (
            "up",
            {"AUTH": b"-ERR AUTH <password> called without any password configured\r\n"},
            "wrong user name or password",
        ),
        ("up", {"AUTH": b"-ERR invalid password\r\n"}, "wrong user name or password"),
        ("up", {"AUTH": b"+OK\r\n", "SENTINEL": b"-NOAUTH alice\r\n"}, "needs a password (REDIS_SENTINEL_PASSWORD)"),
        ("up", {"SENTINEL": b"-NOPERM alice has no right\r\n"}, "the user lacks a right"),
        ("up", {"SENTINEL": b"-ERR alice\r\n"}, "answered with an error"),
        ("up", {"SENTINEL": b"-LOADING alice\r\n"}, "answered with an error"),
    ],
)
def test_it_is_said_what_each_one_answers(
    world: FakeDeployment, state: str, answers: dict[str, bytes], words: str
) -> None:
    """In words, without the text of Redis, once; and the connection comes when one knows better."""
    before = [dict(sentinel.answers) for sentinel in world.sentinels]
    for sentinel in world.sentinels:
        sentinel.state = state
        sentinel.answers = {"AUTH": b"+OK\r\n", **answers}
    with capturedLogs() as events:
        connection = world.start(follow=False, password="p")
        world.run(30.0)
        problem = "no Sentinel names a primary of mymaster: " + "; ".join(
            f"10.0.1.{number}:26379: {words}" for number in (1, 2, 3)
        )
        assert connection.problem == problem
        world.sentinels[2].state, world.sentinels[2].answers = "up", before[2]
        world.run(4.0)
        assert usable(connection)
    assert messages(events) == [f"no connection to Redis: {problem}", "connected to Redis"]
    world.stop(connection)


def test_the_right_to_ask_for_the_epoch_is_not_needed(world: FakeDeployment) -> None:
    for sentinel, address in zip(world.sentinels, (A, B, B)):
        sentinel.answers |= names(address, None)
    assert ask(world) == [[Candidate(B, 0, 2), Candidate(A, 0, 1)]]


@pytest.mark.parametrize(
    ("role", "words"),
    [
        (REPLICA, "Redis at 10.0.0.1:6379 is a read-only replica"),
        (b"", "no handshake within 2 s"),
        (HANG_UP, "Redis closed the connection"),
    ],
)
def test_it_is_said_who_named_what_is_no_primary(world: FakeDeployment, role: bytes, words: str) -> None:
    world.a.answers["ROLE"] = role
    connection = world.start()
    world.run(10.0)
    by = f"10.0.0.1:6379 is the primary of mymaster according to its Sentinels {ALL}"
    assert connection.problem == f"{words}; {by}"
    world.stop(connection)


def test_a_wrong_answer_does_not_keep_the_right_one_from_being_tried(world: FakeDeployment) -> None:
    """Most Sentinels name a replica, and their user may not ask for epochs."""
    world.promote(knowing=[0])
    world.a.answers = world.b.answers | {"ROLE": REPLICA}
    for sentinel, address in zip(world.sentinels, (B, A, A)):
        sentinel.answers |= names(address, None)
    connection = world.start(follow=False)
    world.run(0.1)
    assert usable(connection)
    assert connection.primary.target == B
    world.stop(connection)


def test_an_older_answer_is_tried_after_a_while(world: FakeDeployment) -> None:
    """What has the highest epoch cannot be reached, and the Sentinels go on naming it."""
    world.sentinels[0].answers |= names(B, 9)
    world.b.state = "down"
    connection = world.start()
    world.run(2.9)
    assert world.a.links == []
    world.run(0.5)
    assert usable(connection)
    assert connection.primary.target == A
    world.stop(connection)


def test_an_address_that_has_worked_is_the_first_to_be_tried_again(world: FakeDeployment) -> None:
    """And not the old primary, which one Sentinel still names and which may accept events."""
    world.b.answers = dict(GOOD)
    world.sentinels[0].answers |= names(B, 0)
    connection = world.start()
    world.run(3600.0)
    world.a.link.close()
    world.run(0.1)
    assert usable(connection)
    assert connection.primary.target == A
    assert world.b.attempts == []
    world.stop(connection)


def test_fifty_failed_attempts_leave_nothing(world: FakeDeployment) -> None:
    world.sentinels[0].state = "gone"
    world.sentinels[1].answers = {}
    world.sentinels[2].state = "down"
    connection = world.start(follow=False)
    while len(world.sentinels[2].attempts) < 50:
        world.run(1.0)
    assert len(world.open_links()) <= 1
    assert len(world.clock.getDelayedCalls()) <= 3
    world.stop(connection)


@pytest.mark.parametrize("state", ["up", "down", "gone", "silent"])
def test_a_stop_while_sentinels_are_asked_leaves_nothing(state: str) -> None:
    """Or before anything was delivered."""
    for early in (False, True):
        world = FakeDeployment()
        for sentinel in world.sentinels:
            sentinel.state = state if state != "silent" else "up"
            if state == "silent":
                sentinel.answers = {}
        connection = world.make_connection()
        connection.startService()
        if not early:
            world.run(0.3)
        world.stop(connection)


def test_it_starts_again_after_a_stop(world: FakeDeployment) -> None:
    connection = world.start()
    assert usable(connection)
    world.stop(connection)
    connection.startService()
    world.run()
    assert usable(connection)
    world.stop(connection)


def test_the_password_is_in_no_text_of_the_object() -> None:
    world = FakeDeployment(clock=StrictClock())
    assert "secret" not in repr(world.make_sentinels(password="secret"))
