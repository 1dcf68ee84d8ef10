"""
Logs: one JSON object a line.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

import attrs
import msgspec
from twisted.logger import ILogObserver, LogLevel, formatEvent
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
_encode: Final = msgspec.json.Encoder().encode


class Stream(Protocol):
    """Where lines go."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


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
        self.write([_encode(line)])

    def write(self, lines: Iterable[bytes]) -> None:
        """Write lines, without their ends, all at once."""
        text = b"\n".join([*lines, b""]).decode("utf-8", "replace")
        self.stream.write(text)
        self.stream.flush()


@attrs.frozen(eq=False)
class LogHandler:
    """
    The default handler of events: logs each as one line.

    @ivar wall_clock: nanoseconds since the epoch.
    """

    log: JsonLog
    wall_clock: Callable[[], int]

    def __call__(self, notification: Notification) -> None:
        self.log.write(
            [
                _encode(
                    {
                        "time": format_timestamp(self.wall_clock()),
                        "level": "info",
                        "from": "eventsvc.consumer",
                        "message": "event",
                        "id": notification.id,
                        "stream_id": notification.stream_id,
                        "description": notification.description,
                        "timestamp": notification.timestamp,
                    }
                )
            ]
        )


def json_log(level: str) -> JsonLog:
    """A log on standard output, whatever that is redirected to by now."""
    return JsonLog(sys.__stdout__ or sys.stdout, _LEVELS[level])
