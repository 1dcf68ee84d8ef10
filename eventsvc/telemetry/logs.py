"""
Writes the log, one JSON object per line.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Mapping
from functools import cache, partial
from typing import Any, Final

import attrs
import msgspec
from twisted.logger import ILogObserver, LogLevel, formatEvent
from twisted.python.reflect import safe_repr
from zope.interface import implementer

from eventsvc.event import format_timestamp
from eventsvc.telemetry.log_output import LONGEST, LogOutput
from eventsvc.text import shorten

_LEVELS: Final = {
    "DEBUG": LogLevel.debug,
    "INFO": LogLevel.info,
    "WARN": LogLevel.warn,
    "WARNING": LogLevel.warn,
    "ERROR": LogLevel.error,
    "CRITICAL": LogLevel.critical,
}
#: Seconds within which waiting lines must be written at exit.
FAREWELL: Final = 1.0

_encode: Final = msgspec.json.Encoder(enc_hook=safe_repr).encode


def _plain(value: object) -> str:
    """Return a value as text that can be encoded."""
    text = value if isinstance(value, str) else safe_repr(value)
    return text.encode("utf-8", "backslashreplace").decode()


@implementer(ILogObserver)
@attrs.frozen(eq=False)
class JsonLog:
    """
    Writes log events to an output.

    An event may add its own members in the mapping C{details}; they follow
    time, level, from and message.
    """

    output: LogOutput
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
        except Exception:  # such as half a surrogate pair, or a number out of range
            encoded = _encode({_plain(name): _plain(value) for name, value in line.items()})
        if len(encoded) >= LONGEST:
            cut = {shorten(_plain(name), 100): shorten(_plain(value)) for name, value in list(line.items())[:8]}
            encoded = _encode(cut)
        self.output.put(encoded + b"\n")


def json_log(level: str) -> JsonLog:
    """Return a log on standard output in UTF-8, even if C{sys.stdout} was redirected."""
    return JsonLog(standard_output(), _LEVELS[level])


@cache
def standard_output() -> LogOutput:
    """Return the output of this process; at exit it has L{FAREWELL} seconds to write waiting lines."""
    stream = sys.__stdout__
    output = LogOutput(len if stream is None else partial(os.write, stream.fileno()))
    atexit.register(output.finish, FAREWELL)
    return output
