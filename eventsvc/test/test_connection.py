"""
The connection to a Redis that fails in every way there is: it always comes
back, and never keeps a command for later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost, DNSLookupError, TimeoutError
from twisted.logger import capturedLogs

from eventsvc.interfaces import Unknown
from eventsvc.redis.connection import Connection, NotConnected, Session, backoff
from eventsvc.redis.words import in_words
from eventsvc.test.fake_redis import GOOD, HANG_UP, SILENCE, FakeRedis, bulk


@pytest.fixture
def redis() -> FakeRedis:
    return FakeRedis()


def make_connection(redis: FakeRedis, **overrides: Any) -> Connection:
    """A connection that asks for a password and a database, started."""
    parts: dict[str, Any] = {"password": "pass", "database": 2, "jitter": lambda: 0.0, **overrides}
    connection = Connection(endpoint=redis, clock=redis.clock, **parts)
    connection.startService()
    redis.run()
    return connection


def stop(redis: FakeRedis, connection: Connection) -> None:
    """Stop it, and see that nothing is left."""
    stopped = connection.stopService()
    redis.run()
    assert stopped.called
    assert redis.clock.getDelayedCalls() == []
    assert not any(link.open for link in redis.links)
    attempts = len(redis.attempts)
    redis.run(60.0)
    assert len(redis.attempts) == attempts


def messages(events: Any) -> list[str]:
    """What was logged, as one reads it."""
    assert not [event for event in events if "log_failure" in event]
    return [event["log_format"].format(**event) for event in events]


def test_a_handshake_is_done_before_anybody_may_send(redis: FakeRedis) -> None:
    """Authentication, database, what the server can do, and what its user wants; in this order."""
    connection = Connection(redis, redis.clock, lambda: 0.0, "user", "pass", 3, prepare=prepare_something)
    ready = connection.when_ready()
    connection.startService()
    redis.run()
    assert ready.called
    assert connection.ready
    assert connection.connects == 1
    assert redis.link.commands == [
        [b"AUTH", b"user", b"pass"],
        [b"SELECT", b"3"],
        [b"PING"],
        [b"COMMAND", b"INFO", b"XAUTOCLAIM"],
        [b"INFO", b"memory"],
        [b"PREPARE"],
    ]
    stop(redis, connection)


async def prepare_something(session: Session) -> None:
    await session.call("PREPARE")


@pytest.mark.parametrize(
    ("username", "password", "sent"),
    [("", "p", [[b"AUTH", b"p"]]), ("u", "", [[b"AUTH", b"u", b""]]), ("", "", [])],
)
def test_who_has_no_name_or_password_gives_none(
    redis: FakeRedis, username: str, password: str, sent: list[list[bytes]]
) -> None:
    """A user without a password has to give a name all the same; without either nobody asks."""
    connection = make_connection(redis, username=username, password=password, database=0)
    assert [command for command in redis.link.commands if command[0] in (b"AUTH", b"SELECT")] == sent
    stop(redis, connection)


STAGES = ["AUTH", "SELECT", "PING", "COMMAND", "INFO", "PREPARE"]
FAULTS = {
    "error": (b"-ERR no\r\n", "ERR no"),
    "refusal": (b"-WRONGPASS invalid username-password pair\r\n", "WRONGPASS invalid username-password pair"),
    "loading": (
        b"-LOADING Redis is loading the dataset in memory\r\n",
        "LOADING Redis is loading the dataset in memory",
    ),
    "full": (b"-ERR max number of clients reached\r\n", "ERR max number of clients reached"),
    "end": (HANG_UP, "Redis closed the connection"),
    "silence": (SILENCE, "no handshake within 2 s"),
    "noise": (b"HTTP/1.1 400 Bad Request\r\n", "not the Redis protocol"),
    "half a reply": (b"$1000\r\nhalf", "no handshake within 2 s"),
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_in_a_handshake_ends_the_attempts(redis: FakeRedis, stage: str, fault: str) -> None:
    """Once the server is well there is a connection again, however often it failed, twice over."""
    answer, words = FAULTS[fault]
    with capturedLogs() as events:
        connection = make_connection(redis, prepare=prepare_something)
        for round in range(2):
            assert connection.ready
            assert connection.connects == round + 1
            redis.answers[stage] = answer
            redis.link.close()
            redis.run(60.0)
            assert not connection.ready
            assert len(redis.links) > 10 * (round + 1)
            redis.answers[stage] = GOOD[stage]
            redis.run(4.0)
        assert connection.ready
    assert any(words in line for line in messages(events))
    assert sum(link.open for link in redis.links) == 1
    stop(redis, connection)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("down", "Connection refused"),
        ("gone", "no TCP connection in time"),
        ("hanging up", "Redis closed the connection"),
    ],
)
def test_no_fault_in_connecting_ends_the_attempts(redis: FakeRedis, state: str, words: str) -> None:
    """Whether it is there at the start or comes later, and is told once, in words."""
    redis.state = state
    with capturedLogs() as events:
        connection = make_connection(redis)
        redis.run(60.0)
        assert not connection.ready
        redis.state = "up"
        redis.run(4.0)
        assert connection.ready
    assert messages(events) == [f"no connection to Redis: {words}", "connected to Redis"]
    stop(redis, connection)


def test_a_black_hole_is_given_up_after_two_seconds(redis: FakeRedis) -> None:
    """Both when it takes the connection and when it does not."""
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
    """None is kept in a queue without bounds and sent long after its sender gave up."""
    redis.state = "down"
    connection = make_connection(redis)
    for _ in range(1_000):
        with pytest.raises(NotConnected, match="Redis is not connected"):
            raise error_of(connection.call("XADD"))
    redis.state = "up"
    redis.run(1.0)
    assert connection.ready
    assert "XADD" not in redis.link.names()
    stop(redis, connection)


def error_of(answer: Deferred[Any]) -> Exception:
    """The error of a command that has failed."""
    found: list[Any] = []
    answer.addErrback(found.append)
    [failure] = found
    error: Exception = failure.value
    return error


def test_a_command_during_the_handshake_is_refused_at_once(redis: FakeRedis) -> None:
    """It is not put between those of the handshake, before the password is given."""
    redis.answers["AUTH"] = SILENCE
    connection = make_connection(redis)
    assert isinstance(error_of(connection.call("XADD")), NotConnected)
    assert redis.link.names() == ["AUTH"]
    stop(redis, connection)


def test_a_connection_that_is_given_up_is_not_ready_from_then_on(redis: FakeRedis) -> None:
    """Not only once it is gone: who tries again as soon as it is ready would do so without end."""
    connection = make_connection(redis)
    connection.abort("told to")
    assert not connection.ready
    assert isinstance(error_of(connection.call("XADD")), NotConnected)
    again = connection.when_ready()
    assert not again.called
    redis.run(0.1)
    assert again.called
    assert len(redis.links) == 2
    stop(redis, connection)


def test_the_first_attempt_after_a_loss_is_made_after_50_milliseconds(redis: FakeRedis) -> None:
    """And after each loss again, if there was a session in between."""
    connection = make_connection(redis)
    for _ in range(20):
        redis.link.close()
        redis.run(0.06)
    assert redis.attempts == pytest.approx([0.06 * each - 0.01 if each else 0.0 for each in range(21)])
    stop(redis, connection)


def test_pauses_grow_by_a_tenth_to_the_longest(redis: FakeRedis) -> None:
    redis.state = "down"
    connection = make_connection(redis, retry_period=1.1)
    redis.run(30.0)
    pauses = [after - before for before, after in zip(redis.attempts, redis.attempts[1:])]
    assert pauses[:3] == pytest.approx([0.05, 0.055, 0.0605])
    assert pauses[-1] == pytest.approx(1.0)
    assert pauses == pytest.approx([min(0.05 * 1.1**attempt, 1.0) for attempt in range(len(pauses))])
    stop(redis, connection)


@pytest.mark.parametrize("longest", [0.001, 0.05, 2.0, 1e6])
def test_no_pause_is_longer_than_the_longest_and_none_the_same_for_all(longest: float) -> None:
    """Processes that lost Redis together do not come back in step."""
    for attempt in (1, 2, 10, 100, 10**6):
        least = backoff(attempt, longest, lambda: 0.0)
        most = backoff(attempt, longest, lambda: 1.0)
        assert 0 < least < most <= longest * 1.000001
        assert most == pytest.approx(1.1 * least)


def test_a_problem_is_logged_once_and_again_when_it_is_another(redis: FakeRedis) -> None:
    """Not with each of the attempts; and again after it had been well."""
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


@pytest.mark.parametrize("nothing", [b"*1\r\n*-1\r\n", b"*1\r\n$-1\r\n", b"*1\r\n*0\r\n", b"*0\r\n"])
def test_a_redis_that_is_too_old_is_not_used_until_it_is_replaced(redis: FakeRedis, nothing: bytes) -> None:
    """It would be found out at the first claim only, after events were acknowledged."""
    redis.answers["COMMAND"] = nothing
    with capturedLogs() as events:
        connection = make_connection(redis)
        redis.run(60.0)
        assert not connection.ready
        redis.answers["COMMAND"] = GOOD["COMMAND"]
        redis.run(3.0)
        assert connection.ready
    assert messages(events) == [
        "no connection to Redis: Redis 6.2 or newer is needed: this one has no XAUTOCLAIM",
        "connected to Redis",
    ]
    stop(redis, connection)


@pytest.mark.parametrize("stage", ["PING", "COMMAND", "INFO"])
@pytest.mark.parametrize("answer", [b"-NOPERM this user has no permissions\r\n", b"-ERR unknown command 'X'\r\n"])
def test_what_we_may_not_ask_we_do_without(redis: FakeRedis, stage: str, answer: bytes) -> None:
    """The user needs no rights but those for its work, and a host may have taken commands away."""
    redis.answers[stage] = answer
    connection = make_connection(redis)
    assert connection.ready
    stop(redis, connection)


@pytest.mark.parametrize(
    ("memory", "warned"),
    [
        (b"maxmemory:1000\r\nmaxmemory_policy:allkeys-lru\r\n", True),
        (b"maxmemory:1000\r\nmaxmemory_policy:volatile-ttl\r\n", True),
        (b"maxmemory:1000\r\nmaxmemory_policy:noeviction\r\n", False),
        (b"maxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n", False),
        (b"maxmemory:1000\r\n", False),
        (b"", False),
    ],
)
def test_a_redis_that_may_drop_data_is_warned_of_at_each_connection(
    redis: FakeRedis, memory: bytes, warned: bool
) -> None:
    """Keys with a time to live are ours too; without a limit on memory nothing is dropped."""
    redis.answers["INFO"] = bulk(b"# Memory\r\nused_memory:1\r\n" + memory)
    with capturedLogs() as events:
        connection = make_connection(redis)
        redis.link.close()
        redis.run(0.1)
        assert connection.ready
    warnings = [line for line in messages(events) if "acknowledged events may be lost" in line]
    assert len(warnings) == (2 if warned else 0)
    stop(redis, connection)


def test_what_prepares_a_session_is_part_of_the_handshake(redis: FakeRedis) -> None:
    """Until it has succeeded nobody is served, whatever it raises."""

    async def prepare(session: Session) -> None:
        if not well:
            raise ValueError("not today")

    well: list[bool] = []
    with capturedLogs() as events:
        connection = make_connection(redis, prepare=prepare)
        redis.run(30.0)
        assert not connection.ready
        well.append(True)
        redis.run(3.0)
        assert connection.ready
    assert messages(events)[0] == "no connection to Redis: not today"
    stop(redis, connection)


def test_the_password_is_told_to_redis_alone(redis: FakeRedis) -> None:
    redis.answers["AUTH"] = b"-WRONGPASS no\r\n"
    with capturedLogs() as events:
        connection = make_connection(redis, username="user", password="secret")
        redis.run(5.0)
    assert redis.link.commands == [[b"AUTH", b"user", b"secret"]]
    assert "secret" not in repr(connection)
    assert "secret" not in repr(events)
    stop(redis, connection)


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
    """No timer, no connection, nobody who waits, and no later attempt; started again it works."""
    arrange(redis)
    connection = make_connection(redis, prepare=prepare_something)
    waiting = [] if connection.ready else [connection.when_ready() for _ in range(5)]
    stop(redis, connection)
    assert [type(error_of(waiter)) for waiter in waiting] == [CancelledError] * len(waiting)
    redis.state, redis.answers = "up", dict(GOOD)
    connection.startService()
    redis.run()
    assert connection.ready
    stop(redis, connection)


def test_a_stop_before_anything_arrived_leaves_nothing(redis: FakeRedis) -> None:
    connection = Connection(redis, redis.clock, lambda: 0.0)
    connection.startService()
    stop(redis, connection)


def test_a_stop_without_a_start_is_done_at_once(redis: FakeRedis) -> None:
    stop(redis, Connection(redis, redis.clock, lambda: 0.0))


def test_a_stop_makes_commands_under_way_unknown(redis: FakeRedis) -> None:
    """It waits for the end of the connection, so that nothing happens after it."""
    connection = make_connection(redis)
    answer = connection.call("XADD")
    stopped = connection.stopService()
    assert not stopped.called
    redis.run()
    assert stopped.called
    assert isinstance(error_of(answer), Unknown)
    assert redis.clock.getDelayedCalls() == []


def test_a_stop_by_one_who_waited_for_the_session_is_a_stop(redis: FakeRedis) -> None:
    """It comes in the midst of the connection's own work."""
    connection = Connection(redis, redis.clock, lambda: 0.0)
    connection.startService()
    stopping = connection.when_ready().addCallback(lambda _: connection.stopService())
    redis.run(60.0)
    assert stopping.called
    assert len(redis.attempts) == 1
    assert not redis.link.open
    assert redis.clock.getDelayedCalls() == []


def test_all_who_wait_are_told_though_one_gives_up_another(redis: FakeRedis) -> None:
    """Each is told once: those before and behind the one that is given up."""
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


def test_who_waits_is_not_told_of_a_session_that_is_gone_again(redis: FakeRedis) -> None:
    """The one before it has given the session up: there is another one to wait for."""
    connection = Connection(redis, redis.clock, lambda: 0.0)
    first = connection.when_ready().addCallback(lambda _: connection.abort("told to"))
    second = connection.when_ready()
    connection.startService()
    redis.run()
    assert first.called
    assert not second.called
    redis.run(0.06)
    assert second.called
    stop(redis, connection)


def test_a_read_that_blocks_holds_up_no_other_connection(redis: FakeRedis) -> None:
    """Each connection is one of its own: what waits on one does not stand before the others."""
    reading, writing = make_connection(redis), make_connection(redis)
    redis.answers["XADD"] = b"+1-1\r\n"
    read = reading.call("XREADGROUP", timeout=7.0)
    added = writing.call("XADD")
    redis.run()
    assert added.called
    assert not read.called
    assert len(redis.links) == 2
    read.addErrback(lambda _: None)
    stop(redis, reading)
    stop(redis, writing)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionDone(), "Redis closed the connection"),
        (ConnectionLost(), "the connection broke"),
        (TimeoutError(), "no TCP connection in time"),
        (ConnectError(113), "No route to host"),
        (DNSLookupError("no results for hostname lookup: nowhere"), "no results for hostname lookup: nowhere"),
        (SSL.Error([("SSL routines", "", "certificate verify failed")]), "TLS failed: certificate verify failed"),
        (SSL.SysCallError(-1, "Unexpected EOF"), "TLS failed: Unexpected EOF"),
        (SSL.Error([]), "TLS failed: no reason given"),
        (SSL.Error(), "TLS failed: no reason given"),
        (VerificationError(errors=[]), "TLS failed: the certificate is for another host"),
        (Unknown("what it says"), "what it says"),
        (KeyError(), "KeyError"),
    ],
)
def test_problems_are_told_in_words(error: Exception, words: str) -> None:
    """Not as a tuple of numbers and class names."""
    assert in_words(error) == words
