"""
Tests for L{eventsvc.telemetry.logs}: one JSON object per line, whatever is logged.
"""

from __future__ import annotations

import io
import json
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError
from twisted.logger import Logger, LogLevel, LogPublisher
from twisted.python import log as legacy
from twisted.python.failure import Failure

from eventsvc.event import Notification
from eventsvc.handlers.log import LogHandler
from eventsvc.settings import LogSettings
from eventsvc.settings.kinds import LEVEL
from eventsvc.telemetry.log_output import LONGEST, LogOutput
from eventsvc.telemetry.logs import ServiceLog, make_log


class Unprintable:
    """An object whose repr raises."""

    def __repr__(self) -> str:
        raise ValueError("no repr")


class HalfPair(Exception):
    """An exception whose text is not valid UTF-8."""

    def __str__(self) -> str:
        return "half \ud800"


@attrs.define
class Lines:
    """A log, a logger that writes to it, and its output."""

    stream: io.BytesIO = attrs.field(factory=io.BytesIO)
    least: Any = LogLevel.debug
    output: LogOutput = attrs.field(init=False)
    log: ServiceLog = attrs.field(init=False)
    logger: Logger = attrs.field(init=False)

    @output.default
    def _make_output(self) -> LogOutput:
        return LogOutput(self.stream.write)

    @log.default
    def _make_log(self) -> ServiceLog:
        return ServiceLog(self.output, self.least)

    @logger.default
    def _make_logger(self) -> Logger:
        return Logger("room", observer=LogPublisher(self.log))

    def read(self) -> list[dict[str, Any]]:
        """Return the lines, which must be objects; the text must be UTF-8 and end with a line end."""
        assert self.output.finish(30.0)
        text = self.stream.getvalue().decode()
        *lines, rest = text.split("\n")
        assert rest == ""
        found = [json.loads(line) for line in lines]
        assert all(isinstance(line, dict) for line in found)
        return found

    def one(self) -> dict[str, Any]:
        """Return the only line."""
        (line,) = self.read()
        return line


def test_a_line_says_when_how_bad_where_and_what() -> None:
    """Time, level, origin and message, then the event's own members."""
    lines = Lines()
    lines.log(
        {
            "log_time": 1_740_521_185.5,
            "log_level": LogLevel.warn,
            "log_namespace": "room",
            "log_format": "{count} left\nin two lines",
            "count": 3,
            "details": {"count": 3, "rate": 0.5, "names": ["a"]},
        }
    )
    assert list(lines.one().items()) == [
        ("time", "2025-02-25T22:06:25.500000000Z"),
        ("level", "warn"),
        ("from", "room"),
        ("message", "3 left\nin two lines"),
        ("count", 3),
        ("rate", 0.5),
        ("names", ["a"]),
    ]


@pytest.mark.parametrize("value", [b"\xff", "\ud800", Unprintable(), HalfPair(), Failure(HalfPair()), 1 << 70, None])
def test_any_value_makes_a_line(value: object) -> None:
    """Bytes, half surrogate pairs and objects whose repr fails still make a line of JSON."""
    lines = Lines()
    for words in ("{value}", "{value!r}", "{value!s}", "{nothing}", "{", "", value):
        lines.logger.info(words, value=value)  # type: ignore[arg-type]
        lines.logger.info("in details", details={"value": value, "list": [value]})
    lines.logger.info("keys", details={value: value})
    assert [line["level"] for line in lines.read()] == ["info"] * 15


@given(
    st.dictionaries(st.text(), st.text(st.characters()) | st.binary() | st.floats() | st.integers()),
    st.text(st.characters()),
)
def test_any_details_make_a_line(details: dict[str, Any], words: str) -> None:
    """Any details make one object on one line."""
    lines = Lines()
    lines.logger.info("{words}", words=words, details=details)
    assert lines.one().keys() >= {"time", "level", "from", "message", *details}


def test_no_control_character_reaches_a_terminal_and_no_line_is_broken() -> None:
    """Whoever reads the log of a pod has a terminal; U+009B begins a command there."""
    hostile = "a\x1b[2J\x7f\x85\x9b2J\u2028z"
    lines = Lines()
    lines.logger.info("{words}", words=hostile, details={hostile: [hostile]})
    lines.logger.failure("{words}", Failure(Exception(hostile)), words=hostile)
    assert [line["message"] for line in lines.read()] == [hostile] * 2
    assert all(text.isprintable() for text in lines.stream.getvalue().decode().splitlines())


def test_a_cycle_makes_a_line() -> None:
    """Details that contain themselves are written as text."""
    lines, cycle = Lines(), {}  # type: ignore[var-annotated]
    cycle["again"] = cycle
    lines.logger.info("round", details=cycle)
    assert "..." in lines.one()["again"]


def test_nothing_at_all_makes_a_line() -> None:
    """An event without the usual members is a line too."""
    lines = Lines()
    lines.log({})
    assert lines.one()["level"] == "info"


@pytest.mark.parametrize("error", [ValueError("no such door"), HalfPair(), KeyError(b"\xff"), KeyError(Unprintable())])
def test_a_failure_is_told_with_its_traceback(error: Exception) -> None:
    """The error and its traceback are members of the line."""
    lines = Lines()
    try:
        raise error
    except Exception:
        lines.logger.failure("it broke")
    line = lines.one()
    assert (line["level"], line["message"]) == ("critical", "it broke")
    assert isinstance(line["error"], str)
    assert "test_a_failure_is_told_with_its_traceback" in line["traceback"]


def test_describe_error_of_the_old_kind_are_lines_too() -> None:
    """Messages of Twisted through C{log.msg} and C{log.err} are written as well."""
    lines = Lines()
    publisher = legacy.LogPublisher(observerPublisher=LogPublisher(lines.log), publishPublisher=LogPublisher(lines.log))
    publisher.msg("several", "words", 3)
    publisher.msg(failure=Failure(ValueError("old")), why="because", isError=True)
    said, failed = lines.read()
    assert said["message"] == "several words 3"
    assert "because" in failed["message"]
    assert "ValueError: old" in failed["message"]
    assert failed["level"] == "critical"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("DEBUG", "debug info warn error critical"),
        ("INFO", "info warn error critical"),
        ("WARN", "warn error critical"),
        ("WARNING", "warn error critical"),
        ("ERROR", "error critical"),
        ("CRITICAL", "critical"),
    ],
)
def test_what_is_below_the_level_is_not_told(name: str, told: str) -> None:
    """Each level name includes the more severe levels."""
    lines = Lines(least=make_log(LogSettings(level=LEVEL.parse(name))).least)
    for level in LogLevel.iterconstants():
        lines.logger.emit(level, "x")
    assert [line["level"] for line in lines.read()] == told.split()


def test_a_line_that_is_too_long_is_cut_and_still_an_object() -> None:
    """A line with an error text of megabytes is neither dropped nor kept whole."""
    lines = Lines()
    lines.logger.error("set aside: {error}", error="x" * 5_000_000, details={"alarm": "dead_letter"})
    line = lines.one()
    assert len(json.dumps(line)) < LONGEST
    assert (line["level"], line["alarm"]) == ("error", "dead_letter")
    assert line["message"].startswith("set aside: xxx")
    assert line["message"].endswith(" [cut, 5000011 bytes in all]")


def test_each_event_is_one_line() -> None:
    """The default handler logs every member of an event, whatever its text."""
    lines = Lines()
    calls: list[Any] = []
    handler = LogHandler(lines.output.write, lambda: 1_740_521_185_478_310_425, lambda *call: calls.append(call))
    event = Notification(2**63 - 1, 'a\n"b"\x00\u2028 Tür 🚪', "2025-02-25T22:06:25.478310425Z", "1740521185478-0")
    written = handler.handle_batch([event])
    assert lines.one() == {
        "time": "2025-02-25T22:06:25.478310425Z",
        "level": "info",
        "from": "eventsvc.consumer",
        "message": "event",
        "id": 2**63 - 1,
        "stream_id": "1740521185478-0",
        "description": 'a\n"b"\x00\u2028 Tür 🚪',
        "timestamp": "2025-02-25T22:06:25.478310425Z",
    }
    assert not written.called  # until the thread has told the reactor
    [(callback, result)] = calls
    callback(result)
    assert written.called


def test_what_an_event_carries_is_on_its_line_whatever_breaks_there_are() -> None:
    """No reader of lines and no terminal is taken in; the values are what they were."""
    breaks = "\n\r\x0b\x0c\x1b[31m\x7f\x85\x9b\u2028\u2029"
    data = b'{\r\n "a" :\t1.50,"b":' + json.dumps(breaks, ensure_ascii=False).encode() + b"}\n"
    lines = Lines()
    event = Notification(
        1,
        breaks,
        "now",
        type=breaks,
        key=breaks,
        traceparent=breaks,
        data_json=msgspec.Raw(data),
        cloudevent_json=msgspec.Raw(data),
    )
    LogHandler(lines.output.write, lambda: 0, lambda *call: None).handle_batch([event, event])
    first, second = lines.read()
    assert first == second
    assert [first[name] for name in ("description", "type", "key", "traceparent")] == [breaks] * 4
    assert first["data"] == first["cloudevent"] == {"a": 1.5, "b": breaks}
    text = lines.stream.getvalue().decode()
    assert len(text.splitlines()) == 2
    assert all(each.isprintable() for each in text.replace("\n", ""))
    assert '"data":{"a":1.50,' in text


def test_members_that_an_event_does_not_have_are_not_on_its_line() -> None:
    lines = Lines()
    LogHandler(lines.output.write, lambda: 0, lambda *call: None).handle_batch([Notification(1, "a", "now")])
    assert set(lines.one()) == {"time", "level", "from", "message", "id", "stream_id", "description", "timestamp"}


def test_a_handler_that_is_given_up_is_no_error_when_its_lines_are_written() -> None:
    lines = Lines()
    calls: list[Any] = []
    written = LogHandler(lines.output.write, lambda: 0, lambda *call: calls.append(call)).handle_batch([])
    written.addErrback(lambda failure: failure.trap(CancelledError))
    written.cancel()
    assert lines.output.finish(30.0)
    [(callback, result)] = calls
    callback(result)
