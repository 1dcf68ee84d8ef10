"""
Keeps the figures of the last hour of a stream in Redis, for the charts of all dashboards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from eventsvc.dashboard.point import PLACES, STEP, Point, decode_point, encode_point
from eventsvc.redis.connection import Connection
from eventsvc.redis.errors import code_of
from eventsvc.redis.scripts import companion, load_script
from eventsvc.redis.session import Argument

_KEEP: Final = load_script("keep_point.lua")
_READ: Final = load_script("read_hash.lua")
#: Milliseconds after which the points are forgotten if no dashboard runs.
_LIFETIME: Final = round(2 * STEP * PLACES * 1000)


@attrs.define(eq=False)
class Hour:
    """
    The points of a stream: a ring in a hash, with a place for each moment of the hour.

    Several dashboards may write at the same time: of each moment the first point is kept.
    Every operation fails with L{eventsvc.interfaces.Refused} or L{eventsvc.interfaces.Unknown} and nothing else.

    @ivar problem: why the last point was not kept; empty if it was.
    """

    connection: Connection
    stream: str
    problem: str = attrs.field(default="", init=False)
    _log = Logger()

    @property
    def key(self) -> str:
        """The key of the hash."""
        return companion(self.stream, "hour").decode()

    def keep(self, point: Point) -> Deferred[None]:
        """Keep a point; a user of Redis that may not do this goes on without, which is logged once."""
        arguments: list[Argument] = [self.key, point.number % PLACES, point.number, encode_point(point), _LIFETIME]
        return self.connection.run(_KEEP, [self.stream], arguments).addCallback(self._kept)

    def _kept(self, reply: bytes | None) -> None:
        problem = "" if reply is None else code_of(reply.decode())
        if problem not in ("", self.problem):
            self._log.warn(
                "the charts have no history: Redis refuses {code} on the key {key}", code=problem, key=self.key
            )
        self.problem = problem

    def read(self) -> Deferred[Sequence[Point]]:
        """Read the points of the last hour, the oldest first."""
        return self.connection.run(_READ, [self.stream], [self.key]).addCallback(self._read)

    def _read(self, reply: Sequence[Any]) -> Sequence[Point]:
        now, rows = reply
        if isinstance(rows, bytes):
            return []
        newest = int(now / 1000 // STEP)
        points = [decode_point(row) for row in rows[1::2]]
        return sorted(
            (point for point in points if point is not None and newest - PLACES < point.number <= newest),
            key=lambda point: point.number,
        )
