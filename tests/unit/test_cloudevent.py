"""
Tests for L{eventsvc.cloudevent}: what is taken for a CloudEvent in each mode,
what is said of the rest, and what a handler gets.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsvc.cloudevent import decode_batched, decode_binary, decode_structured, read_headers
from eventsvc.event import MAX_EVENTS, Event, InvalidEvent, Notification, TooManyEvents
from eventsvc.json_text import MAX_DEPTH
from eventsvc.testing.notification import accept

#: The attributes that each CloudEvent has, as the members of an object without its braces.
LEAST = b'"specversion":"1.0","id":"1","source":"/s","type":"t"'
HEADERS = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
JSON = b"application/json"


def structured(*members: bytes) -> bytes:
    """An event with these members more."""
    return b"{" + b",".join([LEAST, *members]) + b"}"


def without(name: bytes, *members: bytes) -> bytes:
    """An event without an attribute, and with these members more."""
    left = [each for each in LEAST.split(b",") if not each.startswith(b'"%s"' % name)]
    return b"{" + b",".join([*left, *members]) + b"}"


def problem(decode: Callable[..., object], *arguments: Any) -> str:
    """What is said of what is no CloudEvent."""
    with pytest.raises(InvalidEvent) as caught:
        decode(*arguments)
    return str(caught.value)


def try_to_handle(decode: Callable[..., Event], *arguments: Any) -> Notification | str:
    """The event as a handler gets it, or what is said if it is none."""
    try:
        event = decode(*arguments)
    except InvalidEvent as error:
        return str(error)
    return handled(event)


def handled(event: Event) -> Notification:
    """The event as a handler gets it."""
    return accept(event, id=7)


def test_a_structured_event_is_kept_as_it_came() -> None:
    """Its white space and the order of its members too; what has a meaning is told beside it."""
    text = b'{ "type":"t", "data" : {"b":1.0,\n"a":[ ]},"partitionkey":"k","subject":"s","more":-1,' + LEAST + b" }"
    event = decode_structured(b"\r\n " + text + b"\n")
    assert (event.description, event.type, event.key) == ("s", "t", "k")
    assert bytes(event.cloudevent or b"") == text
    assert event.data is None
    notification = handled(event)
    assert bytes(notification.cloudevent_json) == text
    assert (notification.description, notification.type, notification.key) == ("s", "t", "k")
    assert notification.data == {"b": 1.0, "a": []}
    assert notification.cloudevent["more"] == -1


def test_the_description_is_the_subject_or_else_the_type() -> None:
    assert decode_structured(structured()).description == "t"
    assert decode_structured(structured(b'"subject":null')).description == "t"
    assert decode_structured(structured(b'"subject":"s"')).description == "s"


def test_source_and_id_are_not_mixed_up() -> None:
    """The pair is the identity, and not what it looks like when both are written one after the other."""
    pairs = [("a", "bc"), ("ab", "c"), ("a b", "c"), ("a", "b c"), ("1 a", "b"), ("1", " ab"), ("é", "b")]
    found = {
        decode_structured(json.dumps({**HEADERS, "source": source, "id": id}).encode()).identity for source, id in pairs
    }
    assert len(found) == len(pairs)


@pytest.mark.parametrize("content_type", [b"text/plain", b"application/xml", b"application/octet-stream", None])
@pytest.mark.parametrize("character", ["\0", "\x7f", '"', "\n", "\u2028"])
def test_a_body_grows_to_at_most_twice_its_size(character: str, content_type: bytes | None) -> None:
    """JSON escapes most control characters with six bytes."""
    body = character.encode() * 10_000
    event = decode_binary(HEADERS, content_type, body)
    assert handled(event).data in (body, body.decode())
    assert len(bytes(event.cloudevent or b"")) < 2 * len(body) + 300


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "ends too early"),
        (b"null", "Expected `object`, got `null`"),
        (b"[" + structured() + b"]", "Expected `object`, got `array`"),
        (structured() + structured(), "trailing characters"),
        (b"\xef\xbb\xbf" + structured(), "(byte 0)"),
        (structured(b'"more":"\xff"'), "Body is not UTF-8: invalid start byte"),
        (structured(b'"data":"\xff"'), "Body is not UTF-8: invalid start byte"),
        *[(without(name), f"`$.{name.decode()}`") for name in (b"specversion", b"id", b"source", b"type")],
        *[(without(name, b'"%s":""' % name), f"`$.{name.decode()}`") for name in (b"id", b"source", b"type")],
        *[(without(name, b'"%s":null' % name), f"`$.{name.decode()}`") for name in (b"specversion", b"id", b"type")],
        (without(b"id", b'"id":1'), "Expected `str`, got `int` - at `$.id`"),
        (without(b"source", b'"source":["/s"]'), "Expected `str`, got `array` - at `$.source`"),
        (without(b"type", b'"Type":"t"'), "`$.type`"),
        (without(b"specversion", b'"specversion":"0.3"'), "'0.3' - at `$.specversion`"),
        (without(b"specversion", b'"specversion":1.0'), "got `float` - at `$.specversion`"),
        *[
            (structured(b'"%s":""' % name), f"`$.{name.decode()}`")
            for name in (b"subject", b"datacontenttype", b"dataschema", b"partitionkey")
        ],
        (structured(b'"subject":5'), "Expected `str | null`, got `int` - at `$.subject`"),
        (structured(b'"partitionkey":true'), "`$.partitionkey`"),
        (structured(b'"partitionkey":"%s"' % (b"\xc3\xa9" * 128)), "at most 255 bytes in UTF-8 - at `$.partitionkey`"),
        (structured(b'"time":"yesterday"'), "`$.time`"),
        (structured(b'"time":"2025-02-25T22:06:25"'), "`$.time`"),
        (structured(b'"time":1740521185'), "`$.time`"),
        (structured(b'"data":1,"data_base64":"AA=="'), "both - at `$.data_base64`"),
        (structured(b'"data":null,"data_base64":""'), "both - at `$.data_base64`"),
        (structured(b'"data_base64":"A"'), "base64 encoded string - at `$.data_base64`"),
        (structured(b'"data_base64":"-_8="'), "base64 encoded string - at `$.data_base64`"),
        (structured(b'"data_base64":[0]'), "`$.data_base64`"),
        (structured(b'"more":1.5'), "`$.more`"),
        (structured(b'"more":2147483648'), "`$.more`"),
        (structured(b'"more":-2147483649'), "`$.more`"),
        (structured(b'"more":{}'), "`$.more`"),
        (structured(b'"more":["x"]'), "`$.more`"),
        (structured(b'"More":"x"'), "lower-case letters and digits - at `$.More`"),
        (structured(b'"mo_re":"x"'), "lower-case letters and digits - at `$.mo_re`"),
        (structured(b'"":"x"'), "lower-case letters and digits - at `$.`"),
        (structured('"ä":"x"'.encode()), "lower-case letters and digits - at `$.ä`"),
        (structured(b'"data":"\\ud800"'), "half a surrogate pair"),
        (structured(b'"data":{"\\ude00 ":1}'), "surrogate pair"),
        (structured(b'"subject":"a\\u0000b"'), "control character - at `$.subject`"),
        (structured(b'"partitionkey":"a\\u0000b"'), "control character - at `$.partitionkey`"),
        (structured(b'"more":"\\n"'), "control character - at `$.more`"),
        (structured(b'"data":NaN'), "JSON is malformed"),
        (structured(b'"data":[1,]'), "JSON is malformed"),
    ],
    ids=lambda value: repr(value)[-50:],
)
def test_an_error_in_an_event_says_what_and_where(body: bytes, said: str) -> None:
    """In the structured mode by its member, and in the batched mode by its place too."""
    assert said in problem(decode_structured, body)
    if said.startswith("`$"):
        batch = b"[" + structured() + b" ,\n" + body + b"]"
        assert said.replace("`$", "`$[1]") in problem(decode_batched, batch)


@pytest.mark.parametrize(
    "body",
    [
        structured(b'"specversion":"%b"' % (b"1" * 100_000)),
        structured(b'"%b":1' % (b"A" * 100_000)),
        structured(b'"%b":{}' % (b"a" * 100_000)),
    ],
    ids=["value", "name", "extension"],
)
def test_an_error_is_short_whatever_it_quotes(body: bytes) -> None:
    """Else few bytes, compressed, would make an answer of a megabyte, to be kept for a client that does not read it."""
    for said in problem(decode_structured, body), problem(decode_batched, b"[" + body + b"]"):
        assert len(said) < 400
        assert said.endswith(("specversion`", "AAA`", "aaa`"))


@pytest.mark.parametrize("value", [b'"x"', b"true", b"0", b"-2147483648", b"2147483647", b"null", b'"\\u00e9"'])
def test_extensions_are_kept(value: bytes) -> None:
    """Texts, integers and truth values; and C{null}, which is none."""
    event = handled(decode_structured(structured(b'"more1":' + value)))
    assert event.cloudevent["more1"] == json.loads(value)


@pytest.mark.parametrize(
    "value",
    [b"null", b"0", b"-0.0", b"1e999", b"9" * 5_000, b'""', b'"\\u0000\\u2028"', b"[]", b'{"":{"\\u0000":[null]}}'],
    ids=lambda value: repr(value)[:20],
)
def test_data_of_any_type_is_kept_and_can_be_read(value: bytes) -> None:
    """Numbers out of range too: they are valid JSON."""
    event = handled(decode_structured(structured(b'"data":' + value)))
    assert (b'"data":' + value) in bytes(event.cloudevent_json)
    assert event.data == json.loads(value, parse_int=float) or event.data == json.loads(value)
    assert event.cloudevent["data"] == event.data


def test_numbers_beside_one_out_of_range_are_exact() -> None:
    event = handled(decode_structured(structured(b'"data":[9007199254740993,1e999,%s]' % (b"9" * 5_000))))
    assert event.data == [9_007_199_254_740_993, float("inf"), float("inf")]
    assert isinstance(event.data[0], int)


def test_binary_data_are_bytes() -> None:
    event = handled(decode_structured(structured(b'"data_base64":"AP8="')))
    assert event.data == b"\0\xff"
    assert event.cloudevent["data_base64"] == "AP8="
    assert handled(decode_structured(structured(b'"data_base64":null,"data":5'))).data == 5


def test_the_last_of_two_members_counts() -> None:
    """As everybody reads it; and each must be right."""
    event = decode_structured(structured(b'"id":"2","data":1,"data":2,"subject":"a","subject":"b"'))
    assert event.identity == decode_structured(without(b"id", b'"id":"2"')).identity
    assert (event.description, handled(event).data) == ("b", 2)
    assert handled(event).cloudevent["id"] == "2"
    assert "`$.id`" in problem(decode_structured, structured(b'"id":2,"id":"2"'))
    assert "`$.id`" in problem(decode_structured, structured(b'"id":"2","id":2'))
    assert "both" in problem(decode_structured, structured(b'"data_base64":"","data":1'))


def headers(*more: tuple[bytes, Sequence[bytes]]) -> dict[bytes, Sequence[bytes]]:
    found = {f"ce-{name}".encode(): [value.encode()] for name, value in HEADERS.items()}
    return {**found, b"content-type": [JSON], b"date": [b"x"], **dict(more)}


def test_headers_are_attributes() -> None:
    more = [(b"ce-subject", [b"%C3%A9 %20"]), (b"ce-note", [b'"a \\"b\\""']), (b"ce-x1", [b"\xc3\xa9"])]
    assert read_headers(headers(*more)) == {**HEADERS, "subject": "é  ", "note": 'a "b"', "x1": "é"}


@pytest.mark.parametrize(
    ("header", "values", "said"),
    [
        (b"ce-id", [b"1", b"2"], "Expected one header `ce-id`, got 2"),
        (b"ce-id", [b"%ff"], "Expected header `ce-id` to be percent-encoded UTF-8"),
        (b"ce-id", [b"\xff"], "Expected header `ce-id` to be percent-encoded UTF-8"),
        (b"ce-", [b"1"], "the name of an attribute, got header `ce-`"),
        (b"ce-a_b", [b"1"], "the name of an attribute, got header `ce-a_b`"),
        (b"ce-a-b", [b"1"], "the name of an attribute, got header `ce-a-b`"),
        (b"ce-data", [b"1"], "the name of an attribute, got header `ce-data`"),
        (b"ce-data_base64", [b"AA=="], "the name of an attribute, got header `ce-data_base64`"),
        (b"ce-datacontenttype", [b"text/plain"], "the name of an attribute, got header `ce-datacontenttype`"),
    ],
)
def test_a_wrong_header_is_named(header: bytes, values: Sequence[bytes], said: str) -> None:
    assert said in problem(read_headers, headers((header, values)))


@pytest.mark.parametrize(
    ("attributes", "body", "said"),
    [
        ({"id": ""}, b"1", "`ce-id`"),
        ({"source": ""}, b"1", "`ce-source`"),
        ({"type": "\0"}, b"1", "control character - at `ce-type`"),
        ({"specversion": "1.1"}, b"1", "'1.1' - at `ce-specversion`"),
        ({"time": "now"}, b"1", "`ce-time`"),
        ({"subject": ""}, b"1", "`ce-subject`"),
        ({"partitionkey": "x" * 256}, b"1", "at most 255 bytes in UTF-8 - at `ce-partitionkey`"),
        ({}, b"{", "ends too early"),
        ({"": "x"}, b"1", "lower-case letters and digits"),
        ({}, b'1,"id":"x"', "trailing characters"),
        ({}, b'1},{"id":"x"', "trailing characters"),
        ({}, b'"\xff"', "not UTF-8"),
        ({}, b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nested too deeply"),
    ],
)
def test_an_error_in_binary_mode_says_what_and_where(attributes: dict[str, str], body: bytes, said: str) -> None:
    """Attributes by their header; a body is one JSON value, and cannot add members to the event."""
    assert said in problem(decode_binary, {**HEADERS, **attributes}, JSON, body)


@pytest.mark.parametrize("name", list(HEADERS))
def test_a_header_that_is_missing_is_named(name: str) -> None:
    left = {each: value for each, value in HEADERS.items() if each != name}
    assert f"missing required field `{name}` - at `ce-{name}`" in problem(decode_binary, left, JSON, b"1")


@pytest.mark.parametrize(
    ("content_type", "body", "data"),
    [
        (JSON, b'{"b":1.0}', {"b": 1.0}),
        (b"application/x+json; charset=utf-8", b" [1] ", [1]),
        (JSON, b"1e999", float("inf")),
        (JSON, b"", None),
        (None, b'{"a":1}', {"a": 1}),
        (None, b"{", b"{"),
        (None, b"", None),
        (b"text/plain", b'1,"id":"x"', '1,"id":"x"'),
        (b"text/plain", '"\\\t\r\n\x7fé\u2028'.encode(), '"\\\t\r\n\x7fé\u2028'),
        *[
            (b"text/plain", control, control)
            for control in (b"a\0", b"\x08", b"\x0b", b"\x0c", b"\x0e", b"\x1f", b"\x1b[m")
        ],
        (b"text/plain; charset=latin-1", b"a", b"a"),
        (b"text/plain", b"\xff", b"\xff"),
        (b"application/xml", b"<a/>", "<a/>"),
        (b"application/octet-stream", b"{}", b"{}"),
        (b"application/jsonx", b"{}", b"{}"),
    ],
    ids=repr,
)
def test_a_body_is_the_payload(content_type: bytes | None, body: bytes, data: object) -> None:
    """JSON as it is, other text as a string, and anything else as bytes."""
    event = handled(decode_binary(HEADERS, content_type, body))
    assert event.data == data
    assert event.cloudevent.get("datacontenttype") == (content_type and content_type.decode())


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "ends too early"),
        (structured(), "Expected `array`, got `object`"),
        (b"[]", "Expected at least one event, got none"),
        (b"[" + structured() + b"\n" + structured() + b"]", "JSON is malformed"),
        (b"[" + structured() + b",5]", "Expected `object`, got `int` - at `$[1]`"),
        (b"[" + structured(b'"data":"\xff"') + b"]", "Body is not UTF-8"),
    ],
)
def test_an_error_in_a_batch_says_what_and_where(body: bytes, said: str) -> None:
    assert said in problem(decode_batched, body)


def test_a_batch_has_a_most() -> None:
    assert len(decode_batched(b"[" + b",".join([structured()] * MAX_EVENTS) + b"]")) == MAX_EVENTS
    with pytest.raises(TooManyEvents, match=f"got {MAX_EVENTS + 1}"):
        decode_batched(b"[" + b",".join([structured()] * (MAX_EVENTS + 1)) + b"]")


def test_a_content_type_is_not_empty() -> None:
    assert "`Content-Type`" in problem(decode_binary, HEADERS, b"", b"{}")


@given(st.lists(st.sampled_from("[{"), min_size=MAX_DEPTH - 3, max_size=MAX_DEPTH + 3))
def test_what_is_accepted_is_not_too_deep_for_who_reads_it(opened: list[str]) -> None:
    """The bound is the same in each mode, whatever brackets there are: one level is the event's."""
    body = "".join([each if each == "[" else '{"]}\\"":' for each in opened]) + "0"
    body += "".join([{"[": "]", "{": "}"}[each] for each in reversed(opened)])
    data = body.encode()
    results = [
        try_to_handle(decode_structured, structured(b'"data":' + data)),
        try_to_handle(lambda: decode_batched(b"[" + structured(b'"data":' + data) + b"]")[0]),
        try_to_handle(decode_binary, HEADERS, JSON, data),
    ]
    for result in results:
        if len(opened) < MAX_DEPTH:
            assert isinstance(result, Notification)
            assert result.data == result.cloudevent["data"] == msgspec.json.decode(body)
        else:
            assert "nested too deeply - at" in str(result)


@given(st.binary() | st.text().map(lambda text: structured(json.dumps({"data": text})[1:-1].encode())))
def test_any_bytes_are_an_event_or_an_error(body: bytes) -> None:
    """Whatever comes, a handler can read it, or it is told why not."""
    for result in (
        try_to_handle(decode_structured, body),
        try_to_handle(lambda: decode_batched(b"[" + body + b"]")[0]),
        try_to_handle(decode_binary, HEADERS, None, body),
        try_to_handle(decode_binary, HEADERS, b"text/plain", body),
        try_to_handle(decode_binary, HEADERS, JSON, body),
    ):
        assert result
        if isinstance(result, Notification):
            assert result.cloudevent["id"] == "1"
            assert result.data == result.data


@pytest.mark.parametrize("decode", [decode_structured, lambda text: decode_batched(b"[" + text + b"]")])
@pytest.mark.parametrize("members", ['"data":%s', '"data":%s,"data":1', '"data":1,"data":%s'])
def test_a_payload_is_nested_at_most_127_levels_wherever_it_stands(decode: Any, members: str) -> None:
    """A reader decodes the whole text, and with it a member that comes twice."""
    event = '{"specversion":"1.0","id":"1","source":"s","type":"t",%s}'
    decode((event % members % ("[" * 127 + "]" * 127)).encode())
    with pytest.raises(InvalidEvent, match="nested too deeply"):
        decode((event % members % ("[" * 128 + "]" * 128)).encode())
