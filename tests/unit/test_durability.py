"""
Tests for L{eventsvc.redis.durability} on a Redis with arbitrary replies: what
confirms a batch, and what a server is asked for before it is used.
"""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import capturedLogs

from eventsvc.interfaces import Unknown
from eventsvc.redis.connection import Connection
from eventsvc.redis.durability import Durability, OnDisk, OnReplicas, make_durability
from eventsvc.redis.log import RedisEventLog
from eventsvc.redis.silence import REPLY_TIMEOUT
from eventsvc.settings.durability import DurabilitySettings
from eventsvc.submission import AppendReply, BatchOutcome, Earlier, Submission
from tests.support.fake_connection import error_of, fired, make_connection, messages, stop, usable
from tests.support.fake_redis import GOOD, HANG_UP, FakeRedis, bulk

APPENDED = b"*2\r\n" + bulk(b"APPENDED") + b"*0\r\n"
DUPLICATE = b"*2\r\n" + bulk(b"DUPLICATE") + b"*0\r\n"
FULL = b"*2\r\n" + bulk(b"FULL") + b"*0\r\n"
LOST = b"*2\r\n" + bulk(b"LOST") + b"*0\r\n"
KNOWN = b"*2\r\n" + bulk(b"FULL") + b"*1\r\n" + bulk(b"k" * 16 + bytes(8))

LOADING = b"*3\r\n" + bulk(b"10.0.0.2") + bulk(b"6379") + bulk(b"0")
REPLICA = b"*3\r\n" + bulk(b"10.0.0.2") + bulk(b"6379") + bulk(b"14")


def policy(name: str) -> bytes:
    """Return the reply to CONFIG GET appendfsync."""
    return b"*2\r\n" + bulk(b"appendfsync") + bulk(name.encode())


def primary(replicas: int, replica: bytes = REPLICA, offset: int = 14) -> bytes:
    """Return the reply of a primary to ROLE."""
    return b"*3\r\n" + bulk(b"master") + b":%d\r\n*%d\r\n" % (offset, replicas) + replica * replicas


@attrs.frozen
class Level:
    """A level of durability, and what a server in good health says to it."""

    name: str
    command: str
    met: bytes
    missed: bytes

    def durability(self, redis: FakeRedis, least: int = 1) -> Durability:
        made = make_durability(DurabilitySettings(durability=self.name, min_replicas=least), redis.clock)
        assert made is not None
        return made


DISK = Level("DISK", "WAITAOF", b"*2\r\n:1\r\n:0\r\n", b"*2\r\n:0\r\n:0\r\n")
REPLICAS = Level("REPLICAS", "WAIT", b":1\r\n", b":0\r\n")


@pytest.fixture(params=[DISK, REPLICAS], ids=lambda level: level.name)
def level(request: pytest.FixtureRequest) -> Level:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def redis() -> FakeRedis:
    return FakeRedis(
        answers={
            **GOOD,
            "ROLE": primary(1),
            "WAIT": REPLICAS.met,
            "WAITAOF": DISK.met,
            "CONFIG": policy("always"),
            "EVAL": APPENDED,
            "EVALSHA": APPENDED,
        }
    )


@attrs.define
class Log:
    """A log on a connection that is ready, and the replies to what was appended."""

    redis: FakeRedis
    level: Level
    connection: Connection = attrs.field(init=False)
    log: RedisEventLog = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        durability = self.level.durability(self.redis)
        self.connection = make_connection(self.redis, find_problem=durability.find_problem)
        assert usable(self.connection)
        self.log = RedisEventLog(self.connection, "S", durability=durability)
        self.redis.link.commands.clear()

    def append(self) -> Deferred[AppendReply]:
        return self.log.append(b"producer", 1, [Submission((1,), (b"event",))], 1)

    @property
    def observed(self) -> int:
        assert self.log.durability is not None
        return sum(self.log.durability.seconds.counts)


@pytest.fixture
def log(redis: FakeRedis, level: Level) -> Log:
    return Log(redis, level)


def test_memory_asks_for_nothing(redis: FakeRedis) -> None:
    """It is the default, and costs no command."""
    assert make_durability(DurabilitySettings(), redis.clock) is None
    connection = make_connection(redis)
    log = RedisEventLog(connection, "S")
    reply = log.append(b"producer", 1, [Submission((1,), (b"event",))], 1)
    connection.check()
    redis.run()
    assert fired(reply)
    assert not {"WAIT", "WAITAOF"} & set(redis.link.names())
    stop(redis, connection)


@pytest.mark.parametrize("stored", [APPENDED, DUPLICATE])
def test_a_batch_is_confirmed_after_the_wait(log: Log, stored: bytes) -> None:
    """The wait is sent once the script has answered, on the same session."""
    log.redis.answers["EVAL"] = stored
    log.redis.answers[log.level.command] = b""
    reply = log.append()
    log.redis.run()
    assert not fired(reply)
    assert log.redis.link.names() == ["EVAL", log.level.command]
    log.redis.run(0.7)
    log.redis.link.say(log.level.met)
    assert fired(reply)
    assert log.observed == 1
    assert log.log.durability is not None
    assert log.log.durability.seconds.total == pytest.approx(0.7)
    stop(log.redis, log.connection)


def test_a_wait_does_not_pass_before_its_script(log: Log) -> None:
    """A server that does not know the script is sent its text first; see the Note [A wait that proves nothing]."""
    log.append()
    log.redis.run()
    log.redis.answers["EVALSHA"] = b"-NOSCRIPT No matching script.\r\n"
    log.redis.link.commands.clear()
    log.append()
    log.redis.run()
    assert log.redis.link.names() == ["EVALSHA", "EVAL", log.level.command]
    stop(log.redis, log.connection)


@pytest.mark.parametrize("nothing", [FULL, LOST])
def test_what_stored_nothing_waits_for_nothing(log: Log, nothing: bytes) -> None:
    log.redis.answers["EVAL"] = nothing
    reply = log.append()
    log.redis.run()
    assert fired(reply)
    assert log.redis.link.names() == ["EVAL"]
    stop(log.redis, log.connection)


def test_what_was_stored_earlier_is_waited_for(log: Log) -> None:
    """A full stream answers 200 to a known key; whether its first attempt has arrived is not known."""
    log.redis.answers["EVAL"] = KNOWN
    reply = log.append()
    log.redis.run()
    assert log.redis.link.names() == ["EVAL", log.level.command]
    found: list[Any] = []
    reply.addCallback(found.append)
    assert found == [AppendReply(BatchOutcome.FULL, {b"k" * 16: Earlier(bytes(16), (0,))})]
    stop(log.redis, log.connection)


#: By what it is: an answer to the wait that confirms nothing, for both commands.
NO_ANSWERS = {
    "unblocked": b"-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\r\n",
    "no right": b"-NOPERM User producer has no permissions to run the command\r\n",
    "replica": b"-ERR WAIT cannot be used with replica instances.\r\n",
    "read-only": b"-READONLY You can't write against a read only replica.\r\n",
    "unknown": b"-ERR unknown command\r\n",
    "end": HANG_UP,
    "silence": b"",
    "noise": b"HTTP/1.1 400 Bad Request\r\n",
    "nothing": b"$-1\r\n",
    "text": bulk(b"1"),
    "list": b"*0\r\n",
    "list of texts": b"*2\r\n" + bulk(b"1") + bulk(b"1"),
    "less than none": b":-1\r\n",
}


@pytest.mark.parametrize("problem", NO_ANSWERS)
def test_without_a_confirmation_a_batch_is_unknown(log: Log, problem: str) -> None:
    """It is stored.  So not even an error that means "not done" says that it is not."""
    log.redis.answers[log.level.command] = NO_ANSWERS[problem]
    reply = log.append()
    log.redis.run(REPLY_TIMEOUT)
    error = error_of(reply)
    assert isinstance(error, Unknown)
    assert not any(word in str(error) for word in ("WAIT", "NOPERM", "User", "replica", "HTTP"))
    assert log.observed == 0
    stop(log.redis, log.connection)


def test_too_few_are_unknown_and_keep_the_session(log: Log) -> None:
    """It is logged once until a batch is confirmed again: each attempt may miss."""
    with capturedLogs() as events:
        for answer, times in ((log.level.missed, 3), (log.level.met, 1), (log.level.missed, 2)):
            log.redis.answers[log.level.command] = answer
            for _ in range(times):
                reply = log.append()
                log.redis.run()
                if answer == log.level.missed:
                    assert str(error_of(reply)) == "Redis did not confirm the event in time"
                else:
                    assert fired(reply)
    assert usable(log.connection)
    assert len(log.redis.links) == 1
    assert [line.partition(": ")[0] for line in messages(events)] == ["batches are stored but not confirmed"] * 2
    stop(log.redis, log.connection)


@pytest.mark.parametrize("problem", ["unblocked", "no right", "replica", "unknown"])
def test_after_an_error_the_next_handshake_says_what_is_missing(log: Log, problem: str) -> None:
    """Events are then refused truly, instead of one after another being stored and unknown."""
    log.redis.answers[log.level.command] = NO_ANSWERS[problem]
    with capturedLogs() as events:
        log.append().addErrback(lambda _: None)
        log.redis.run(0.2)
        assert not usable(log.connection)
        refused = log.append()
        assert str(error_of(refused)) == "Redis is not connected"
    assert any(f"REDIS_DURABILITY={log.level.name.lower()}" in line for line in messages(events))
    log.redis.answers[log.level.command] = log.level.met
    log.redis.run(1.0)
    assert usable(log.connection)
    stop(log.redis, log.connection)


def test_all_who_ask_during_a_wait_share_the_next(log: Log) -> None:
    """Streams share a session: see the Note [One wait at a time]."""
    log.redis.answers.update({log.level.command: b"", "EVAL": b"", "EVALSHA": b""})
    replies = [log.append() for _ in range(3)]
    log.redis.run()
    waits = [log.level.command]
    assert log.redis.link.names() == ["EVAL", "EVALSHA", "EVALSHA"]
    log.redis.link.say(APPENDED + APPENDED + APPENDED)
    log.redis.run()
    assert log.redis.link.names()[3:] == waits
    log.redis.link.say(log.level.met)
    assert [fired(reply) for reply in replies] == [True, False, False]
    log.redis.run()
    assert log.redis.link.names()[3:] == waits * 2
    log.redis.link.say(log.level.missed)
    assert [isinstance(error_of(reply), Unknown) for reply in replies[1:]] == [True, True]
    stop(log.redis, log.connection)


def test_a_session_that_ends_answers_all_who_ask(log: Log) -> None:
    log.redis.answers.update({log.level.command: b"", "EVAL": b"", "EVALSHA": b""})
    replies = [log.append() for _ in range(3)]
    log.redis.run()
    log.redis.link.say(APPENDED + APPENDED + APPENDED)
    log.redis.run()
    log.redis.link.close()
    assert [isinstance(error_of(reply), Unknown) for reply in replies] == [True] * 3
    stop(log.redis, log.connection)


def test_a_session_that_ended_before_the_wait_confirms_nothing(log: Log) -> None:
    """The wait does not go to the next session, which has written nothing."""
    session = log.connection.session
    assert session is not None
    log.redis.link.close()
    log.redis.run(1.0)
    assert usable(log.connection)
    log.redis.link.commands.clear()
    assert log.log.durability is not None
    reply = log.log.durability.confirm(AppendReply(BatchOutcome.APPENDED), session)
    assert isinstance(reply, Deferred)
    assert isinstance(error_of(reply), Unknown)
    log.redis.run()
    assert log.redis.link.names() == []
    stop(log.redis, log.connection)


def test_one_who_gives_up_leaves_the_others_theirs(log: Log) -> None:
    log.redis.answers.update({log.level.command: b"", "EVAL": b"", "EVALSHA": b""})
    replies = [log.append() for _ in range(3)]
    log.redis.run()
    log.redis.link.say(APPENDED + APPENDED + APPENDED)
    for given_up in replies[:2]:
        given_up.cancel()
        assert isinstance(error_of(given_up), CancelledError)
    log.redis.run()
    log.redis.link.say(log.level.met)
    log.redis.run()
    log.redis.link.say(log.level.met)
    assert fired(replies[2])
    stop(log.redis, log.connection)


#: The answers of a server, and the problem with it in words.
PROBLEMS = [
    (DISK, {"WAITAOF": b"-ERR unknown command `WAITAOF`, with args\r\n"}, "REDIS_DURABILITY=disk needs Redis 7.2 or"),
    (
        DISK,
        {"WAITAOF": b"-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.\r\n"},
        "REDIS_DURABILITY=disk needs an append-only file: set appendonly of Redis to yes",
    ),
    (DISK, {"WAITAOF": NO_ANSWERS["no right"]}, "REDIS_DURABILITY=disk needs the right to run WAITAOF"),
    (DISK, {"CONFIG": NO_ANSWERS["no right"]}, "REDIS_DURABILITY=disk needs the right to run CONFIG GET"),
    (DISK, {"CONFIG": b"-ERR unknown command 'CONFIG'\r\n"}, "REDIS_DURABILITY=disk: ERR unknown command 'CONFIG'"),
    (DISK, {"CONFIG": policy("everysec")}, "REDIS_DURABILITY=disk needs appendfsync always"),
    (DISK, {"CONFIG": policy("no")}, "REDIS_DURABILITY=disk needs appendfsync always"),
    (DISK, {"CONFIG": b"*0\r\n"}, "REDIS_DURABILITY=disk needs appendfsync always"),
    (DISK, {"WAITAOF": b"-ERR odd\r\n"}, "REDIS_DURABILITY=disk: ERR odd"),
    (REPLICAS, {"WAIT": NO_ANSWERS["no right"]}, "REDIS_DURABILITY=replicas needs the right to run WAIT"),
    (REPLICAS, {"WAIT": b"-ERR unknown command 'WAIT'\r\n"}, "REDIS_DURABILITY=replicas: ERR unknown command 'WAIT'"),
    (REPLICAS, {"ROLE": NO_ANSWERS["no right"]}, "REDIS_DURABILITY=replicas needs the right to run ROLE"),
    (REPLICAS, {"ROLE": b"-ERR unknown command 'ROLE'\r\n"}, "REDIS_DURABILITY=replicas needs the right to run ROLE"),
    (REPLICAS, {"ROLE": primary(1, LOADING)}, "0 follow Redis"),
    (REPLICAS, {"ROLE": primary(2, b":1\r\n")}, "0 follow Redis"),
    (REPLICAS, {"ROLE": b"*0\r\n"}, "REDIS_DURABILITY=replicas needs the right to run ROLE"),
    (
        REPLICAS,
        {"ROLE": primary(0)},
        "REDIS_DURABILITY=replicas needs 1 replicas (REDIS_MIN_REPLICAS): 0 follow Redis",
    ),
]


@pytest.mark.parametrize(("level", "answers", "problem"), PROBLEMS)
def test_a_server_that_cannot_confirm_is_not_used(
    redis: FakeRedis, level: Level, answers: dict[str, bytes], problem: str
) -> None:
    """Neither at the start nor later: without ROLE it is found when a batch waits."""
    good = dict(redis.answers)
    redis.answers.update(answers)
    durability = level.durability(redis)
    with capturedLogs() as events:
        connection = make_connection(redis, find_problem=durability.find_problem)
        redis.run(1.0)
        assert not usable(connection)
        assert [line for line in messages(events) if problem in line] != []
    redis.answers.update(good)
    redis.run(1.0)
    assert usable(connection)
    if "ROLE" in answers and answers["ROLE"].startswith(b"-"):
        stop(redis, connection)
        return
    redis.answers.update(answers)
    with capturedLogs() as events:
        connection.check().addErrback(lambda _: None)
        redis.run(0.2)
    assert not usable(connection)
    assert [line for line in messages(events) if problem in line] != []
    stop(redis, connection)


def test_as_many_replicas_as_asked_for(redis: FakeRedis) -> None:
    """They must be connected, and they must confirm."""
    redis.answers.update({"ROLE": primary(2), "WAIT": b":2\r\n"})
    durability = REPLICAS.durability(redis, least=3)
    connection = make_connection(redis, find_problem=durability.find_problem)
    assert not usable(connection)
    redis.answers["ROLE"] = primary(3)
    redis.run(1.0)
    assert usable(connection)
    assert durability.wait == ("WAIT", 3, 1500)
    assert [durability.is_met(number) for number in (2, 3, 4)] == [False, True, True]
    stop(redis, connection)


def test_a_primary_that_nothing_was_written_to_has_replicas(redis: FakeRedis) -> None:
    """Then the offset of a replica that follows is 0 too."""
    redis.answers["ROLE"] = primary(1, LOADING, offset=0)
    connection = make_connection(redis, find_problem=REPLICAS.durability(redis).find_problem)
    assert usable(connection)
    stop(redis, connection)


def test_the_wait_is_shorter_than_the_silence_of_a_dead_session(level: Level, redis: FakeRedis) -> None:
    """Otherwise each batch that waits in vain would cost the session."""
    milliseconds = level.durability(redis).wait[-1]
    assert isinstance(milliseconds, int)
    assert milliseconds / 1000 <= REPLY_TIMEOUT - 0.5


def test_the_classes_say_what_they_ask_for(redis: FakeRedis) -> None:
    assert OnDisk(redis.clock).wait == ("WAITAOF", 1, 0, 1500)
    assert OnReplicas(redis.clock, 2).wait == ("WAIT", 2, 1500)
