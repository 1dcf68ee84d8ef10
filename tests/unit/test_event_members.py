"""
Tests for L{eventsvc.event} and L{eventsvc.new_event}: C{type}, C{key} and C{data}
of an event, from the client to the handler.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsvc.event import Event, InvalidEvent, decode_notification, encode_notification
from eventsvc.event_message import decode_event, decode_events, encode_event
from eventsvc.json_text import MAX_DEPTH, escape_breaks, in_one_line
from eventsvc.new_event import make_cloudevent, make_event
from eventsvc.testing import make_notification
from eventsvc.testing.notification import accept

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def em(members: bytes) -> bytes:
    return b'{"description":"a",' + members + b"}"


def problem(body: bytes) -> str:
    """What is said of a body that is no EM."""
    with pytest.raises(InvalidEvent) as caught:
        decode_event(body)
    return str(caught.value)


def test_an_event_carries_what_it_came_with() -> None:
    """Data byte for byte, in an object, a list and lines."""
    body = em(b'"data": {"b": 1.0,  "a": [1e2]} ,"key":"k\\u0000","type":"order.paid"')
    for event in (decode_event(body), *decode_events(body + b"\n"), *decode_events(b"[" + body + b"]")):
        assert (event.type, event.key, event.identity) == ("order.paid", "k\0", None)
        assert bytes(event.data or b"") == b'{"b": 1.0,  "a": [1e2]}'
        assert b',"type":"order.paid","key":"k\\u0000","data":{"b": 1.0,  "a": [1e2]}}' in encode_notification(
            accept(event)
        )
        assert accept(event).data == {"b": 1.0, "a": [100.0]}
        assert accept(event).cloudevent is None


@pytest.mark.parametrize("members", [b'"type":null', b'"key":null', b'"data":null', b'"data": null ,"key":null'])
def test_a_member_that_is_null_is_absent(members: bytes) -> None:
    assert decode_event(em(members)) == Event("a")


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (b'"type":""', "length >= 1 - at `$.type`"),
        (b'"type":"%s"' % (b"x" * 256), "length <= 255 - at `$.type`"),
        (b'"type":1', "got `int` - at `$.type`"),
        (b'"key":""', "length >= 1 - at `$.key`"),
        (b'"key":[]', "got `array` - at `$.key`"),
        (b'"key":"%s"' % (b"x" * 256), "at most 255 bytes in UTF-8 - at `$.key`"),
        (b'"key":"%s"' % ("é" * 128).encode(), "at most 255 bytes in UTF-8 - at `$.key`"),
        (b'"key":"\\ud800"', "half a surrogate pair"),
        (b'"data":"\\ud800"', "half a surrogate pair"),
        (b'"data":{"\\udc00":1}', "surrogate pair"),
        (b'"data":"\xff"', "Body is not UTF-8"),
        (b'"data":', "JSON is malformed"),
        (b'"data":[1 2]', "JSON is malformed"),
        (b'"data":01', "JSON is malformed"),
        (b'"data":Infinity', "JSON is malformed"),
        (b'"data":' + b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nested too deeply - at `$.data`"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_wrong_member_is_named(members: bytes, said: str) -> None:
    """In a batch with its place too."""
    assert said in problem(em(members))
    if "`$" in said:
        with pytest.raises(InvalidEvent, match=r"`\$\[1\]\."):
            decode_events(b"[" + em(b'"data":1') + b"," + em(members) + b"]")
        with pytest.raises(InvalidEvent, match=r"^line 3: .*`\$\."):
            decode_events(em(b'"data":1') + b"\n\n" + em(members))


@pytest.mark.parametrize("text", ["x" * 255, "é" * 127, "\0", "\u2028"])
def test_a_key_may_be_any_text_that_is_not_too_long(text: str) -> None:
    assert decode_event(em(b'"key":' + json.dumps(text).encode())).key == text


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"9" * 5_000, b"-0", b"1E+2", b"18446744073709551616"])
def test_a_number_out_of_range_is_kept_and_can_be_read(number: bytes) -> None:
    notification = accept(decode_event(em(b'"data":' + number)))
    assert bytes(notification.data_json) == number
    assert notification.data == json.loads(number, parse_int=float)


@given(JSON, st.booleans())
def test_data_of_any_type_comes_to_a_handler(value: Any, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    notification = accept(decode_event(em(b'"data":' + text)))
    assert notification.data == value
    assert bytes(notification.data_json) == (b"" if value is None else text)


@given(st.lists(st.sampled_from("[{"), min_size=MAX_DEPTH - 2, max_size=MAX_DEPTH + 2))
def test_what_is_accepted_can_be_read(opened: list[str]) -> None:
    text = "".join([each if each == "[" else '{"[":' for each in opened]) + "0"
    data = (text + "".join([{"[": "]", "{": "}"}[each] for each in reversed(opened)])).encode()
    if len(opened) > MAX_DEPTH:
        assert "nested too deeply" in problem(em(b'"data":' + data))
    else:
        assert accept(decode_event(em(b'"data":' + data))).data == msgspec.json.decode(data)


@given(st.binary())
def test_any_bytes_as_data_are_read_or_refused(data: bytes) -> None:
    try:
        event = decode_event(em(b'"data":' + data))
    except InvalidEvent:
        return
    assert decode_event(encode_event(event)) == event
    assert encode_event(make_event("a", data=accept(event).data))


@pytest.mark.parametrize("member", [b"data", b"cloudevent"])
def test_a_foreign_entry_that_is_not_utf_8_is_no_event(member: bytes) -> None:
    """Text that is not decoded here would fail wherever it is."""
    message = b'{"id":1,"description":"d","timestamp":"t","%s":"\xff"}' % member
    with pytest.raises(InvalidEvent, match="not UTF-8"):
        decode_notification(message)


def test_white_space_of_data_can_be_one_line() -> None:
    """Nothing else changes."""
    text = b'{\n"a" : 1.50,\r\n\t"a": "\\n \xe2\x80\xa8", "b":[1e999 , -0]}'
    assert bytes(in_one_line(msgspec.Raw(text))) == b'{"a":1.50,"a":"\\n \xe2\x80\xa8","b":[1e999,-0]}'
    assert bytes(in_one_line(msgspec.Raw(b'{ "a": 1 }'))) == b'{ "a": 1 }'


@given(JSON)
def test_escaped_json_is_the_same_on_one_line_for_everybody(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False).encode()
    escaped = escape_breaks(text)
    assert json.loads(escaped) == value
    assert len(escaped.decode().splitlines()) == 1
    assert not any("\x7f" <= each <= "\x9f" for each in escaped.decode())


def test_an_event_is_made_of_python_values() -> None:
    event = make_event("d", type="t", key="k", data={"a": [1, None]})
    assert event == Event("d", "t", "k", msgspec.Raw(b'{"a":[1,null]}'))
    assert make_event("d") == Event("d")


def test_a_cloudevent_is_made_of_python_values() -> None:
    event = make_cloudevent(
        source="/s",
        id="1",
        type="t",
        subject="é",
        time=datetime(2025, 2, 25, tzinfo=UTC),
        partitionkey="k",
        tries=3,
        data=["x"],
    )
    assert (event.description, event.type, event.key) == ("é", "t", "k")
    assert json.loads(encode_event(event)) == {
        "specversion": "1.0",
        "source": "/s",
        "id": "1",
        "type": "t",
        "subject": "é",
        "time": "2025-02-25T00:00:00Z",
        "partitionkey": "k",
        "tries": 3,
        "data": ["x"],
    }
    assert accept(make_cloudevent(source="/s", id="1", type="t", data=b"\0")).data == b"\0"
    assert "data" not in accept(make_cloudevent(source="/s", id="1", type="t")).cloudevent


@pytest.mark.parametrize(
    "make",
    [
        lambda: make_event("\ud800"),
        lambda: make_event("a", key=""),
        lambda: make_event("a", type="x" * 256),
        lambda: make_event("a", data=object()),
        lambda: make_event("a", data={"a": "\ud800"}),
        lambda: make_cloudevent(source="", id="1", type="t"),
        lambda: make_cloudevent(source="/s", id="1", type="t", Upper="x"),
        lambda: make_cloudevent(source="/s", id="1", type="t", number=2**31),
        lambda: make_cloudevent(source="/s", id="1", type="t", time=datetime(2025, 1, 1)),
        lambda: make_cloudevent(source="/s", id="1", type="t", data={1, object()}),
    ],
)
def test_what_a_producer_would_refuse_is_not_made(make: Any) -> None:
    with pytest.raises(InvalidEvent):
        make()


def test_a_test_makes_any_event() -> None:
    """Each member that a handler may look at."""
    cloudevent = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": {"a": 1}}
    event = make_notification("d", cloudevent=cloudevent, traceparent="00-1", tracestate="a=b", type="t", key="k")
    assert (event.cloudevent, event.data) == (cloudevent, {"a": 1})
    assert (event.traceparent, event.tracestate, event.type, event.key) == ("00-1", "a=b", "t", "k")
    assert make_notification("d").cloudevent is None
    assert decode_notification(encode_notification(event)) == event
