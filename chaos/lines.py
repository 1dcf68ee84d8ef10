"""
Reads the logs of services.
"""

from __future__ import annotations

import time
from calendar import timegm
from collections.abc import Iterator
from typing import Any, Final

import attrs
import msgspec
from msgspec import Raw

from chaos import FAILED
from eventsvc.json_text import NOTHING
from eventsvc.testing.history import Content

#: Clocks are stepped by whole hours; no run is as long as half of one.
_STEP: Final = 3600.0


@attrs.frozen
class Line:
    """
    A line of a service's log.

    @ivar at: its time, in seconds on the clock of the attempts.
    @ivar id: id of the handled event, if the line reports one.
    @ivar failed: whether the handler failed on it.
    @ivar alarm: the kind of alarm, if the line is one.
    @ivar content: what the handled event carried.
    """

    at: float
    process: str
    level: str
    message: str
    id: int | None = None
    failed: bool = False
    alarm: str = ""
    content: Content | None = None


class _Logged(msgspec.Struct):
    """
    A line of a log as it is written.

    Nothing else in it is decoded: it may have numbers that no float has.
    """

    time: str
    level: str
    message: str
    id: Any = None
    error: str | None = None
    alarm: str = ""
    type: str | None = None
    key: str | None = None
    data: Raw = NOTHING
    cloudevent: Raw = NOTHING


_decoder: Final = msgspec.json.Decoder(_Logged)


def parse_log(log: bytes, name: str, offset: float) -> Iterator[Line]:
    """
    Yield the JSON lines of a log in order; lines that are cut off are skipped.

    @param offset: time of day minus the clock of the attempts, in seconds.  It
        changes where the wall clock was stepped.
    """
    before = None
    for text in log.splitlines():
        try:
            line = _decoder.decode(text)
        except msgspec.DecodeError:
            continue
        message = line.message
        failed = message == FAILED
        id = line.id if failed or message == "event" else None
        content = None if id is None or failed else _content(line)
        if line.error is not None:
            message = f"{message}: {line.error}"
        at = _seconds(line.time) - offset
        stepped = _STEP * round((at - (at if before is None else before)) / _STEP)
        offset, at = offset + stepped, at - stepped
        before = at
        yield Line(at, name, line.level, message, id, failed, line.alarm, content)


def _content(line: _Logged) -> Content:
    data, cloudevent = [bytes(raw).decode() for raw in (line.data, line.cloudevent)]
    return Content(line.type, line.key, data, cloudevent)


def _seconds(timestamp: str) -> float:
    """Return a time in RFC 3339 and UTC as seconds since the epoch."""
    whole, _, fraction = timestamp.rstrip("Z").partition(".")
    return timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float(f"0.{fraction or 0}")
