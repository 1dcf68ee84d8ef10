"""
What a process says of itself, for whoever looks at the system: a record in JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import attrs
import msgspec

from eventsvc.histogram import Histogram
from eventsvc.text import shorten

#: Characters of a text in a record; a longer one is cut off, and a record with one is not read.
_LONGEST: Final = 300

_Text = Annotated[str, msgspec.Meta(max_length=_LONGEST)]
#: A count that fits in a float.
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Spread(msgspec.Struct, frozen=True):
    """
    A L{Histogram} as it was at the time of a heartbeat.

    @ivar bounds: the upper bounds of the ranges, in ascending order.
    @ivar counts: one count for each bound, and one for what is above the last.
    """

    bounds: Sequence[float]
    counts: Sequence[_Count]

    @classmethod
    def of(cls, histogram: Histogram) -> Spread:
        """Return a copy of a histogram."""
        return cls(tuple(histogram.bounds), tuple(histogram.counts))


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """
    The record of a process, or of one role of a process that has several.

    @ivar id: unlike that of any other process, also of the same one after a restart.
    @ivar name: a consumer's name in its group, else that of the host.
    @ivar started: seconds since 1970, by the clock of the host.
    @ivar uptime: seconds since its start, by a clock that does not jump.
    @ivar problem: why it should get no work now; empty if it should.
    @ivar figures: the names of L{eventsvc.tap.heartbeats}, in the stream of the record.
    @ivar spreads: distributions, by name; in seconds.
    """

    id: _Text
    role: _Text
    name: _Text
    host: _Text
    pid: int
    version: _Text
    started: float
    uptime: float
    problem: _Text = ""
    group: _Text = ""
    figures: dict[_Text, float] = {}
    spreads: dict[_Text, Spread] = {}


@attrs.frozen
class SeenHeartbeat:
    """
    The last heartbeat of a process.

    @ivar age: seconds since then, by the clock of Redis.
    """

    heartbeat: Heartbeat
    age: float


def encode_heartbeat(heartbeat: Heartbeat) -> bytes:
    """Return the record as JSON; texts that are too long are cut off."""
    texts = {name: shorten(getattr(heartbeat, name), _LONGEST) for name in ("name", "host", "problem", "group")}
    return msgspec.json.encode(msgspec.structs.replace(heartbeat, **texts))


_decoder: Final = msgspec.json.Decoder(Heartbeat)


def decode_heartbeat(record: bytes) -> Heartbeat | None:
    """Return the heartbeat of a record; C{None} if it is no such record."""
    try:
        found = _decoder.decode(record)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    fits = all(len(spread.counts) == len(spread.bounds) + 1 for spread in found.spreads.values())
    return found if fits else None
