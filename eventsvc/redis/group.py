"""
Reads a Redis stream as one consumer of a group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, ensureDeferred, fail
from zope.interface import implementer

from eventsvc.consumer.page import PAGE_BYTES
from eventsvc.event import Entry
from eventsvc.interfaces import Claimed, IEventGroup, Measures, Unknown
from eventsvc.memory import Memory
from eventsvc.redis.connection import Connection
from eventsvc.redis.errors import ErrorReply
from eventsvc.redis.history import TRIM, TRIM_STEP, read_memory
from eventsvc.redis.measuring import measure
from eventsvc.redis.scripts import companion, dead_letters, load_script
from eventsvc.redis.session import Argument, Script
from eventsvc.redis.silence import REPLY_TIMEOUT

_CREATE_GROUP: Final = load_script("create_group.lua")
_PENDING: Final = load_script("pending.lua")
_CLAIM: Final = load_script("rights.lua", "claim.lua")
_UPDATE_PENDING: Final = load_script("update_pending.lua")
_SET_ASIDE: Final = load_script("rights.lua", "set_aside.lua")
_REMOVE_STALE: Final = load_script("remove_stale.lua")
_HOLD_NAME: Final = load_script("hold_name.lua")
_LEAVE: Final = load_script("leave.lua")

#: Idle time that lets any consumer claim an entry, in milliseconds.
_A_YEAR: Final = 31_536_000_000

#: Why an operation fails on a connection that L{RedisEventGroup.open} has not seen.
_NOT_OPENED: Final = "there is a new connection to Redis"


@implementer(IEventGroup)
@attrs.define(eq=False)
class RedisEventGroup:
    """Reads a stream as one consumer of a group, over its own connection."""

    connection: Connection
    stream: str
    group: str
    consumer: str
    #: the number of the session that L{open} has found
    _opened: int = attrs.field(default=0, init=False)

    def open(self) -> Deferred[bool]:
        return ensureDeferred(self._open())

    async def _open(self) -> bool:
        """Create the group only if it is missing: a full server refuses to create one."""
        await self.connection.when_ready()
        self._opened = self.connection.connects
        try:
            await self._call("XPENDING", self.stream, self.group, "-", "+", 1)
        except ErrorReply as error:
            if error.code != "NOGROUP":
                raise
            return bool(await self._run_on([self.stream], _CREATE_GROUP, [self.group]))
        return False

    def read(self, count: int, block: float) -> Deferred[Sequence[Entry]]:
        waiting: list[Argument] = ["BLOCK", max(1, round(block * 1000))] if block > 0 else []
        reply = self._call(
            *("XREADGROUP", "GROUP", self.group, self.consumer, "COUNT", count, *waiting),
            *("STREAMS", self.stream, ">"),
            timeout=block + REPLY_TIMEOUT,
        )
        return reply.addCallback(_read_new)

    def read_pending(self, after: str, count: int, size: int = PAGE_BYTES) -> Deferred[Sequence[Entry]]:
        reply = self._run(_PENDING, _beyond(after), count, size)
        return reply.addCallback(_read_again)

    def list_pending(self, after: str, count: int) -> Deferred[Sequence[str]]:
        reply = self._call("XPENDING", self.stream, self.group, _beyond(after), "+", count, self.consumer)
        return reply.addCallback(lambda rows: [row[0].decode() for row in rows])

    def claim(self, idle: float, cursor: str, count: int, size: int = PAGE_BYTES) -> Deferred[Claimed]:
        reply = self._run(_CLAIM, round(idle * 1000), cursor, count, size)
        return reply.addCallback(
            lambda page: Claimed(page[0].decode(), _read_again(page[1]), [id.decode() for id in page[2]])
        )

    def count_delivery(self, ids: Sequence[str], deliveries: int) -> Deferred[None]:
        return self._update_pending(dict.fromkeys(ids, ""), "RETRYCOUNT", deliveries).addCallback(lambda _: None)

    def renew(self, digests: Mapping[str, str]) -> Deferred[Sequence[str]]:
        return self._update_pending(digests, "IDLE", 0)

    def acknowledge(self, ids: Sequence[str]) -> Deferred[None]:
        reply = self._call("XACK", self.stream, self.group, *ids)
        return reply.addCallback(lambda _: None)

    def set_aside(self, id: str, reason: str, error: str, deliveries: int) -> Deferred[bool]:
        words = error.encode("utf-8", "replace")
        return self._run(_SET_ASIDE, id, reason, words, deliveries).addCallback(bool)

    def interrupt(self) -> None:
        self.connection.abort("interrupted")

    def release(self, ids: Sequence[str]) -> Deferred[None]:
        return self._update_pending(dict.fromkeys(ids, ""), "IDLE", _A_YEAR).addCallback(lambda _: None)

    def _update_pending(self, digests: Mapping[str, str], option: str, value: int) -> Deferred[Sequence[str]]:
        reply = self._run(_UPDATE_PENDING, option, value, *chain.from_iterable(digests.items()))
        return reply.addCallback(lambda others: [id.decode() for id in others])

    def remove_stale(self, idle: float) -> Deferred[Sequence[str]]:
        reply = self._run(_REMOVE_STALE, round(idle * 1000))
        return reply.addCallback(lambda names: [name.decode("utf-8", "replace") for name in names])

    def trim(self, max_len: int) -> Deferred[int]:
        return self._run_on([self.stream], TRIM, [max_len, TRIM_STEP])

    def memory(self) -> Deferred[Memory]:
        return ensureDeferred(read_memory(self._call))

    def hold_name(self, token: str, lifetime: float) -> Deferred[float]:
        left = self._run_on(self._owner_keys(), _HOLD_NAME, [token, round(lifetime * 1000)])
        return left.addCallback(lambda milliseconds: milliseconds / 1000)

    def leave(self, token: str) -> Deferred[bool]:
        reply = self._run_on(self._owner_keys(), _LEAVE, [self.group, self.consumer, token])
        return reply.addCallback(bool)

    def _owner_keys(self) -> list[Argument]:
        return [self.stream, companion(self.stream, "owner", self.group, self.consumer)]

    def measure(self) -> Deferred[Measures]:
        if self._opened != self.connection.connects:
            return fail(Unknown(_NOT_OPENED))
        return measure(self.connection, self.stream, self.group, with_dead=True)

    def _run(self, script: Script, *arguments: Argument) -> Deferred[Any]:
        keys: list[Argument] = [self.stream, dead_letters(self.stream)]
        everything: list[Argument] = [self.group, self.consumer, *arguments]
        return self._run_on(keys, script, everything)

    def _run_on(self, keys: list[Argument], script: Script, arguments: list[Argument]) -> Deferred[Any]:
        if self._opened != self.connection.connects:
            return fail(Unknown(_NOT_OPENED))
        return self.connection.run(script, keys, arguments)

    def _call(self, *arguments: Argument, timeout: float = REPLY_TIMEOUT) -> Deferred[Any]:
        if self._opened != self.connection.connects:
            return fail(Unknown(_NOT_OPENED))
        return self.connection.call(*arguments, timeout=timeout)


def _beyond(after: str) -> str:
    """Return the lower bound of a range after an id; an empty id means from the first entry."""
    return f"({after}" if after else "-"


def _read_new(reply: Any) -> Sequence[Entry]:
    """Return the entries in a reply to XREADGROUP on one stream; the reply is C{None} if there are none."""
    if not reply:
        return ()
    return [
        Entry(id.decode(), {fields[0]: fields[1]} if len(fields) == 2 else _read_fields(fields))  # nearly all have one
        for id, fields in reply[0][1]
    ]


def _read_again(rows: Any) -> Sequence[Entry]:
    """Return the entries in the reply of a script: rows of id, deliveries so far, fields."""
    return [Entry(id.decode(), _read_fields(fields), deliveries + 1, again=True) for id, deliveries, fields in rows]


def _read_fields(fields: list[bytes] | None) -> dict[bytes, bytes] | None:
    if fields is None:
        return None
    return dict(zip(fields[::2], fields[1::2], strict=True))
