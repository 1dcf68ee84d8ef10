"""
A connection on a Redis that says what a test tells it to.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import Deferred

from eventsvc.redis.connection import Connection
from eventsvc.redis.session import Session
from tests.support.fake_redis import FakeRedis

#: The commands of a handshake, of a connection made here.
STAGES: Final = ["AUTH", "SELECT", "PING", "COMMAND", "ROLE", "INFO", "PREPARE"]


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
    assert fired(stopped)
    assert redis.clock.getDelayedCalls() == []
    assert not any(link.open for link in redis.links)
    attempts = len(redis.attempts)
    redis.run(60.0)
    assert len(redis.attempts) == attempts


def usable(connection: Connection) -> bool:
    """Whether it is ready, now: the answer changes."""
    return connection.ready


def fired(deferred: Deferred[Any]) -> bool:
    """Whether it has a result; one that was cancelled may have to wait for it still."""
    found: list[Any] = []

    def note(result: Any) -> Any:
        found.append(result)
        return result

    deferred.addBoth(note)
    return bool(found)


def error_of(answer: Deferred[Any]) -> Exception:
    """The error of a command that has failed."""
    found: list[Any] = []
    answer.addErrback(found.append)
    [failure] = found
    error: Exception = failure.value
    return error


def messages(events: Any) -> list[str]:
    """What was logged, as one reads it."""
    assert not [event for event in events if "log_failure" in event]
    return [event["log_format"].format(**event) for event in events]


async def prepare_something(session: Session) -> None:
    await session.call("PREPARE")
