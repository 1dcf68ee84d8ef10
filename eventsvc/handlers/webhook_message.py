"""
What a webhook sends: the body and the headers of Standard Webhooks.
"""

from __future__ import annotations

import hmac
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Final

import attrs
import msgspec

from eventsvc.event import Notification

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_TRACESTATE: Final = re.compile(r"[!-~](?:[ -~]{0,510}[!-~])?")
_encoder: Final = msgspec.json.Encoder()


@attrs.frozen
class Message:
    """
    A webhook before it is signed.

    @ivar id: the same in every delivery of an event.
    """

    id: str
    body: bytes
    content_type: str
    traceparent: str | None = None
    tracestate: str | None = None


class _Plain(msgspec.Struct, omit_defaults=True):
    """
    The body for an event that is no CloudEvent: its NM, and C{event_id}.

    C{id} is a number of 63 bits, and JSON parsers that read numbers as doubles,
    JavaScript's among them, round it without a word.  C{event_id} is the same
    in digits, as in the header C{Event-Id} that the event was answered with.
    """

    id: int
    event_id: str
    description: str
    timestamp: str
    type: str | None = None
    key: str | None = None
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    traceparent: str | None = None
    tracestate: str | None = None


def compose(notification: Notification) -> Message:
    """Return the message for an event: the CloudEvent as it came if it is one, else its NM."""
    id, cloudevent = str(notification.id), bytes(notification.cloudevent_json)
    traceparent, tracestate = notification.traceparent, notification.tracestate
    if traceparent is not None and not _TRACEPARENT.fullmatch(traceparent):
        traceparent = None
    if traceparent is None or (tracestate is not None and not _TRACESTATE.fullmatch(tracestate)):
        tracestate = None
    if cloudevent:
        return Message(id, cloudevent, "application/cloudevents+json", traceparent, tracestate)
    body = _Plain(
        id=notification.id,
        event_id=id,
        description=notification.description,
        timestamp=notification.timestamp,
        type=notification.type,
        key=notification.key,
        data=notification.data_json if bytes(notification.data_json) else msgspec.UNSET,
        traceparent=traceparent,
        tracestate=tracestate,
    )
    return Message(id, _encoder.encode(body), "application/json", traceparent, tracestate)


def make_headers(message: Message, seconds: int, keys: Sequence[bytes]) -> Mapping[str, str]:
    """
    Return the headers of an attempt.

    @param seconds: time of this attempt, since the epoch.
    @param keys: each adds a signature; without keys there is none.
    """
    headers = {
        "Content-Type": message.content_type,
        "webhook-id": message.id,
        "webhook-timestamp": f"{seconds}",
    }
    if keys:
        signed = f"{message.id}.{seconds}.".encode() + message.body
        headers["webhook-signature"] = " ".join([_sign(signed, key) for key in keys])
    if message.traceparent is not None:
        headers["traceparent"] = message.traceparent
    if message.tracestate is not None:
        headers["tracestate"] = message.tracestate
    return headers


def _sign(signed: bytes, key: bytes) -> str:
    return f"v1,{b64encode(hmac.digest(key, signed, 'sha256')).decode()}"
