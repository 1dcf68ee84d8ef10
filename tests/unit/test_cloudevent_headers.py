"""
Tests for CloudEvents in binary mode: what headers and bodies become, and what is refused.
"""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from cloudevents.core.bindings.http import HTTPMessage, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

from eventsvc.event import InvalidEvent
from tests.support.cloudevents import HEADERS, REQUIRED, STRUCTURED, post_message, reader


@pytest.mark.parametrize("value", ["%C0%A0", "%ff", "%ED%A0%80", "a%c3", "%F5%80%80%80"])
def test_headers_that_are_no_utf_8_are_refused(value: str) -> None:
    """Overlong forms and surrogates included (3.1.3.2)."""
    headers = {**HEADERS, "ce-subject": value}
    with pytest.raises(InvalidEvent, match="ce-subject"):
        post_message(HTTPMessage(headers, b""))


@pytest.mark.parametrize("character", ["\n", "\0", "\x1f", "\x7f", "\x80", "\x9f"])
@pytest.mark.parametrize(
    "name", ["id", "source", "type", "subject", "dataschema", "datacontenttype", "partitionkey", "ext1"]
)
def test_control_characters_are_refused(name: str, character: str) -> None:
    """No attribute may have them (CloudEvents, "Type System"): sent on as a header, one could be two."""
    for ensure_ascii in (True, False):
        body = json.dumps({**REQUIRED, name: f"a{character}b", "data": "\n"}, ensure_ascii=ensure_ascii).encode()
        with pytest.raises(InvalidEvent, match=rf"Expected no control character - at `\$\.{name}`"):
            post_message(HTTPMessage(STRUCTURED, body))
    if name != "datacontenttype":
        headers = {**HEADERS, f"ce-{name}": f"a{quote(character)}b"}
        with pytest.raises(InvalidEvent, match=rf"Expected no control character - at `ce-{name}`"):
            post_message(HTTPMessage(headers, b""))


def test_the_order_of_headers_does_not_matter() -> None:
    """Servers between may change it; a request with an C{Idempotency-Key} has the same fingerprint all the same."""
    there = {**HEADERS, "ce-subject": "a", "Idempotency-Key": "b"}
    back = dict(reversed(there.items()))
    assert post_message(HTTPMessage(there, b""))[1] == post_message(HTTPMessage(back, b""))[1]


@pytest.mark.parametrize("value", ["\u00a0", "\u2028", "a\u200db", "\U0001f600", "\\", '"'])
def test_other_characters_are_kept(value: str) -> None:
    """Also those that are not printed."""
    body = json.dumps({**REQUIRED, "subject": value, "ext1": value}, ensure_ascii=False).encode()
    event, _ = post_message(HTTPMessage(STRUCTURED, body))
    assert event.description == value


@pytest.mark.parametrize(
    ("content_type", "body", "said"),
    [
        ("", b"a", "at `Content-Type`"),
        ("a\nb", b"a", "at `Content-Type`"),
        ("application/json", b"[" * 200 + b"]" * 200, "at the body"),
    ],
)
def test_the_error_of_a_binary_event_names_what_the_client_sent(content_type: str, body: bytes, said: str) -> None:
    with pytest.raises(InvalidEvent, match=said):
        post_message(HTTPMessage({**HEADERS, "Content-Type": content_type}, body))


def test_a_content_type_is_utf_8() -> None:
    headers = {name.encode(): [value.encode()] for name, value in HEADERS.items()}
    head = reader().read(b"/event", {**headers, b"content-type": [b"a\xff/b"]})
    assert head is not None
    with pytest.raises(InvalidEvent, match="header `Content-Type`"):
        head.parse(b"")


@pytest.mark.parametrize(
    ("header", "value"),
    [
        (r'"a\"b\\c"', r'a"b\c'),
        (r'"a\bc"', "abc"),
        ('"Euro%20%E2%82%AC%20%F0%9F%98%80"', "Euro € 😀"),
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ('"a', '"a'),
        ('a"b"', 'a"b"'),
        ("a%2520", "a%20"),
        ("a%zz%4", "a%zz%4"),
        ("a+b", "a+b"),
    ],
)
def test_a_header_is_unquoted_and_then_decoded_once(header: str, value: str) -> None:
    headers = {**HEADERS, "ce-subject": header}
    event, _ = post_message(HTTPMessage(headers, b""))
    assert event.description == value


@pytest.mark.parametrize(
    ("content_type", "body", "member", "value"),
    [
        ("text/plain", "ä".encode(), "data", "ä"),
        ("text/plain; charset=utf-8", "ä".encode(), "data", "ä"),
        ("text/plain; charset=iso-8859-1", b"a\xe4", "data_base64", "YeQ="),
        ("text/plain; charset=iso-8859-1", "ä".encode(), "data_base64", "w6Q="),
        ("text/plain", b"a\xe4", "data_base64", "YeQ="),
        ("application/octet-stream", b"text", "data_base64", "dGV4dA=="),
        ("application/json", b' {"a": 1.50} ', "data", {"a": 1.5}),
        ("Application/Vnd.X+JSON;a=b", b"null", "data", None),
        ("text/plain", b'{"a": 1}', "data", '{"a": 1}'),
        (None, b'{"a": 1}', "data", {"a": 1}),
        (None, b"text", "data_base64", "dGV4dA=="),
    ],
)
def test_the_content_type_says_what_a_body_is(
    content_type: str | None, body: bytes, member: str, value: object
) -> None:
    """Text in another charset stays as it came."""
    event, _ = post_message(HTTPMessage({**HEADERS, **({"Content-Type": content_type} if content_type else {})}, body))
    found = json.loads(bytes(event.cloudevent or b""))
    assert found == {**REQUIRED, **({"datacontenttype": content_type} if content_type else {}), member: value}


@pytest.mark.parametrize(
    ("value", "is_kept"), [("k" * 255, True), ("k" * 256, False), ("ä" * 127, True), ("ä" * 128, False)]
)
def test_a_partition_key_is_a_key(value: str, is_kept: bool) -> None:
    """So it has at most 255 bytes."""
    sent = CloudEvent({**REQUIRED, "partitionkey": value})
    for message in (to_structured_event(sent), to_binary_event(sent)):
        if is_kept:
            assert post_message(message)[0].key == value
        else:
            with pytest.raises(InvalidEvent, match=r"255 bytes .*partitionkey"):
                post_message(message)
