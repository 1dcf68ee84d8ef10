"""
Writes the log: one JSON object per line for programs, or text for people.
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
from eventsvc.json_text import escape_breaks
from eventsvc.settings import LogSettings
from eventsvc.telemetry.log_output import LONGEST, LogOutput
from eventsvc.text import shorten
from eventsvc.text_lines import TextLines

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

_encoder: Final = msgspec.json.Encoder(enc_hook=safe_repr)


def _plain(value: object) -> str:
    """Return a value as text that can be encoded."""
    text = value if isinstance(value, str) else safe_repr(value)
    return text.encode("utf-8", "backslashreplace").decode()


def _encode(members: object) -> bytes:
    return escape_breaks(_encoder.encode(members))


def encode_json(members: Mapping[str, Any]) -> bytes:
    """Return the members of a line as a JSON object of at most L{LONGEST} bytes."""
    try:
        encoded = _encode(members)
    except Exception:  # such as half a surrogate pair, or a number out of range
        encoded = _encode({_plain(name): _plain(value) for name, value in members.items()})
    return encoded if len(encoded) < LONGEST else _encode(_cut(members))


def encode_text(lines: TextLines, members: Mapping[str, Any]) -> bytes:
    """Return the members of a line as text; it has about as much room as a JSON object."""
    plain = {_plain(name): _plain(value) for name, value in members.items()}
    return lines.format_message(plain if sum(map(len, plain.values())) < LONGEST else _cut(plain)).encode()


def _cut(members: Mapping[str, Any]) -> dict[str, str]:
    return {shorten(_plain(name), 100): shorten(_plain(value)) for name, value in list(members.items())[:8]}


@implementer(ILogObserver)
@attrs.frozen(eq=False)
class ServiceLog:
    """
    Writes log events to an output.

    An event may add its own members in the mapping C{details}; they follow
    time, level, from and message.

    @ivar text: formats events as text, if the log is text; C{None} if it is JSON.
    """

    output: LogOutput
    least: Any = LogLevel.info
    text: TextLines | None = None

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
        self.output.put((encode_json(line) if self.text is None else encode_text(self.text, line)) + b"\n")


def make_log(settings: LogSettings) -> ServiceLog:
    """Return a log on standard output in UTF-8, even if C{sys.stdout} was redirected."""
    terminal = is_terminal()
    is_text = settings.format == "TEXT" or (settings.format == "AUTO" and terminal)
    text = TextLines(coloured=terminal and has_colours(os.environ)) if is_text else None
    return ServiceLog(standard_output(), _LEVELS[settings.level], text)


def is_terminal() -> bool:
    """Return whether the standard output that the process was started with is a terminal."""
    stream = sys.__stdout__
    return stream is not None and not stream.closed and stream.isatty()


def has_colours(environment: Mapping[str, str]) -> bool:
    """Return whether a terminal may be sent colours: U{https://no-color.org}, and C{TERM}."""
    return not environment.get("NO_COLOR") and environment.get("TERM", "dumb") != "dumb"


@cache
def standard_output() -> LogOutput:
    """Return the output of this process; at exit it has L{FAREWELL} seconds to write waiting lines."""
    stream = sys.__stdout__
    output = LogOutput(len if stream is None else partial(os.write, stream.fileno()))
    atexit.register(output.finish, FAREWELL)
    return output
