"""
The figures of one moment of the last hour, as a record.
"""

from __future__ import annotations

from typing import Final

import msgspec

#: Seconds from one point to the next, and how many there are in an hour.
STEP: Final = 5.0
PLACES: Final = 720


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """
    The figures of a moment; C{None} stands for what was not known.

    @ivar number: the seconds since 1970, by the clock of Redis, divided by L{STEP}.
    @ivar accepted: events per second, as are C{refused} and C{handled}.
    @ivar append_p50: seconds, as are the other percentiles.
    @ivar unread_age: seconds; of the group that is behind most.
    """

    number: int
    accepted: float | None = msgspec.field(default=None, name="i")
    refused: float | None = msgspec.field(default=None, name="r")
    handled: float | None = msgspec.field(default=None, name="o")
    append_p50: float | None = msgspec.field(default=None, name="a50")
    append_p99: float | None = msgspec.field(default=None, name="a99")
    age_p50: float | None = msgspec.field(default=None, name="h50")
    age_p99: float | None = msgspec.field(default=None, name="h99")
    unread_age: float | None = msgspec.field(default=None, name="u")
    pending: float | None = msgspec.field(default=None, name="p")
    dead: float | None = msgspec.field(default=None, name="d")


_decoder: Final = msgspec.json.Decoder(Point)


def encode_point(point: Point) -> bytes:
    """Return the record of a point, without its number."""
    known = {
        name: value for name, value in msgspec.to_builtins(point).items() if value is not None and name != "number"
    }
    return msgspec.json.encode(
        {name: float(f"{value:.4g}") for name, value in known.items()} | {"number": point.number}
    )


def decode_point(record: bytes) -> Point | None:
    """Return the point of a record behind its number and a space; C{None} if it is no such record."""
    try:
        return _decoder.decode(record.partition(b" ")[2])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
