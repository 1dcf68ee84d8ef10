"""
Logs: one JSON object a line.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from io import TextIOWrapper
from typing import Any, Final, Protocol

import attrs
import msgspec
from twisted.logger import ILogObserver, LogLevel, formatEvent
from twisted.python.reflect import safe_repr
from zope.interface import implementer

from eventsvc.event import Notification, format_timestamp

_LEVELS: Final = {
    "DEBUG": LogLevel.debug,
    "INFO": LogLevel.info,
    "WARN": LogLevel.warn,
    "WARNING": LogLevel.warn,
    "ERROR": LogLevel.error,
    "CRITICAL": LogLevel.critical,
}
_encode: Final = msgspec.json.Encoder(enc_hook=safe_repr).encode


class Stream(Protocol):
    """Where lines go."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


def _plain(value: object) -> str:
    """Text that any encoder takes."""
    text = value if isinstance(value, str) else safe_repr(value)
    return text.encode("utf-8", "backslashreplace").decode()


@implementer(ILogObserver)
@attrs.frozen(eq=False)
class JsonLog:
    """
    Writes log events, and lines made elsewhere, to a stream.

    An event may carry members of its own in C{details}, a mapping; they
    follow time, level, from and message.
    """

    stream: Stream
    least: Any = LogLevel.info

    def __call__(self, event: Mapping[str, Any]) -> None:
        level = event.get("log_level", LogLevel.info)
        if level < self.least:
            return
        line: dict[str, Any] = {
            "time": format_timestamp(round(event.get("log_time", 0) * 1e9)),
            "level": level.name,
            "from": event.get("log_namespace", ""),
            "message": formatEvent(event),  # type: ignore[arg-type]
        }
        failure = event.get("log_failure")
        if failure is not None:
            line["error"] = failure.getErrorMessage()
            line["traceback"] = failure.getTraceback()
        line.update(event.get("details", {}))
        try:
            encoded = _encode(line)
        except Exception:  # half a surrogate pair, a number too great, or worse
            encoded = _encode({_plain(name): _plain(value) for name, value in line.items()})
        self.write([encoded])

    def write(self, lines: Iterable[bytes]) -> None:
        """Write lines, without their ends, all at once."""
        text = b"\n".join([*lines, b""]).decode("utf-8", "replace")
        self.stream.write(text)
        self.stream.flush()


class _EventLine(msgspec.Struct):
    time: str
    id: int
    stream_id: str
    description: str
    timestamp: str
    level: str = "info"
    source: str = msgspec.field(default="eventsvc.consumer", name="from")
    message: str = "event"


@attrs.frozen(eq=False)
class LogHandler:
    """
    The default handler of events: logs each as one line.

    The lines of a run of events are written together, by L{flush}.

    @ivar wall_clock: nanoseconds since the epoch.
    """

    log: JsonLog
    wall_clock: Callable[[], int]
    _lines: list[bytes] = attrs.field(factory=list, init=False)

    def __call__(self, notification: Notification) -> None:
        line = _EventLine(
            format_timestamp(self.wall_clock()),
            notification.id,
            notification.stream_id,
            notification.description,
            notification.timestamp,
        )
        self._lines.append(_encode(line))

    def flush(self) -> None:
        lines = self._lines[:]
        self._lines.clear()
        self.log.write(lines)


def json_log(level: str) -> JsonLog:
    """A log on standard output, whatever that is redirected to by now, in UTF-8."""
    stream = sys.__stdout__ or sys.stdout
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(encoding="utf-8")
    return JsonLog(stream, _LEVELS[level])
