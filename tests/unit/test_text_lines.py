"""
Tests for L{eventsvc.text_lines}, and for logs that are text.
"""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import Logger, LogLevel, LogPublisher

from chaos.suites import PATIENCE
from eventsvc.event import Notification
from eventsvc.handlers.log import LogHandler
from eventsvc.telemetry.log_output import LONGEST, LogOutput
from eventsvc.telemetry.logs import ServiceLog, has_colours
from eventsvc.text_lines import TextLines, columns_of, cut

HOSTILE = "a\n\r\x1b[31mred\x1b]0;title\x07\x85\x9b\u2028\u202e\ud800"
EVENT = Notification(
    4_613_732_495_722_164,
    "hello world",
    "2025-02-25T22:06:25.478310425Z",
    type="order.paid",
    key="17",
    data_json=msgspec.Raw(b'{"a":1.0}'),
)


def test_a_message_is_one_line_for_people() -> None:
    members = {
        "time": "2025-02-25T22:06:25.478310425Z",
        "level": "warn",
        "from": "eventsvc.room",
        "message": "full",
        "alarm": "redis_full",
    }
    assert TextLines().format_message(members) == (
        "2025-02-25T22:06:25.478Z warn     full alarm=redis_full [eventsvc.room]"
    )
    assert TextLines(brief=True).format_message(members) == "22:06:25.478 warn     full alarm=redis_full"
    coloured = TextLines(coloured=True).format_message(members)
    assert "\x1b[33mwarn    \x1b[0m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == TextLines().format_message(members)


def test_an_event_is_one_line_for_people() -> None:
    assert TextLines().format_event(EVENT) == (
        '22:06:25.478 4613732495722164    order.paid key=17 hello world {"a":1.0}'
    )
    assert "\x1b[36m4613732495722164   \x1b[0m" in TextLines(coloured=True).format_event(EVENT)


def test_hostile_texts_stay_on_their_line_and_command_nothing() -> None:
    event = Notification(1, HOSTILE, HOSTILE, type=HOSTILE, key=HOSTILE, data_json=msgspec.Raw(HOSTILE[:-1].encode()))
    for text in (
        TextLines().format_event(event),
        TextLines().format_message(dict.fromkeys(("time", "level", "from", "message", HOSTILE), HOSTILE)),
    ):
        assert text.isprintable()
        assert r"\x1b[31mred" in text


@given(st.text(st.characters()), st.text(st.characters()))
def test_any_text_is_one_line(name: str, value: str) -> None:
    assert TextLines().format_message({"message": value, f" {name}": value}).isprintable()


@pytest.mark.parametrize(("text", "most", "found"), [
    ("abc", 3, "abc"), ("abcd", 3, "ab…"), ("", 1, ""), ("ab", 1, "…"), ("日本語", 6, "日本語"), ("日本語", 5, "日本…"),
    ("日本語", 4, "日…"), ("e\u0301e", 2, "e\u0301e"), ("🚪🚪", 3, "🚪…"), ("a" * 5_000, 2, "a…"),
])  # fmt: skip
def test_a_text_is_cut(text: str, most: int, found: str) -> None:
    assert cut(text, most) == found


@pytest.mark.parametrize("width", [10, 40, 80])
def test_the_line_of_an_event_fits(width: int) -> None:
    """Also if its letters are twice as wide as others."""
    event = Notification(1, "日本語" * 30, "2025-02-25T22:06:25.478310425Z", type="種類" * 3, key="鍵")
    line = TextLines(width=width).format_event(event)
    assert width - 1 <= columns_of(line) <= width


def log_lines(text: TextLines | None, *messages: Any, **more: Any) -> list[str]:
    """Return the lines that a log writes."""
    stream = io.BytesIO()
    output = LogOutput(stream.write)
    logger = Logger("room", observer=LogPublisher(ServiceLog(output, LogLevel.info, text)))
    for message in messages:
        logger.info("{message}", message=message, **more)
    assert output.finish(30.0)
    return stream.getvalue().decode().splitlines()


def test_a_log_is_text_or_json() -> None:
    assert log_lines(TextLines(), "up", details={"alarm": "x"})[0].endswith("Z info     up alarm=x [room]")
    assert json.loads(log_lines(None, "up")[0])["message"] == "up"


@pytest.mark.parametrize("value", ["x" * 5_000_000, HOSTILE, b"\xff", 1 << 70])
def test_any_value_makes_a_line_of_bounded_length(value: object) -> None:
    [line] = log_lines(TextLines(), value, details={"value": value})
    assert len(line) < 2 * LONGEST


def test_a_traceback_follows_line_by_line() -> None:
    stream = io.BytesIO()
    output = LogOutput(stream.write)
    logger = Logger("room", observer=LogPublisher(ServiceLog(output, LogLevel.info, TextLines())))
    try:
        raise ValueError("no\x1b[31m")
    except ValueError:
        logger.failure("it broke")
    assert output.finish(30.0)
    first, *rest = stream.getvalue().decode().splitlines()
    assert first.endswith(r"critical it broke error=no\x1b[31m [room]")
    assert len(rest) > 2
    assert all(line.startswith("    ") and line.isprintable() for line in rest)


def test_the_default_handler_writes_the_events_in_the_format_of_the_log() -> None:
    stream = io.BytesIO()
    output = LogOutput(stream.write)
    LogHandler(output.write, lambda: 0, lambda *call: None, TextLines()).handle_batch([EVENT, EVENT])
    assert output.finish(30.0)
    assert stream.getvalue().decode() == f"{TextLines().format_event(EVENT)}\n" * 2


@pytest.mark.parametrize(
    ("environment", "found"),
    [({}, False), ({"TERM": "dumb"}, False), ({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False),
     ({"TERM": "xterm", "NO_COLOR": ""}, True)],
)  # fmt: skip
def test_colours_are_for_terminals_that_want_them(environment: dict[str, str], found: bool) -> None:
    assert has_colours(environment) is found


#: Logs a line as a service does.
PROGRAM = """
from eventsvc.settings import LogSettings
from eventsvc.settings.reading import read
from eventsvc.telemetry.logs import make_log
make_log(read(LogSettings))({"log_format": "up", "log_namespace": "room", "details": {"n": 1}})
"""


@pytest.mark.parametrize(
    ("form", "terminal", "colour", "begin"),
    [
        ("auto", False, "", b"{"),
        ("text", False, "", b"1970-01-01T00:00:00.000Z info     up n=1 [room]"),
        ("auto", True, "", b"\x1b[2m1970-01-01T00:00:00.000Z\x1b[0m \x1b[32minfo    \x1b[0m up"),
        ("auto", True, "1", b"1970-01-01T00:00:00.000Z info     up n=1 [room]"),
        ("json", True, "", b"{"),
    ],
)
def test_auto_is_text_on_a_terminal_and_json_elsewhere(form: str, terminal: bool, colour: str, begin: bytes) -> None:
    ours, theirs = pty.openpty() if terminal else os.pipe()
    try:
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            stdout=theirs,
            env={**os.environ, "LOG_FORMAT": form, "NO_COLOR": colour, "TERM": "xterm"},
            timeout=PATIENCE,
            check=True,
        )
        assert os.read(ours, 10_000).startswith(begin)
    finally:
        os.close(ours)
        os.close(theirs)


def test_marks_without_width_do_not_make_a_line_endless() -> None:
    """A terminal may take seconds for half a million of them."""
    assert cut("e" + "\u0301" * 100, 10) == "e" + "\u0301" * 8 + "…"
    assert cut("e\u0301" * 10, 10) == "e\u0301" * 10
