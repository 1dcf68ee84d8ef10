"""
Posts CloudEvents as the server reads them, without a server.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.http import HTTPMessage
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from eventsvc.event import Event, decode_notification, write_notification
from eventsvc.submission import IdempotencyKey
from eventsvc.web.destinations import make_destinations
from eventsvc.web.post_head import PostReader
from tests.support.producer_world import make_world

STRUCTURED: Final = {"Content-Type": "application/cloudevents+json"}
BATCHED: Final = {"Content-Type": "application/cloudevents-batch+json; charset=utf-8"}

#: What every event has, and the same as headers.
REQUIRED: Final = {"specversion": "1.0", "id": "1", "source": "/a", "type": "t"}
HEADERS: Final = {f"ce-{name}": value for name, value in REQUIRED.items()}


@cache
def reader() -> PostReader:
    return PostReader(make_destinations({"stream": make_world().appender}))


def post(path: bytes, headers: Mapping[str, str], body: bytes) -> tuple[Sequence[Event], Sequence[IdempotencyKey]]:
    """Return the events and keys of a request."""
    head = reader().read(path, {name.lower().encode(): [value.encode()] for name, value in headers.items()})
    assert head is not None
    head.admit()
    return head.parse(body)


def post_message(message: HTTPMessage) -> tuple[Event, IdempotencyKey]:
    (event,), (key,) = post(b"/event", message.headers, message.body)
    return event, key


def post_batch(*events: BaseCloudEvent) -> tuple[Sequence[Event], Sequence[IdempotencyKey]]:
    body = b"[" + b",\n ".join([JSONFormat().write(event) for event in events]) + b"]"
    return post(b"/events", {"Content-Type": "application/cloudevents-batch+json; charset=utf-8"}, body)


def stored(event: Event) -> dict[str, Any]:
    """Return the members of the NM of an event, with the JSON text of its C{cloudevent}."""
    members: dict[str, Any] = json.loads(write_notification(1, event, "2025-02-25T22:06:25.478310425Z"))
    assert (members.pop("id"), members.pop("timestamp")) == (1, "2025-02-25T22:06:25.478310425Z")
    return members


def read_back(event: Event) -> BaseCloudEvent:
    """Return what the library reads in the stream."""
    notification = decode_notification(write_notification(1, event, "2025-02-25T22:06:25.478310425Z"))
    return JSONFormat().read(CloudEvent, bytes(notification.cloudevent_json))


def payload(event: Event) -> Any:
    """Return what a handler gets."""
    return decode_notification(write_notification(1, event, "2025-02-25T22:06:25.478310425Z")).data


def as_bytes(data: Any) -> Any:
    return data.encode() if isinstance(data, str) else data
