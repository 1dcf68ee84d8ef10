"""
A connection to a fake Redis whose replies a test chooses.
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
    """Return a started connection with a password and a database."""
    parts: dict[str, Any] = {"password": "pass", "database": 2, "jitter": lambda: 0.0, **overrides}
    connection = Connection(endpoint=redis, clock=redis.clock, **parts)
    connection.startService()
    redis.run()
    return connection


def stop(redis: FakeRedis, connection: Connection) -> None:
    """Stop it, and check that no timer or connection is left."""
    stopped = connection.stopService()
    redis.run()
    assert fired(stopped)
    assert redis.clock.getDelayedCalls() == []
    assert not any(link.open for link in redis.links)
    attempts = len(redis.attempts)
    redis.run(60.0)
    assert len(redis.attempts) == attempts


def usable(connection: Connection) -> bool:
    """Return whether it is ready now; a function, so that mypy does not narrow the type."""
    return connection.ready


def fired(deferred: Deferred[Any]) -> bool:
    """Return whether it has fired; a cancelled one may still wait for its result."""
    found: list[Any] = []

    def note(result: Any) -> Any:
        found.append(result)
        return result

    deferred.addBoth(note)
    return bool(found)


def error_of(answer: Deferred[Any]) -> Exception:
    """Return the error of a failed command."""
    found: list[Any] = []
    answer.addErrback(found.append)
    [failure] = found
    error: Exception = failure.value
    return error


def messages(events: Any) -> list[str]:
    """Return the formatted log messages."""
    assert not [event for event in events if "log_failure" in event]
    return [event["log_format"].format(**event) for event in events]


async def prepare_something(session: Session) -> None:
    await session.call("PREPARE")
