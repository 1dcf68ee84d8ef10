"""
Tests of docs/schemas and docs/asyncapi.yaml against the code that they describe.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator  # type: ignore[import-untyped]

from eventsvc import __version__
from eventsvc.event import (
    EVENT_FIELD,
    MARKER_FIELD,
    MARKER_VALUE,
    Event,
    InvalidEvent,
    Notification,
    decode_notification,
    encode_notification,
    format_timestamp,
)
from eventsvc.event_message import decode_event, encode_event
from eventsvc.redis.scripts import dead_letters
from eventsvc.settings import RedisSettings, StreamSettings

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "docs" / "schemas"
ASYNCAPI: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "asyncapi.yaml").read_text())
STAMP = "2025-02-25T22:06:25.478310425Z"
ONE = {"id": 1, "description": "a", "timestamp": STAMP}
CLOUDEVENT = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}


def load(name: str) -> Any:
    """Return the validator of a schema, which is itself valid."""
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


EM, NM = load("event-message"), load("notification-message")

#: Text that UTF-8 can encode.
TEXT = st.text()
SHORT = st.text(min_size=1, max_size=60)
#: A text of an attribute, which has no control characters.
PRINTABLE = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=60)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=8,
)
EXTENSIONS = st.dictionaries(st.from_regex("[a-z0-9]{1,20}", fullmatch=True), PRINTABLE | st.booleans(), max_size=3)
CLOUDEVENTS = st.builds(
    lambda extensions, data, **attributes: {**extensions, **attributes, "specversion": "1.0", **data},
    EXTENSIONS,
    st.fixed_dictionaries({}, optional={"data": JSON}),
    id=PRINTABLE,
    source=PRINTABLE,
    type=PRINTABLE,
    partitionkey=PRINTABLE,
    subject=st.none() | PRINTABLE,
)
RAW = JSON.map(lambda value: msgspec.Raw(json.dumps(value).encode()))
NOTIFICATIONS = st.builds(
    Notification,
    id=st.integers(0, 2**63 - 1),
    description=TEXT,
    timestamp=st.integers(0, 2**62).map(format_timestamp),
    type=st.none() | SHORT,
    key=st.none() | SHORT,
    traceparent=st.none() | SHORT,
    data_json=st.just(msgspec.Raw()) | RAW,
    cloudevent_json=st.just(msgspec.Raw()) | CLOUDEVENTS.map(lambda each: msgspec.Raw(json.dumps(each).encode())),
)


@given(NOTIFICATIONS)
def test_what_is_written_into_the_stream_is_a_notification_message(notification: Notification) -> None:
    """The schema takes every NM that the code writes, and names all of its members."""
    written = json.loads(encode_notification(notification))
    NM.validate(written)
    assert written.keys() <= NM.schema["properties"].keys()


@given(TEXT)
def test_what_a_client_of_ours_posts_is_an_event_message(description: str) -> None:
    EM.validate(json.loads(encode_event(Event(description))))


@pytest.mark.parametrize(
    "message",
    [
        None,
        [],
        "a",
        {},
        {"Description": "a"},
        {"description": None},
        {"description": 1},
        {"description": ["a"]},
    ],
)
def test_what_is_no_event_message_is_refused_by_both(message: Any) -> None:
    """The schema and the code refuse the same."""
    assert not EM.is_valid(message)
    with pytest.raises(InvalidEvent):
        decode_event(json.dumps(message).encode())


@pytest.mark.parametrize(
    "message",
    [
        None,
        [],
        {},
        {name: ONE[name] for name in ("id", "description")},
        {name: ONE[name] for name in ("id", "timestamp")},
        {name: ONE[name] for name in ("description", "timestamp")},
        {**ONE, "id": "1"},
        {**ONE, "id": 1.5},
        {**ONE, "description": 1},
        {**ONE, "timestamp": 1},
        {**ONE, "type": 1},
        {**ONE, "key": ["a"]},
        {**ONE, "traceparent": {}},
    ],
)
def test_what_is_no_notification_message_is_refused_by_both(message: Any) -> None:
    assert not NM.is_valid(message)
    with pytest.raises(InvalidEvent):
        decode_notification(json.dumps(message).encode())


@pytest.mark.parametrize("name", ["event-message", "notification-message"])
def test_the_examples_of_a_schema_are_valid(name: str) -> None:
    validator = load(name)
    for example in validator.schema["examples"]:
        validator.validate(example)


def test_asyncapi_is_valid() -> None:
    """It is an AsyncAPI 3.0 document of this version, and the schema of the specification can refuse one."""
    validator = Draft7Validator(json.loads((ROOT / "tests" / "support" / "asyncapi-3.0.0.json").read_text()))
    validator.validate(ASYNCAPI)
    assert not validator.is_valid({**ASYNCAPI, "channels": {"a": {"adress": "a"}}})
    assert ASYNCAPI["info"]["version"] == __version__


def references(value: Any) -> list[str]:
    """Return the references in a part of a document."""
    match value:
        case {"$ref": str(target)}:
            return [target]
        case dict():
            return [found for each in value.values() for found in references(each)]
        case list():
            return [found for each in value for found in references(each)]
    return []


def test_each_reference_of_asyncapi_leads_somewhere() -> None:
    found = references(ASYNCAPI)
    assert "./schemas/notification-message.schema.json" in found
    for target in found:
        path, _, pointer = target.partition("#")
        assert not path or (ROOT / "docs" / path).is_file()
        value: Any = ASYNCAPI
        for step in pointer.split("/")[1:]:
            value = value[step]


def test_the_examples_of_asyncapi_are_valid() -> None:
    """Each example of a message is one of its kind."""
    for name, message in ASYNCAPI["components"]["messages"].items():
        validator = NM if name == "EventStream" else Draft202012Validator(message["payload"])
        for example in message["examples"]:
            validator.validate(example["payload"])


def test_asyncapi_names_what_the_code_names() -> None:
    """Fields, keys and names are those of the code."""
    stream, shared = RedisSettings(), StreamSettings()
    channel = ASYNCAPI["channels"]["NotificationStream"]
    assert channel["parameters"]["stream"]["default"] == stream.stream
    assert set(channel["messages"]) == {EVENT_FIELD.decode(), MARKER_FIELD.decode()}
    assert ASYNCAPI["components"]["messages"]["CreateStream"]["payload"]["const"] == MARKER_VALUE.decode()
    assert ASYNCAPI["channels"]["deadLetters"]["x-redis"]["key"] == dead_letters(stream.stream).decode()
    assert ASYNCAPI["operations"]["handle"]["x-redis"]["group"] == shared.group
