"""
Tests for L{eventsvc.event}: what is taken for a message, and what is said of
the rest.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsvc.event import (
    MAX_EVENTS,
    Event,
    InvalidEvent,
    Notification,
    TooManyEvents,
    decode_notification,
    encode_notification,
    format_timestamp,
)
from eventsvc.event_message import decode_event, decode_events, encode_event

TEXT = st.text()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=8,
)
BLANKS = st.text(" \t\r\n", max_size=3).map(str.encode)

ONE = b'{"description":"a"}'
DEEP = b"[" * 100_000 + b"]" * 100_000


def problem(body: bytes) -> str:
    """What is said of a body that is no EM."""
    with pytest.raises(InvalidEvent) as caught:
        decode_event(body)
    return str(caught.value)


def problem_with_batch(body: bytes) -> str:
    """What is said of a body that is no batch."""
    with pytest.raises(InvalidEvent) as caught:
        decode_events(body)
    return str(caught.value)


@given(TEXT)
def test_any_text_comes_back(text: str) -> None:
    """An EM is read as what was written, here and by another JSON."""
    assert decode_event(encode_event(Event(text))) == Event(text)
    assert json.loads(encode_event(Event(text))) == {"description": text}


@given(
    TEXT,
    st.dictionaries(TEXT.filter(lambda name: name not in ("type", "key", "data")), JSON),
    BLANKS,
    BLANKS,
    st.booleans(),
)
def test_members_order_and_white_space_do_not_matter(
    text: str, others: dict[str, Any], before: bytes, after: bytes, ascii_only: bool
) -> None:
    """An EM is what has a description, whatever else it has and wherever it stands."""
    body = json.dumps({**others, "description": text}, ensure_ascii=ascii_only).encode()
    assert decode_event(before + body + after) == Event(text)


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_an_event_or_an_error(body: bytes) -> None:
    """Whatever comes, it is an EM that can be written again, or it is told why not."""
    try:
        event = decode_event(body)
    except InvalidEvent:
        assert problem(body)
    else:
        assert decode_event(encode_event(event)) == event


@pytest.mark.parametrize("size", [0, 1, 1 << 20])
def test_size_does_not_matter_here(size: int) -> None:
    """A description may be empty, and as long as a body may be."""
    assert decode_event(encode_event(Event("ä" * size))) == Event("ä" * size)


def test_the_last_of_two_descriptions_counts() -> None:
    """A member given twice is read as everybody reads it, and each must be text."""
    assert decode_event(b'{"description":"a","description":"b"}') == Event("b")
    assert "$.description" in problem(b'{"description":1,"description":"b"}')


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "ends too early"),
        (b'{"description":"a"', "ends too early"),
        (b"{'description':'a'}", "(byte 1)"),
        (b'{"description":"a",}', "(byte 19)"),
        (b'{"description":NaN}', "(byte 15)"),
        (b'{"description":"a","other":NaN}', "(byte 27)"),
        (b"\xef\xbb\xbf" + ONE, "(byte 0)"),
        (ONE + b" x", "trailing characters (byte 21)"),
        (ONE + ONE, "trailing characters (byte 20)"),
        (ONE + b"\x00", "trailing characters (byte 20)"),
        (b'{"description":"\n"}', "(byte 16)"),
        (b'{"description":"\xff"}', "Body is not UTF-8: invalid start byte (byte 16)"),
        (b'{"description":"a","other":"\xff"}', "Body is not UTF-8: invalid start byte (byte 28)"),
        (b'{"description":"\xed\xa0\x80"}', "Body is not UTF-8: invalid continuation byte (byte 16)"),
        (b'{"description":"\\ud800"}', "half a surrogate pair"),
        (b'{"description":"\\ud800 and more"}', "surrogate pair (byte 22)"),
        (b'{"description":"\\ude00"}', "surrogate pair (byte 22)"),
        (b'{"description":"a","other":"\\ud800"}', "half a surrogate pair"),
        (b"null", "Expected `object`, got `null`"),
        (b'"a"', "Expected `object`, got `str`"),
        (b"[" + ONE + b"]", "Expected `object`, got `array`"),
        (b"{}", "missing required field `description` - at `$.description`"),
        (b'{"Description":"a"}', "missing required field `description` - at `$.description`"),
        (b'{"inner":' + ONE + b"}", "missing required field `description` - at `$.description`"),
        (b'{"description":null}', "Expected `str`, got `null` - at `$.description`"),
        (b'{"description":5}', "Expected `str`, got `int` - at `$.description`"),
        (b'{"description":["a"]}', "Expected `str`, got `array` - at `$.description`"),
        (b'{"description":"a","other":' + DEEP + b"}", "nested too deeply"),
        (b'{"description":' + DEEP + b"}", "at `$.description`"),
        (DEEP, "Expected `object`, got `array`"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_an_error_says_what_and_where(body: bytes, said: str) -> None:
    """Bytes that are no EM are refused with what is wrong, and where."""
    assert said in problem(body)


@given(st.lists(TEXT, min_size=1), st.sampled_from([b"\n", b"\r\n", b"\n\n \t\r\n"]), st.booleans())
def test_lines_and_an_array_are_the_same_batch(texts: list[str], end: bytes, last: bool) -> None:
    """NDJSON takes either line end, blank lines and no last end; an array is the same."""
    lines = [encode_event(Event(text)) for text in texts]
    events = [Event(text) for text in texts]
    assert decode_events(end.join([*lines, *[b""] * last])) == events
    assert decode_events(end + end.join(lines)) == events
    assert decode_events(b" \n[" + b" ,\r\n".join(lines) + b"]\n") == events


@given(st.lists(st.sampled_from([ONE, b"{}", b"\xff", b"", b" \r", b"5", b"[1", ONE + ONE, b"\x0b"])))
def test_the_first_wrong_line_is_named(lines: list[bytes]) -> None:
    """A line that is no EM is named by its number, blank lines counted."""
    wrong = [number for number, line in enumerate(lines, 1) if line not in (ONE, b"", b" \r")]
    body = b"\n".join(lines)
    if body.lstrip().startswith(b"["):
        assert problem_with_batch(body)
    elif wrong:
        assert problem_with_batch(body).startswith(f"line {wrong[0]}: ")
    elif ONE in lines:
        assert decode_events(body) == [Event("a")] * lines.count(ONE)
    else:
        assert problem_with_batch(body) == "Expected at least one event, got none"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"[]", "Expected at least one event, got none"),
        (b"[" + ONE + b',{"description":5}]', "Expected `str`, got `int` - at `$[1].description`"),
        (b"[" + ONE + b",{}]", "missing required field `description` - at `$[1].description`"),
        (b"[5]", "Expected `object`, got `int` - at `$[0]`"),
        (b"[" + ONE, "ends too early"),
        (b"[" + ONE + b"]x", "trailing characters"),
        (b"[" + ONE + b"]\n[" + ONE + b"]", "trailing characters"),
        (b"[" + ONE + b"\xff]", "Body is not UTF-8"),
        (DEEP, "at `$[0]`"),
        (ONE + b" " + ONE, "line 1: JSON is malformed: trailing characters (byte 21)"),
        (ONE + b"\r" + ONE, "line 1: JSON is malformed: trailing characters (byte 21)"),
        (ONE + b",\n" + ONE, "line 1: JSON is malformed: trailing characters (byte 20)"),
        (b'{\n"description":"a"}\n', "line 1: JSON is malformed: it ends too early"),
        (ONE + b"\n[" + ONE + b"]", "line 2: Expected `object`, got `array`"),
        (b"\xef\xbb\xbf" + ONE, "line 1: JSON is malformed: invalid character (byte 0)"),
        (ONE + b'\n{"description":"a","other":' + DEEP + b"}", "line 2: JSON is nested too deeply"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_an_error_in_a_batch_says_what_and_where(body: bytes, said: str) -> None:
    """One wrong event makes the batch wrong, and is found."""
    assert said in problem_with_batch(body)


@given(st.binary())
def test_any_bytes_are_a_batch_or_an_error(body: bytes) -> None:
    """Whatever comes, it is a batch or it is told why not."""
    try:
        assert decode_events(body)
    except InvalidEvent:
        assert problem_with_batch(body)


def test_a_batch_has_a_most() -> None:
    """A thousand events are taken and one more is too many, in either form."""
    for join in (b"\n".join, lambda lines: b"[" + b",".join(lines) + b"]"):
        assert len(decode_events(join([ONE] * MAX_EVENTS))) == MAX_EVENTS
        with pytest.raises(TooManyEvents, match=f"at most {MAX_EVENTS} events, got {MAX_EVENTS + 1}"):
            decode_events(join([ONE] * (MAX_EVENTS + 1)))


EXAMPLE = b'{"id":4613732495722164,"description":"hello world","timestamp":"2025-02-25T22:06:25.478310425Z"}'


def test_a_notification_is_written_as_it_always_was() -> None:
    """The bytes of an NM are those of the contract, to the letter."""
    notification = Notification(4613732495722164, "hello world", "2025-02-25T22:06:25.478310425Z", "7-0")
    assert encode_notification(notification) == EXAMPLE
    assert decode_notification(EXAMPLE, "7-0") == notification


@given(st.integers(), TEXT, TEXT)
def test_any_notification_comes_back(id: int, description: str, timestamp: str) -> None:
    """An NM is read as what was written; where it stands is no part of it."""
    notification = Notification(id, description, timestamp, "7-0")
    assert decode_notification(encode_notification(notification), "7-0") == notification


#: Members that an NM may have; Hypothesis takes texts from the code, so it finds their names.
OPTIONAL = {"type", "key", "data", "cloudevent", "traceparent", "tracestate"}


@given(st.dictionaries(TEXT.filter(lambda name: name not in OPTIONAL), JSON, max_size=5))
def test_a_foreign_producer_may_say_more(others: dict[str, Any]) -> None:
    """Members that are not ours are passed over, even one named like a field of ours."""
    wire = {"stream_id": "9-9", **others, "description": "d", "timestamp": "t", "id": 1}
    assert decode_notification(json.dumps(wire).encode(), "7-0") == Notification(1, "d", "t", "7-0")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "ends too early"),
        (b"hello", "invalid character (byte 0)"),
        (b'{"id":"1","description":"","timestamp":""}', "Expected `int`, got `str` - at `$.id`"),
        (b'{"id":1.5,"description":"","timestamp":""}', "Expected `int`, got `float` - at `$.id`"),
        (b'{"id":1,"timestamp":""}', "missing required field `description`"),
        (b'{"id":1,"description":""}', "missing required field `timestamp`"),
        (b'{"id":1,"description":"\xff","timestamp":""}', "UTF-8"),
        (b'{"id":1,"description":"","timestamp":"","other":' + DEEP + b"}", "nested too deeply"),
    ],
)
def test_what_is_no_notification_is_told_why(data: bytes, said: str) -> None:
    """Bytes that are no NM are refused with what is wrong."""
    with pytest.raises(InvalidEvent, match=re.escape(said)):
        decode_notification(data)


@given(st.lists(st.integers(0, 4_102_444_800 * 10**9), min_size=1))
def test_a_timestamp_has_a_form(moments: list[int]) -> None:
    """A moment is RFC 3339 in UTC with nanoseconds, one after another in any order."""
    for moment in [*moments, *moments]:
        text = format_timestamp(moment)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", text)
        assert int(text[20:29]) == moment % 10**9
    assert [text for _, text in sorted(zip(moments, map(format_timestamp, moments)))] == sorted(
        map(format_timestamp, moments)
    )
    assert format_timestamp(1_740_521_185_478_310_425) == "2025-02-25T22:06:25.478310425Z"


def test_a_notification_gives_what_else_an_event_carries() -> None:
    message = (
        b'{"id":1,"description":"d","timestamp":"t","type":"order","key":"k","traceparent":"00-1",'
        b'"data":{"b": 1,  "a": [1e2]},"cloudevent":null,"deliveries":9,"unknown":{}}'
    )
    notification = decode_notification(message, "5-0", 3)
    assert (notification.type, notification.key, notification.traceparent) == ("order", "k", "00-1")
    assert (notification.stream_id, notification.deliveries) == ("5-0", 3)
    assert bytes(notification.data_json) == b'{"b": 1,  "a": [1e2]}'
    assert notification.data == {"a": [100.0], "b": 1}
    assert notification.cloudevent is None
    assert len({notification, decode_notification(encode_notification(notification), "5-0", 3)}) == 1


def test_a_notification_of_three_members_has_nothing_else() -> None:
    notification = decode_notification(b'{"id":1,"description":"d","timestamp":"t"}')
    assert (notification.type, notification.key, notification.traceparent) == (None, None, None)
    assert notification.data is notification.cloudevent is None
    assert encode_notification(notification) == b'{"id":1,"description":"d","timestamp":"t"}'


@pytest.mark.parametrize("member", ["type", "key", "traceparent"])
def test_a_member_of_another_type_is_named(member: str) -> None:
    with pytest.raises(InvalidEvent, match=rf"\$\.{member}"):
        decode_notification(f'{{"id":1,"description":"d","timestamp":"t","{member}":1}}'.encode())
