"""
What all commands share: how they are called, and their connection to Redis.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TextIO, TypeVar

import attrs
from twisted.internet.defer import TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from eventsvc.interfaces import Refused, Unknown
from eventsvc.redis.connection import Connection, ErrorReply
from eventsvc.redis.errors import UnclearReply
from eventsvc.redis.scripts import dead_letters
from eventsvc.settings import RedisSettings
from eventsvc.settings.reading import read
from eventsvc.tap.parts.connection import make_connection
from eventsvc.text_lines import printable

T = TypeVar("T")

#: Seconds to wait for Redis before giving up.
PATIENCE: Final = 5.0


class NotDone(Exception):
    """The command failed, completely or in part; the text says why."""


@attrs.frozen(kw_only=True)
class Call:
    """
    A command as it was called.

    @ivar given: the values of its options, by name.
    """

    given: Mapping[str, Any]
    reactor: Any
    out: TextIO
    err: TextIO

    @property
    def json(self) -> bool:
        """Whether the result is written as JSON."""
        return bool(self.given["json"])

    def write(self, text: str) -> None:
        """Write a part of the result."""
        self.out.write(text)

    def say(self, text: str) -> None:
        """Write a line that is not part of the result, without what a terminal would obey."""
        self.err.write(f"{printable(text)}\n")

    def read(self, settings: type[T]) -> T:
        """Return settings, from flags and the environment."""
        return read(settings, os.environ, self.given)


@attrs.frozen(kw_only=True)
class Link:
    """A connection to Redis that a command waits for, but not for ever."""

    redis: RedisSettings
    connection: Connection
    clock: IReactorTime

    async def ask(self, operation: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Call an idempotent operation, and repeat it until there is a reply."""
        return (await self.ask_twice(operation, *arguments))[0]

    async def ask_twice(self, operation: Callable[..., Awaitable[T]], *arguments: Any) -> tuple[T, bool]:
        """
        Call an idempotent operation, and repeat it until there is a reply.

        Returns the reply, and whether an earlier attempt got no reply.

        @raise NotDone: there was none within L{PATIENCE}, or it was an error.
        """
        deadline = self.clock.seconds() + PATIENCE
        in_doubt = False
        problem = f"no connection within {PATIENCE:g} s"
        while (left := deadline - self.clock.seconds()) > 0:
            try:
                await self.connection.when_ready().addTimeout(left, self.clock)
                return await operation(*arguments), in_doubt
            except TimeoutError:
                break
            except ErrorReply as error:
                raise NotDone(f"Redis refused the command: {error.reply}{self._explain(error.code)}") from None
            except (Refused, Unknown) as error:
                in_doubt = in_doubt or isinstance(error, Unknown)
                problem = error.reply if isinstance(error, UnclearReply) else str(error)
            await deferLater(self.clock, 0.1)
        raise NotDone(f"cannot use Redis at {self.redis.place}: {problem}")

    def _explain(self, code: str) -> str:
        """Return what an error of Redis means here; empty if its text says so."""
        stream = self.redis.stream
        match code:
            case "NOPERM":
                return "; docs/security.md has the rights of its users"
            case "WRONGTYPE":
                return f"; {stream} or {dead_letters(stream).decode()} is no stream: check REDIS_STREAM and REDIS_DB"
            case _:
                return ""


@asynccontextmanager
async def connected(call: Call) -> AsyncIterator[Link]:
    """
    Connect to Redis for the time of a command.

    @raise InvalidSettings: the settings cannot be followed.
    """
    redis = call.read(RedisSettings)
    connection = make_connection(call.reactor, redis, follow=False, lasting=False)  # the services warn about that
    connection.startService()
    try:
        yield Link(redis=redis, connection=connection, clock=call.reactor)
    finally:
        await connection.stopService()
