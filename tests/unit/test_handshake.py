"""
Tests for the handshake with a Redis that fails at any step, is too old, or refuses.
"""

from __future__ import annotations

import pytest
from twisted.logger import capturedLogs

from eventsvc.redis.connection import Connection
from eventsvc.redis.errors import NotConnected
from eventsvc.redis.session import Session
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
from tests.support.fake_redis import GOOD, HANG_UP, SILENCE, FakeRedis, bulk


@pytest.fixture
def redis() -> FakeRedis:
    return FakeRedis()


def test_a_handshake_is_done_before_anybody_may_send(redis: FakeRedis) -> None:
    """The order is: authentication, database, checks of the server, L{Connection.prepare}."""
    connection = Connection(redis, redis.clock, lambda: 0.0, "user", "pass", 3, prepare=prepare_something)
    ready = connection.when_ready()
    connection.startService()
    redis.run()
    assert fired(ready)
    assert usable(connection)
    assert connection.connects == 1
    assert redis.link.commands == [
        [b"AUTH", b"user", b"pass"],
        [b"SELECT", b"3"],
        [b"PING"],
        [b"COMMAND", b"INFO", b"XAUTOCLAIM"],
        [b"ROLE"],
        [b"INFO"],
        [b"PREPARE"],
    ]
    stop(redis, connection)


@pytest.mark.parametrize(
    ("username", "password", "sent"),
    [("", "p", [[b"AUTH", b"p"]]), ("u", "", [[b"AUTH", b"u", b""]]), ("", "", [])],
)
def test_who_has_no_name_or_password_gives_none(
    redis: FakeRedis, username: str, password: str, sent: list[list[bytes]]
) -> None:
    """A user without a password still sends a name; without either there is no AUTH."""
    connection = make_connection(redis, username=username, password=password, database=0)
    assert [command for command in redis.link.commands if command[0] in (b"AUTH", b"SELECT")] == sent
    stop(redis, connection)


def test_without_options_nobody_logs_in_and_no_database_is_selected(redis: FakeRedis) -> None:
    connection = Connection(redis, redis.clock, lambda: 0.0)
    connection.startService()
    redis.run()
    assert redis.link.names() == ["PING", "COMMAND", "ROLE", "INFO"]
    stop(redis, connection)


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
    """Once the server works again it reconnects, however often it failed."""
    answer, words = FAULTS[fault]
    with capturedLogs() as events:
        connection = make_connection(redis, prepare=prepare_something)
        for round in range(2):
            assert usable(connection)
            assert connection.connects == round + 1
            redis.answers[stage] = answer
            redis.link.close()
            redis.run(60.0)
            assert not usable(connection)
            assert len(redis.links) > 10 * (round + 1)
            redis.answers[stage] = GOOD[stage]
            redis.run(4.0)
        assert usable(connection)
    assert any(words in line for line in messages(events))
    assert sum(link.open for link in redis.links) == 1
    stop(redis, connection)


def test_a_command_during_the_handshake_is_refused_at_once(redis: FakeRedis) -> None:
    """It is not sent between the commands of the handshake."""
    redis.answers["AUTH"] = SILENCE
    connection = make_connection(redis)
    assert isinstance(error_of(connection.call("XADD")), NotConnected)
    assert redis.link.names() == ["AUTH"]
    stop(redis, connection)


@pytest.mark.parametrize("nothing", [b"*1\r\n*-1\r\n", b"*1\r\n$-1\r\n", b"*1\r\n*0\r\n", b"*0\r\n"])
def test_a_redis_that_is_too_old_is_not_used_until_it_is_replaced(redis: FakeRedis, nothing: bytes) -> None:
    """Otherwise the first claim would fail, after events were acknowledged."""
    redis.answers["COMMAND"] = nothing
    with capturedLogs() as events:
        connection = make_connection(redis)
        redis.run(60.0)
        assert not usable(connection)
        redis.answers["COMMAND"] = GOOD["COMMAND"]
        redis.run(3.0)
        assert usable(connection)
    assert messages(events) == [
        "no connection to Redis: Redis 6.2 or newer is needed: this one has no XAUTOCLAIM",
        "connected to Redis",
    ]
    stop(redis, connection)


@pytest.mark.parametrize("stage", ["PING", "COMMAND", "ROLE", "INFO"])
@pytest.mark.parametrize("answer", [b"-NOPERM this user has no permissions\r\n", b"-ERR unknown command 'X'\r\n"])
def test_what_we_may_not_ask_we_do_without(redis: FakeRedis, stage: str, answer: bytes) -> None:
    """The user needs no other permissions, and a hosted Redis may lack some commands."""
    redis.answers[stage] = answer
    connection = make_connection(redis)
    assert usable(connection)
    stop(redis, connection)


REPLICA = b"*5\r\n" + bulk(b"slave") + bulk(b"10.0.0.2") + b":6379\r\n" + bulk(b"connected") + b":14\r\n"
NO_PRIMARY = [
    (REPLICA, "Redis at 10.0.0.1:6379 is a read-only replica"),
    (b"*2\r\n" + bulk(b"sentinel") + b"*1\r\n" + bulk(b"mymaster"), "10.0.0.1:6379 is a Sentinel, not Redis"),
]


@pytest.mark.parametrize(("role", "words"), NO_PRIMARY)
def test_what_is_no_primary_is_not_used_until_it_is_one(redis: FakeRedis, role: bytes, words: str) -> None:
    """Otherwise a service would be ready and refuse every event."""
    redis.answers["ROLE"] = role
    with capturedLogs() as events:
        connection = make_connection(redis)
        redis.run(60.0)
        assert not usable(connection)
        assert len(redis.links) > 10
        redis.answers["ROLE"] = GOOD["ROLE"]
        redis.run(3.0)
        assert usable(connection)
    assert messages(events) == [f"no connection to Redis: {words}", "connected to Redis"]
    stop(redis, connection)


@pytest.mark.parametrize(("role", "words"), NO_PRIMARY)
def test_a_primary_that_has_become_something_else_is_left_when_it_is_checked(
    redis: FakeRedis, role: bytes, words: str
) -> None:
    """Otherwise an idle producer would be ready for hours and refuse its first event."""
    connection = make_connection(redis)
    checked = connection.check()
    redis.run()
    assert fired(checked)
    assert usable(connection)
    redis.answers["ROLE"] = role
    connection.check()
    with capturedLogs() as events:
        redis.run(1.0)
        assert not usable(connection)
    assert messages(events) == [f"no connection to Redis: {words}"]
    stop(redis, connection)


def test_who_may_not_ask_for_the_role_checks_whether_redis_is_there(redis: FakeRedis) -> None:
    redis.answers["ROLE"] = b"-NOPERM this user has no permissions\r\n"
    connection = make_connection(redis)
    connection.check()
    redis.run()
    assert redis.link.names()[-2:] == ["INFO", "PING"]
    redis.answers["PING"] = SILENCE
    connection.check().addErrback(lambda _: None)
    redis.run(2.0)
    assert not usable(connection)
    stop(redis, connection)


def test_without_a_connection_there_is_nothing_to_check(redis: FakeRedis) -> None:
    redis.state = "down"
    connection = make_connection(redis)
    assert isinstance(error_of(connection.check()), NotConnected)
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
    """Eviction of keys with a TTL hurts too; without a memory limit nothing is evicted."""
    redis.answers["INFO"] = bulk(b"# Memory\r\nused_memory:1\r\n" + memory)
    with capturedLogs() as events:
        connection = make_connection(redis)
        redis.link.close()
        redis.run(0.1)
        assert usable(connection)
    warnings = [line for line in messages(events) if "acknowledged events may be lost" in line]
    assert len(warnings) == (2 if warned else 0)
    stop(redis, connection)


@pytest.mark.parametrize(
    ("persistence", "lasting", "warned"),
    [
        (b"aof_enabled:0\r\n", True, True),
        (b"aof_enabled:1\r\n", True, False),
        (b"aof_enabled:0\r\n", False, False),
        (b"", True, False),
    ],
)
def test_a_redis_without_an_append_only_file_is_warned_of_at_each_connection(
    redis: FakeRedis, persistence: bytes, lasting: bool, warned: bool
) -> None:
    """A crash of the server loses confirmed events; a connection that is not C{lasting} does not warn."""
    redis.answers["INFO"] = bulk(b"# Persistence\r\nloading:0\r\n" + persistence)
    with capturedLogs() as events:
        connection = make_connection(redis, lasting=lasting)
        redis.link.close()
        redis.run(0.1)
        assert usable(connection)
    warnings = [event["log_level"].name for event in events if "append-only file" in str(event["log_format"])]
    assert warnings == (["warn", "warn"] if warned else [])
    stop(redis, connection)


def test_what_prepares_a_session_is_part_of_the_handshake(redis: FakeRedis) -> None:
    """The connection is not ready until it succeeds, whatever it raises."""

    async def prepare(session: Session) -> None:
        if not well:
            raise ValueError("not today")

    well: list[bool] = []
    with capturedLogs() as events:
        connection = make_connection(redis, prepare=prepare)
        redis.run(30.0)
        assert not usable(connection)
        well.append(True)
        redis.run(3.0)
        assert usable(connection)
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
