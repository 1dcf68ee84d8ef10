"""
Tests for L{eventsvc.redis.connection}: it always reconnects, never queues a
command, and leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.defer import CancelledError
from twisted.logger import capturedLogs

from eventsvc.interfaces import Unknown
from eventsvc.redis.backoff import backoff
from eventsvc.redis.connection import Connection
from eventsvc.redis.errors import NotConnected
from eventsvc.redis.session import Script
from tests.support.fake_connection import (
    STAGES,
    error_of,
    fired,
    make_connection,
    messages,
    prepare_something,
    stop,
    usable,
)
from tests.support.fake_redis import GOOD, SILENCE, FakeRedis


@pytest.fixture
def redis() -> FakeRedis:
    return FakeRedis()


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("down", "Connection refused"),
        ("gone", "no TCP connection in time"),
        ("hanging up", "Redis closed the connection"),
    ],
)
def test_no_fault_in_connecting_ends_the_attempts(redis: FakeRedis, state: str, words: str) -> None:
    """Whether the fault is there at the start or comes later, it is logged once, in words."""
    redis.state = state
    with capturedLogs() as events:
        connection = make_connection(redis)
        redis.run(60.0)
        assert not usable(connection)
        redis.state = "up"
        redis.run(4.0)
        assert usable(connection)
    assert messages(events) == [f"no connection to Redis: {words}", "connected to Redis"]
    stop(redis, connection)


def test_a_black_hole_is_given_up_after_two_seconds(redis: FakeRedis) -> None:
    """Whether or not it accepts the connection."""
    redis.state = "gone"
    connection = make_connection(redis)
    redis.run(2.05)
    assert redis.attempts == pytest.approx([0.0, 2.05])
    redis.state = "up"
    redis.answers = {}
    redis.run(2.0 + 0.055)
    assert len(redis.links) == 1
    redis.run(2.0)
    assert [link.open for link in redis.links] == [False]
    stop(redis, connection)


def test_a_command_without_a_connection_is_refused_at_once(redis: FakeRedis) -> None:
    """An unbounded queue would send it long after its sender gave up."""
    redis.state = "down"
    connection = make_connection(redis)
    for _ in range(1_000):
        with pytest.raises(NotConnected, match="Redis is not connected"):
            raise error_of(connection.call("XADD"))
    redis.state = "up"
    redis.run(1.0)
    assert usable(connection)
    assert "XADD" not in redis.link.names()
    stop(redis, connection)


def test_a_script_needs_a_connection_too(redis: FakeRedis) -> None:
    """It is refused at once, and runs once there is one."""
    redis.state = "down"
    redis.answers["EVAL"] = b":1\r\n"
    connection = make_connection(redis)
    with pytest.raises(NotConnected, match="Redis is not connected"):
        raise error_of(connection.run(Script("return 1"), [], []))
    redis.state = "up"
    redis.run(1.0)
    answer = connection.run(Script("return 1"), ["key"], ["a"])
    redis.run()
    assert fired(answer)
    assert redis.link.commands[-1] == [b"EVAL", b"return 1", b"1", b"key", b"a"]
    stop(redis, connection)


def test_without_options_a_pause_is_two_seconds_at_most(redis: FakeRedis) -> None:
    """This includes a tenth of jitter."""
    redis.state = "down"
    connection = Connection(redis, redis.clock, lambda: 1.0)
    connection.startService()
    redis.run(120.0)
    assert redis.attempts[-1] - redis.attempts[-2] == pytest.approx(2.0)
    stop(redis, connection)


def test_a_connection_that_is_given_up_is_not_ready_from_then_on(redis: FakeRedis) -> None:
    """Otherwise a caller that retries while it is ready would loop forever."""
    connection = make_connection(redis)
    connection.abort("told to")
    assert not usable(connection)
    assert isinstance(error_of(connection.call("XADD")), NotConnected)
    again = connection.when_ready()
    assert not fired(again)
    redis.run(0.1)
    assert fired(again)
    assert len(redis.links) == 2
    stop(redis, connection)


def test_the_first_attempt_after_a_loss_is_made_after_50_milliseconds(redis: FakeRedis) -> None:
    """This holds after each loss, if there was a session in between."""
    connection = make_connection(redis)
    for _ in range(20):
        redis.link.close()
        redis.run(0.06)
    assert redis.attempts == pytest.approx([0.06 * each - 0.01 if each else 0.0 for each in range(21)])
    stop(redis, connection)


def test_pauses_grow_by_a_twentieth_to_the_longest(redis: FakeRedis) -> None:
    redis.state = "down"
    connection = make_connection(redis, retry_period=1.1)
    redis.run(60.0)
    pauses = [after - before for before, after in zip(redis.attempts, redis.attempts[1:])]
    assert pauses[:3] == pytest.approx([0.05, 0.0525, 0.055125])
    assert pauses[-1] == pytest.approx(1.0)
    assert pauses == pytest.approx([min(0.05 * 1.05**attempt, 1.0) for attempt in range(len(pauses))])
    stop(redis, connection)


@pytest.mark.parametrize("longest", [0.001, 0.05, 2.0, 1e6])
def test_no_pause_is_longer_than_the_longest_and_none_the_same_for_all(longest: float) -> None:
    """Jitter keeps processes from reconnecting at the same time."""
    for attempt in (1, 2, 10, 100, 10**6):
        least = backoff(attempt, longest, lambda: 0.0)
        most = backoff(attempt, longest, lambda: 1.0)
        assert 0 < least < most <= longest * 1.000001
        assert most == pytest.approx(1.1 * least)


def test_a_problem_is_logged_once_and_again_when_it_is_another(redis: FakeRedis) -> None:
    """Not at each attempt, but again after a successful session."""
    with capturedLogs() as events:
        redis.state = "down"
        connection = make_connection(redis)
        redis.run(30.0)
        redis.state = "up"
        redis.answers["AUTH"] = b"-WRONGPASS no\r\n"
        redis.run(30.0)
        redis.answers["AUTH"] = b"+OK\r\n"
        redis.run(3.0)
        redis.state = "down"
        redis.link.close()
        redis.run(30.0)
    assert messages(events) == [
        "no connection to Redis: Connection refused",
        "no connection to Redis: WRONGPASS no",
        "connected to Redis",
        "no connection to Redis: Redis closed the connection",
        "no connection to Redis: Connection refused",
    ]
    stop(redis, connection)


def test_an_error_reply_is_logged_whole_but_not_each_time(redis: FakeRedis) -> None:
    """Every event may cause one; another kind is logged at once, the same kind after a minute."""
    reply = "OOM command not allowed. script: 1f, on @user_script:5."
    redis.answers["EVAL"] = f"-{reply}\r\n".encode()
    redis.answers["XADD"] = b"-WRONGTYPE no stream\r\n"
    with capturedLogs() as events:
        connection = make_connection(redis)
        for _ in range(119):
            assert "script" not in str(ask(redis, connection, "EVAL"))
            ask(redis, connection, "XADD")
            redis.run(1.0)
    assert (
        messages(events)[1:]
        == [f"Redis answered with an error: {words}" for words in (reply, "WRONGTYPE no stream")] * 2
    )
    stop(redis, connection)


def test_an_error_reply_is_logged_again_after_exactly_a_minute(redis: FakeRedis) -> None:
    redis.answers["EVAL"] = b"-OOM no\r\n"
    connection = make_connection(redis)
    with capturedLogs() as events:
        for _ in range(121):
            ask(redis, connection, "EVAL")
            redis.run(0.5)
    assert messages(events) == ["Redis answered with an error: OOM no"] * 2
    stop(redis, connection)


@pytest.mark.parametrize("reply", ["BUSYGROUP there is", "NOGROUP none", "NOSCRIPT none", "UNBLOCKED by a new role"])
def test_an_error_that_is_part_of_the_work_is_not_logged(redis: FakeRedis, reply: str) -> None:
    redis.answers["XGROUP"] = f"-{reply}\r\n".encode()
    with capturedLogs() as events:
        connection = make_connection(redis)
        ask(redis, connection, "XGROUP")
    assert messages(events) == ["connected to Redis"]
    stop(redis, connection)


def ask(redis: FakeRedis, connection: Connection, name: str) -> Exception:
    """Send a command that fails."""
    answer = connection.call(name)
    redis.run()
    return error_of(answer)


def idle(redis: FakeRedis) -> None:
    """Nothing is wrong."""


def between_attempts(redis: FakeRedis) -> None:
    redis.state = "down"


def while_connecting(redis: FakeRedis) -> None:
    redis.state = "gone"


def in_silence(stage: str) -> Callable[[FakeRedis], None]:
    def arrange(redis: FakeRedis) -> None:
        redis.answers[stage] = SILENCE

    return arrange


@pytest.mark.parametrize(
    "arrange",
    [idle, between_attempts, while_connecting, *map(in_silence, STAGES)],
    ids=["idle", "between attempts", "while connecting", *STAGES],
)
def test_a_stop_at_any_stage_leaves_nothing(redis: FakeRedis, arrange: Callable[[FakeRedis], None]) -> None:
    """No timer, connection, waiter or later attempt is left; it can be started again."""
    arrange(redis)
    connection = make_connection(redis, prepare=prepare_something)
    waiting = [] if connection.ready else [connection.when_ready() for _ in range(5)]
    stop(redis, connection)
    assert [type(error_of(waiter)) for waiter in waiting] == [CancelledError] * len(waiting)
    redis.state, redis.answers = "up", dict(GOOD)
    connection.startService()
    redis.run()
    assert usable(connection)
    stop(redis, connection)


def test_a_stop_before_anything_arrived_leaves_nothing(redis: FakeRedis) -> None:
    connection = Connection(redis, redis.clock, lambda: 0.0)
    connection.startService()
    stop(redis, connection)


def test_a_stop_without_a_start_is_done_at_once(redis: FakeRedis) -> None:
    stop(redis, Connection(redis, redis.clock, lambda: 0.0))


def test_a_stop_makes_commands_under_way_unknown(redis: FakeRedis) -> None:
    """The stop waits for the end of the connection."""
    connection = make_connection(redis)
    answer = connection.call("XADD")
    stopped = connection.stopService()
    assert not fired(stopped)
    redis.run()
    assert fired(stopped)
    error = error_of(answer)
    assert isinstance(error, Unknown)
    assert str(error) == "connection to Redis lost: stopped"
    assert redis.clock.getDelayedCalls() == []


def test_a_stop_by_one_who_waited_for_the_session_is_a_stop(redis: FakeRedis) -> None:
    """The stop comes while the connection notifies its waiters."""
    connection = Connection(redis, redis.clock, lambda: 0.0)
    connection.startService()
    stopping = connection.when_ready().addCallback(lambda _: connection.stopService())
    redis.run(60.0)
    assert fired(stopping)
    assert len(redis.attempts) == 1
    assert not redis.link.open
    assert redis.clock.getDelayedCalls() == []


def test_all_who_wait_are_told_though_one_gives_up_another(redis: FakeRedis) -> None:
    """Each other waiter fires once, before or after the cancelled one."""
    connection = Connection(redis, redis.clock, lambda: 0.0)
    told: list[int] = []
    waiting = [connection.when_ready() for _ in range(5)]
    for number, waiter in enumerate(waiting):
        waiter.addCallbacks(lambda _, number=number: told.append(number), lambda _: None)
    waiting[0].addCallback(lambda _: waiting[2].cancel())
    connection.startService()
    redis.run()
    assert told == [0, 1, 3, 4]
    stop(redis, connection)


def test_a_session_given_up_and_its_successor_are_not_worth_a_line(redis: FakeRedis) -> None:
    """Unless the next one takes a while: then the loss and the return are logged."""
    connection = make_connection(redis)
    with capturedLogs() as events:
        connection.abort("told to")
        redis.run(1.0)
        assert usable(connection)
        assert messages(events) == []
        connection.abort("told to")
        redis.state = "down"
        redis.run(1.0)
        redis.state = "up"
        redis.run(1.0)
        assert usable(connection)
        redis.link.close()
        redis.run(1.0)
        assert usable(connection)
    assert messages(events) == [
        "no connection to Redis: Connection refused",
        "connected to Redis",
        "no connection to Redis: Redis closed the connection",
        "connected to Redis",
    ]
    stop(redis, connection)


def test_who_waits_is_not_told_of_a_session_that_is_gone_again(redis: FakeRedis) -> None:
    """An earlier waiter aborted the session, so later ones wait for the next."""
    connection = Connection(redis, redis.clock, lambda: 0.0)
    first = connection.when_ready().addCallback(lambda _: connection.abort("told to"))
    second = connection.when_ready()
    connection.startService()
    redis.run()
    assert fired(first)
    assert not fired(second)
    redis.run(0.06)
    assert fired(second)
    stop(redis, connection)


def test_a_read_that_blocks_holds_up_no_other_connection(redis: FakeRedis) -> None:
    """Each connection is independent, so a blocking read delays only its own."""
    reading, writing = make_connection(redis), make_connection(redis)
    redis.answers["XADD"] = b"+1-1\r\n"
    read = reading.call("XREADGROUP", timeout=7.0)
    added = writing.call("XADD")
    redis.run()
    assert fired(added)
    assert not fired(read)
    assert len(redis.links) == 2
    read.addErrback(lambda _: None)
    writing.stopService()
    stop(redis, reading)


@pytest.mark.parametrize("stage", [None, "connect", "pause", *STAGES])
def test_it_looks_again_at_once_whatever_it_is_doing(redis: FakeRedis, stage: str | None) -> None:
    """A session is left, an attempt that hangs is interrupted, and no pause is waited for."""
    connection = make_connection(redis, prepare=prepare_something)
    if stage is not None:
        redis.state = {"connect": "gone", "pause": "down"}.get(stage, "up")
        if stage in STAGES:
            redis.answers[stage] = SILENCE
        redis.link.close()
        redis.run(1.0)
    redis.state, redis.answers = "up", dict(GOOD)
    before = len(redis.attempts)
    connection.look_again("another primary")
    redis.run()
    assert usable(connection)
    assert redis.attempts[before:] == [redis.clock.seconds()]
    stop(redis, connection)


def test_a_session_left_for_another_is_not_worth_a_line(redis: FakeRedis) -> None:
    """But the return after a loss that was logged is."""
    connection = make_connection(redis)
    with capturedLogs() as events:
        connection.look_again("another primary")
        redis.run(1.0)
        assert messages(events) == []
        redis.state = "gone"
        redis.link.close()
        redis.run(1.0)
        redis.state = "up"
        connection.look_again("another primary")
        redis.run()
        assert usable(connection)
    assert messages(events) == ["no connection to Redis: Redis closed the connection", "connected to Redis"]
    stop(redis, connection)


def test_looking_again_without_being_started_does_nothing(redis: FakeRedis) -> None:
    connection = Connection(redis, redis.clock, lambda: 0.0)
    connection.look_again("another primary")
    redis.run(10.0)
    assert redis.attempts == []
    stop(redis, connection)


@pytest.mark.parametrize("stage", [None, "connect", *STAGES])
def test_a_stop_while_it_looks_again_leaves_nothing(redis: FakeRedis, stage: str | None) -> None:
    connection = make_connection(redis, prepare=prepare_something)
    if stage is not None:
        redis.state = "gone" if stage == "connect" else "up"
        if stage in STAGES:
            redis.answers[stage] = SILENCE
        redis.link.close()
        redis.run(1.0)
    connection.look_again("another primary")
    stop(redis, connection)


def test_problems_that_take_turns_are_logged_once_each(redis: FakeRedis) -> None:
    """Such as those of two servers that are tried in turn."""
    with capturedLogs() as events:
        redis.state = "down"
        connection = make_connection(redis)
        for state in ("hanging up", "down") * 20:
            redis.state = state
            redis.run(2.0)
    assert messages(events) == [
        f"no connection to Redis: {words}" for words in ("Connection refused", "Redis closed the connection")
    ]
    stop(redis, connection)


def test_the_problem_is_told_without_the_text_of_redis(redis: FakeRedis) -> None:
    """Its text names users, and goes only to the log."""
    connection = make_connection(redis)
    assert connection.problem == ""
    redis.answers["AUTH"] = b"-WRONGPASS user alice is unknown\r\n"
    redis.link.close()
    redis.run()
    assert connection.problem == "Redis closed the connection"
    redis.run(1.0)
    assert connection.problem == "Redis denies access"
    redis.answers["AUTH"] = b"-ERR alice\r\n"
    redis.run(1.0)
    assert connection.problem == "Redis answered with an error"
    redis.answers = {"AUTH": b"HTTP/1.1 400 alice\r\n"}
    redis.run(1.0)
    assert connection.problem == "not the Redis protocol"
    redis.answers = dict(GOOD)
    redis.run(1.0)
    assert connection.problem == ""
    stop(redis, connection)
