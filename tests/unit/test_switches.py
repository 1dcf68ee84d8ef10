"""
Tests for L{eventsvc.redis.switches}: a change of the primary is noticed at once, and once.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.logger import capturedLogs

from tests.support.fake_connection import messages, usable
from tests.support.fake_redis import GOOD, HANG_UP
from tests.support.fake_sentinels import PONG, PROMOTED, SUBSCRIBED, SWITCHED, A, B, FakeDeployment, array, names


@pytest.fixture
def world() -> FakeDeployment:
    return FakeDeployment()


def test_nothing_happens_while_nothing_changes(world: FakeDeployment) -> None:
    """One session, one subscription at each Sentinel, no other connection to them after the start."""
    connection = world.start()
    before = [len(sentinel.attempts) for sentinel in world.sentinels]
    world.run(3600.0)
    assert connection.connects == 1
    assert [len(sentinel.attempts) for sentinel in world.sentinels] == before
    assert len(world.open_links()) == 4
    world.stop(connection)


@pytest.mark.parametrize(("channel", "text"), [("+promoted-slave", PROMOTED), ("+switch-master", SWITCHED)])
def test_a_switch_is_followed_at_once(world: FakeDeployment, channel: str, text: str) -> None:
    """Without a pause, though the session in use seems fine, and though one Sentinel alone knows."""
    connection = world.start()
    world.promote(knowing=[2])
    with capturedLogs() as events:
        world.announce(2, channel, text)
        assert not usable(connection)
        world.run()
    assert usable(connection)
    assert connection.primary.target == B
    assert messages(events) == [f"Sentinel 10.0.1.3:26379: the primary of mymaster is {B}"]
    world.stop(connection)


@pytest.mark.parametrize("stage", ["connect", "PING", "ROLE", "ask", "pause"])
def test_a_switch_interrupts_an_attempt(world: FakeDeployment, stage: str) -> None:
    """A frozen primary accepts connections and says nothing for two seconds."""
    connection = world.start()
    asked = [dict(sentinel.answers) for sentinel in world.sentinels]
    if stage == "ask":
        for sentinel in world.sentinels:
            sentinel.answers.pop("SENTINEL GET-MASTER-ADDR-BY-NAME")
    world.a.state = {"connect": "gone", "pause": "down"}.get(stage, "up")
    world.a.answers |= {"PING": b""} if stage == "PING" else {"ROLE": b""}
    world.a.link.close()
    world.run(0.3)
    for sentinel, answers in zip(world.sentinels, asked):
        sentinel.answers = answers
    world.promote(knowing=[0])
    world.announce(0, "+promoted-slave", PROMOTED)
    world.run()
    assert usable(connection)
    assert connection.primary.target == B
    assert connection.connects == 2
    world.stop(connection)


def test_three_announcements_of_one_switch_are_one(world: FakeDeployment) -> None:
    connection = world.start()
    world.promote(knowing=[0])
    world.announce(0, "+promoted-slave", PROMOTED)
    world.run(0.3)
    world.promote()
    for number in (1, 2, 0):
        world.announce(number, "+switch-master", SWITCHED)
        world.run(0.5)
    assert connection.connects == 2
    assert len(world.b.attempts) == 1
    world.stop(connection)


def test_announcements_during_the_attempt_they_led_to_do_not_interrupt_it(world: FakeDeployment) -> None:
    connection = world.start()
    world.promote()
    world.b.answers["ROLE"] = b""
    world.announce(0, "+promoted-slave", PROMOTED)
    world.run(0.1)
    for number in (1, 2, 0):
        world.announce(number, "+switch-master", SWITCHED)
        world.run(0.1)
    assert len(world.b.attempts) == 1
    world.stop(connection)


@pytest.mark.parametrize(
    ("channel", "text"),
    [
        ("+switch-master", SWITCHED.replace("mymaster", "other")),
        ("+switch-master", f"mymaster {B.host} {B.port} {A.host} {A.port}"),
        ("+switch-master", "mymaster"),
        ("+promoted-slave", PROMOTED.replace("mymaster", "other")),
        ("+sdown", PROMOTED),
    ],
)
def test_other_announcements_change_nothing(world: FakeDeployment, channel: str, text: str) -> None:
    connection = world.start()
    world.announce(1, channel, text)
    world.run(10.0)
    assert connection.connects == 1
    assert len(world.a.attempts) == 1
    world.stop(connection)


def close(world: FakeDeployment) -> None:
    world.subscription(1).close()


def freeze(world: FakeDeployment) -> None:
    """Half-open: nothing comes, and nothing ends it."""
    world.sentinels[1].answers.pop("PING")


@pytest.mark.parametrize(("lose", "after"), [(close, 0.06), (freeze, 4.1)])
def test_a_subscription_that_is_lost_is_made_again(
    world: FakeDeployment, lose: Callable[[FakeDeployment], None], after: float
) -> None:
    """And then it asks once, because a switch may have been announced meanwhile."""
    connection = world.start()
    first = world.subscription(1)
    lose(world)
    for number in (0, 2):
        world.subscription(number).close()
        world.sentinels[number].state = "down"
    world.promote()
    world.run(after)
    world.sentinels[1].answers["PING"] = PONG
    assert not first.open
    assert world.subscription(1) is not first
    assert usable(connection)
    assert connection.primary.target == B
    world.stop(connection)


def test_a_subscription_that_comes_back_without_a_switch_changes_nothing(world: FakeDeployment) -> None:
    connection = world.start()
    for _ in range(10):
        for number in (0, 1, 2):
            world.subscription(number).close()
        world.run(0.2)
    assert connection.connects == 1
    world.stop(connection)


def test_a_sentinel_that_comes_back_with_old_news_changes_nothing(world: FakeDeployment) -> None:
    """It was away during a failover, and still names the primary from before."""
    world.promote(knowing=[1, 2])
    connection = world.start()
    assert connection.primary.target == B
    world.a.answers = dict(GOOD)
    world.subscription(0).close()
    world.run(1.0)
    assert connection.connects == 1
    world.stop(connection)


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"AUTH": b"-WRONGPASS alice\r\n"}, "wrong user name or password"),
        ({"AUTH": b"+OK\r\n", "SUBSCRIBE": b"-NOPERM alice may not\r\n"}, "the user lacks a right"),
        ({"SUBSCRIBE": b"HTTP/1.1 400 Bad Request\r\n"}, "does not speak the Redis protocol"),
        ({"SUBSCRIBE": HANG_UP}, "closed the connection"),
        ({"SUBSCRIBE": b""}, "silent for 2.5 s"),
        ({"SUBSCRIBE": b"$1000000\r\n" + b"a" * 70_000}, "sends too long a message"),
    ],
)
def test_a_sentinel_that_announces_nothing_is_told_once(
    world: FakeDeployment, answers: dict[str, bytes], words: str
) -> None:
    """The others are followed; and so is this one as soon as it can be."""
    before = dict(world.sentinels[1].answers)
    world.sentinels[1].answers = answers
    with capturedLogs() as events:
        connection = world.start(password="p")
        world.run(30.0)
        world.sentinels[1].answers = before
        world.run(5.0)
    assert usable(connection)
    assert [message for message in messages(events) if message != "connected to Redis"] == [
        f"no announcements from Sentinel 10.0.1.2:26379: {words}",
        "Sentinel 10.0.1.2:26379 announces again",
    ]
    world.stop(connection)


def test_a_user_that_may_not_ping_is_heard_all_the_same(world: FakeDeployment) -> None:
    world.sentinels[1].answers["PING"] = b"-NOPERM no permissions to run the 'ping' command\r\n"
    connection = world.start()
    first = world.subscription(1)
    world.run(60.0)
    assert world.subscription(1) is first
    world.stop(connection)


@pytest.mark.parametrize("size", [1, 3, 1_000])
def test_messages_arrive_in_any_pieces(world: FakeDeployment, size: int) -> None:
    connection = world.start()
    world.promote()
    text = PONG + array("message", "+sdown", "x") + array("message", "+switch-master", SWITCHED) * 2 + PONG
    link = world.subscription(1)
    for begin in range(0, len(text), size):
        link.say(text[begin : begin + size])
    world.run()
    assert connection.primary.target == B
    assert connection.connects == 2
    world.stop(connection)


@pytest.mark.parametrize("state", ["down", "gone", "hanging up", "silent"])
@pytest.mark.parametrize("seconds", [0.0, 0.3, 10.0])
def test_a_stop_at_any_stage_leaves_nothing(world: FakeDeployment, state: str, seconds: float) -> None:
    for sentinel in world.sentinels[:2]:
        sentinel.state = state if state != "silent" else "up"
        sentinel.answers = {"SUBSCRIBE": SUBSCRIBED[:10]} if state == "silent" else sentinel.answers
    connection = world.make_connection()
    connection.startService()
    world.run(seconds)
    world.stop(connection)


def test_a_stop_at_a_switch_leaves_nothing(world: FakeDeployment) -> None:
    connection = world.start()
    world.promote()
    world.announce(0, "+switch-master", SWITCHED)
    world.stop(connection)


def test_two_switches_in_a_row_end_at_the_last(world: FakeDeployment) -> None:
    connection = world.start()
    world.promote()
    world.announce(0, "+switch-master", SWITCHED)
    world.a.answers = dict(GOOD)
    for sentinel in world.sentinels:
        sentinel.answers |= names(A, 3)
    world.announce(0, "+switch-master", f"mymaster {B.host} {B.port} {A.host} {A.port}")
    world.run()
    assert usable(connection)
    assert connection.primary.target == A
    world.stop(connection)
