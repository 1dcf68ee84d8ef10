"""
Tests for CloudEvents with the official library: as the client that posts them,
and as the reader of what is in the stream.
"""

from __future__ import annotations

import base64
import gzip
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

import msgspec
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event, to_binary_event, to_structured_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from eventsvc.event import InvalidEvent
from eventsvc.web.encoding import find_zstd
from tests.support.cloudevents import (
    BATCHED,
    HEADERS,
    REQUIRED,
    STRUCTURED,
    as_bytes,
    payload,
    post,
    post_batch,
    post_message,
    read_back,
    stored,
)

#: Characters of attributes: no controls, surrogates and non-characters (CloudEvents, "Type System").
TEXT: Final = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Cn"), exclude_characters="\ufffe\uffff"), min_size=1, max_size=30
)
TIMES: Final = st.datetimes(
    datetime(1970, 1, 1),
    datetime(2100, 1, 1),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8))]),
)
NAMES: Final = ("specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema")
EXTENSIONS: Final = st.dictionaries(
    st.from_regex(r"\A[a-z0-9]{1,20}\Z").filter(lambda name: name not in (*NAMES, "data", "partitionkey")),
    TEXT | st.integers(-(2**31), 2**31 - 1) | st.booleans(),
    max_size=4,
)
VALUES: Final = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)
JSON_TYPES: Final = st.sampled_from(["application/json", "text/json; charset=utf-8", "application/x.order+json"])
TEXT_TYPES: Final = st.sampled_from(
    ["text/plain", "text/plain; charset=UTF-8", 'text/csv;charset="utf-8"', "application/xml", "image/svg+xml"]
)
BYTE_TYPES: Final = st.sampled_from(
    ["application/octet-stream", "image/png", "application/avro", "text/plain; charset=x"]
)


@st.composite
def events(draw: st.DrawFn, kind: str = "") -> CloudEvent:
    """Make an event of the library, with data of a kind: C{json}, C{text}, C{bytes} or C{none}."""
    attributes: dict[str, Any] = {
        "id": draw(TEXT),
        "source": draw(TEXT),
        "type": draw(TEXT),
        "time": draw(TIMES),
        **draw(st.fixed_dictionaries({}, optional={"subject": TEXT, "dataschema": TEXT, "partitionkey": TEXT})),
        **draw(EXTENSIONS),
    }
    kind = kind or draw(st.sampled_from(["json", "text", "bytes", "none"]))
    data: Any = None
    match kind:
        case "json":
            data = draw(st.dictionaries(TEXT, VALUES, max_size=4))
            if draw(st.booleans()):
                attributes["datacontenttype"] = draw(JSON_TYPES)
        case "text":
            data, attributes["datacontenttype"] = draw(st.text(min_size=1)), draw(TEXT_TYPES)
        case "bytes":
            data, attributes["datacontenttype"] = draw(st.binary(min_size=1)), draw(BYTE_TYPES)
    return CloudEvent(attributes, data)


@given(events())
def test_a_structured_event_is_read_back(sent: CloudEvent) -> None:
    """With the same types of values."""
    event, _ = post_message(to_structured_event(sent))
    found = read_back(event)
    assert found.get_attributes() == sent.get_attributes()
    assert found.get_data() == sent.get_data()
    assert payload(event) == sent.get_data()


@given(events())
def test_a_binary_event_is_read_back(sent: CloudEvent) -> None:
    """Its headers have no types, so values of extensions are strings."""
    event, _ = post_message(to_binary_event(sent))
    found = read_back(event)
    assert found.get_attributes() == {
        name: value if isinstance(value, datetime) else str(value) for name, value in sent.get_attributes().items()
    }
    assert as_bytes(found.get_data()) == as_bytes(sent.get_data())
    assert as_bytes(payload(event)) == as_bytes(sent.get_data())


@given(events())
def test_the_three_modes_store_the_same(sent: CloudEvent) -> None:
    """The same members of the NM, and the same key, so that a repetition in another mode is none."""
    structured, key = post_message(to_structured_event(sent))
    binary, key_of_binary = post_message(to_binary_event(sent))
    (batched,), (key_of_batched,) = post_batch(sent)
    assert key == key_of_binary == key_of_batched
    members, of_binary = stored(structured), stored(binary)
    assert members == stored(batched)
    assert bytes(structured.cloudevent or b"") == bytes(batched.cloudevent or b"")
    cloudevent, other = members.pop("cloudevent"), of_binary.pop("cloudevent")
    assert members == of_binary
    assert list(members) == [name for name in ("description", "type", "key") if name in members]
    assert members["type"] == sent.get_type()
    assert members["description"] == (sent.get_subject() or sent.get_type())
    assert members.get("key") == sent.get_extension("partitionkey")
    assert {name: str(value) for name, value in cloudevent.items() if not name.startswith("data")} == {
        name: str(value) for name, value in other.items() if not name.startswith("data")
    }


@given(st.lists(events(), min_size=1, max_size=5))
def test_a_batch_keeps_its_order_and_texts(sent: list[CloudEvent]) -> None:
    """Each is what it would be alone."""
    found, keys = post_batch(*sent)
    alone = [post_message(to_structured_event(event)) for event in sent]
    assert [stored(event) for event in found] == [stored(event) for event, _ in alone]
    assert list(keys) == [key for _, key in alone]


@given(events(), events())
def test_source_and_id_alone_are_the_key(one: CloudEvent, other: CloudEvent) -> None:
    """Two events that share them are one, whatever else they say; C{source} and C{id} are not just joined."""
    _, first = post_message(to_structured_event(one))
    _, second = post_message(to_binary_event(other))
    is_same = (one.get_source(), one.get_id()) == (other.get_source(), other.get_id())
    assert (first == second) is is_same
    again = CloudEvent({**other.get_attributes(), "source": one.get_source(), "id": one.get_id()}, other.get_data())
    assert post_message(to_binary_event(again))[1] == first
    shifted = CloudEvent(
        {**one.get_attributes(), "source": one.get_source() + one.get_id()[:1], "id": one.get_id()[1:] or "x"}
    )
    assert post_message(to_structured_event(shifted))[1] != first


@given(VALUES, JSON_TYPES | st.none())
def test_json_of_any_type_is_data(value: Any, content_type: str | None) -> None:
    """Also C{null}, numbers and strings, in each mode, as the text that was posted."""
    text = f"  {json.dumps(value, indent=1, ensure_ascii=False)}\n".encode()
    binary, _ = post_message(HTTPMessage({**HEADERS, **({"Content-Type": content_type} if content_type else {})}, text))
    members = {**REQUIRED, **({"datacontenttype": content_type} if content_type else {})}
    body = b'%b,"data":%b}' % (json.dumps(members).encode()[:-1], text)
    structured, _ = post_message(HTTPMessage(STRUCTURED, body))
    for event in (binary, structured):
        raw = msgspec.json.decode(event.cloudevent or b"", type=dict[str, msgspec.Raw])["data"]
        assert bytes(raw) == text.strip()
        assert payload(event) == value


@given(st.binary(min_size=1), TEXT_TYPES | BYTE_TYPES | JSON_TYPES | st.none())
def test_a_binary_body_of_any_bytes_is_kept_or_refused(body: bytes, content_type: str | None) -> None:
    """It is refused only if it is said to be JSON, and is not."""
    headers = {**HEADERS, **({"Content-Type": content_type} if content_type else {})}
    try:
        event, _ = post_message(HTTPMessage(headers, body))
    except InvalidEvent:
        assert content_type is not None
        assert "json" in content_type
        with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
            msgspec.json.decode(body.decode())
        return
    found = json.loads(bytes(event.cloudevent or b""))
    if "data_base64" in found:
        assert base64.b64decode(found["data_base64"], validate=True) == body
    elif content_type is not None and "json" not in content_type:
        assert found["data"].encode() == body
    else:
        assert found["data"] == json.loads(body)


@given(events())
def test_the_library_sends_on_what_it_reads(sent: CloudEvent) -> None:
    """An event taken from the stream and posted again, in either mode, is the same event."""
    event, key = post_message(to_structured_event(sent))
    found = read_back(event)
    for message in (to_structured_event(found), to_binary_event(found)):
        assert from_http_event(message).get_id() == sent.get_id()
        again, same_key = post_message(message)
        assert same_key == key
        assert (again.description, again.type, again.key) == (event.description, event.type, event.key)


@given(TEXT)
def test_values_of_headers_are_decoded_as_the_binding_says(value: str) -> None:
    """Percent-encoded in either case and more than needed, or quoted as in older versions (3.1.3.2)."""
    encoded = value.encode()
    percent = "".join([f"%{byte:02x}" for byte in encoded])
    written = [percent, percent.upper(), f'"{percent}"']
    if value.isascii() and "%" not in value and value.strip(" ") == value:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        written += [f'"{escaped}"'] + ([] if value.startswith('"') else [value])
    for header in written:
        event, _ = post_message(HTTPMessage({**HEADERS, "ce-subject": header}, b""))
        assert event.description == value


@given(events(), st.sampled_from(["specversion", "id", "source", "type"]), st.sampled_from([None, "", 1, "2.0"]))
def test_what_is_required_is_named_where_it_is_missing(sent: CloudEvent, name: str, value: object) -> None:
    """In each mode: as a member, or as a header."""
    members = json.loads(JSONFormat().write(sent))
    message = to_binary_event(sent)
    headers = {header: text for header, text in message.headers.items() if header != f"ce-{name}"}
    del members[name]
    if value is not None and (value != "2.0" or name == "specversion"):
        members[name] = value
        if value != 1 or name == "specversion":
            headers[f"ce-{name}"] = str(value)
    if name == "specversion" and f"ce-{name}" not in headers:
        headers[f"ce-{name}"] = ""
    body = json.dumps(members).encode()
    with pytest.raises(InvalidEvent, match=rf"`\$\.{name}`"):
        post_message(HTTPMessage(STRUCTURED, body))
    with pytest.raises(InvalidEvent, match=rf"`\$\[1\]\.{name}`"):
        post(
            b"/events",
            BATCHED,
            b"[%b,%b]" % (JSONFormat().write(sent), body),
        )
    with pytest.raises(InvalidEvent, match=rf"`ce-{name}`"):
        post_message(HTTPMessage(headers, message.body))


@given(st.sampled_from(["gzip", "zstd"]), events())
def test_a_compressed_event_is_the_same(coding: str, sent: CloudEvent) -> None:
    """In each mode."""
    encode = gzip.compress if coding == "gzip" else find_zstd().compress
    for message in (to_structured_event(sent), to_binary_event(sent)):
        alone = post_message(message)
        packed = post_message(HTTPMessage({**message.headers, "Content-Encoding": coding}, encode(message.body)))
        assert packed[1] == alone[1]
        assert stored(packed[0]) == stored(alone[0])
