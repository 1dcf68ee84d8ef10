"""
Tests for L{eventsvc.handlers.webhook_message}: what is sent is what the
receivers' own library verifies.
"""

from __future__ import annotations

import json
import time
from base64 import b64encode
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from eventsvc.event import Notification
from eventsvc.handlers.webhook_message import Message, compose, make_headers
from eventsvc.settings.kinds import SIGNING_SECRETS

KEY, OTHER = b"A" * 32, b"B" * 32
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOTIFICATION = Notification(4613732495722164, "hello", "2025-02-25T22:06:25.478310425Z", stream_id="1-0", deliveries=3)
#: The signature of the specification's own example.
EXAMPLE = (
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "msg_p5jXN8AQM9LWM0D4loKWxJek",
    1614265330,
    b'{"test": 2432232314}',
    "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
)


def with_members(**members: Any) -> Notification:
    return msgspec.structs.replace(NOTIFICATION, **members)


def receiver(key: bytes) -> Webhook:
    return Webhook(b64encode(key).decode())


def test_an_event_is_sent_as_its_message() -> None:
    """The id as a number, as the stream has it, and in digits for those who cannot read such numbers."""
    message = compose(NOTIFICATION)
    assert (message.id, message.content_type) == ("4613732495722164", "application/json")
    assert message.body == (
        b'{"id":4613732495722164,"event_id":"4613732495722164","description":"hello",'
        b'"timestamp":"2025-02-25T22:06:25.478310425Z"}'
    )


def test_the_members_that_an_event_has_are_sent() -> None:
    """Data byte for byte."""
    notification = with_members(type="order.paid", key="17", data_json=msgspec.Raw(b'{"a": 1.0}'), traceparent=TRACE)
    message = compose(notification)
    assert message.body.endswith(
        b'"type":"order.paid","key":"17","data":{"a": 1.0},"traceparent":"%s"}' % TRACE.encode()
    )
    assert make_headers(message, 1, [])["traceparent"] == TRACE


def test_data_that_is_null_is_sent() -> None:
    assert json.loads(compose(with_members(data_json=msgspec.Raw(b"null"))).body)["data"] is None


def test_a_cloudevent_is_sent_as_it_came() -> None:
    event = b'{ "specversion":"1.0","id":"1","source":"/s","type":"t","data":1.0 }'
    message = compose(with_members(cloudevent_json=msgspec.Raw(event), traceparent=TRACE))
    assert (message.body, message.content_type) == (event, "application/cloudevents+json")
    assert (message.id, message.traceparent) == ("4613732495722164", TRACE)


def test_a_tracestate_goes_with_its_traceparent() -> None:
    """As a header, and in the body of what is no CloudEvent."""
    state = "vendor=a b,other=1"
    message = compose(with_members(traceparent=TRACE, tracestate=state))
    assert make_headers(message, 1, [KEY])["tracestate"] == state
    assert json.loads(message.body)["tracestate"] == state
    event = msgspec.Raw(b'{"specversion":"1.0"}')
    message = compose(with_members(traceparent=TRACE, tracestate=state, cloudevent_json=event))
    assert (make_headers(message, 1, [])["tracestate"], message.body) == (state, bytes(event))
    assert "tracestate" not in make_headers(compose(with_members(tracestate=state)), 1, [])


@pytest.mark.parametrize("state", ["", " ", "a=b\r\nX-Evil: 1", "a=b\n", "a=é", "a=\0", "a=b ", "a" * 513])
def test_a_tracestate_that_is_none_is_left_out(state: str) -> None:
    message = compose(with_members(traceparent=TRACE, tracestate=state))
    assert "tracestate" not in make_headers(message, 1, [KEY])
    assert b"tracestate" not in message.body
    assert message.traceparent == TRACE


@pytest.mark.parametrize("data", [b"1e999", b"9" * 5_000, b'{"a":1,"a":\n2.0}', b'"\xe2\x80\xa8\\u0000"', b"null"])
def test_data_are_sent_byte_for_byte(data: bytes) -> None:
    assert b'"data":' + data in compose(with_members(data_json=msgspec.Raw(data))).body


@pytest.mark.parametrize("trace", ["", "x", TRACE + "\r\nX-Evil: 1", TRACE.upper(), TRACE + "\n"])
def test_a_traceparent_that_is_none_is_left_out(trace: str) -> None:
    """A foreign producer may write anything into the stream."""
    message = compose(with_members(traceparent=trace))
    assert "traceparent" not in make_headers(message, 1, [KEY])
    assert b"traceparent" not in message.body


def test_a_signature_is_that_of_the_specification() -> None:
    secret, id, seconds, body, signature = EXAMPLE
    headers = make_headers(Message(id, body, "application/json"), seconds, SIGNING_SECRETS.parse(secret))
    assert headers["webhook-signature"] == signature


def test_without_keys_nothing_is_signed() -> None:
    assert "webhook-signature" not in make_headers(compose(NOTIFICATION), 1, [])


@given(st.text(), st.none() | st.text(), st.integers(-(2**63), 2**63 - 1), st.integers(1, 3))
def test_the_receivers_library_verifies_any_event(text: str, key: str | None, id: int, keys: int) -> None:
    """With each secret of several; and its body is what was meant."""
    notification = with_members(id=id, description=text, key=key)
    secrets = [bytes([number]) * 24 for number in range(1, keys + 1)]
    message = compose(notification)
    headers = dict(make_headers(message, int(time.time()), secrets))
    for secret in secrets:
        found = receiver(secret).verify(message.body, headers)
        assert (found["id"], found["event_id"], found["description"]) == (id, str(id), text)
    with pytest.raises(WebhookVerificationError):
        receiver(OTHER).verify(message.body, headers)


@pytest.mark.parametrize("header", ["webhook-id", "webhook-timestamp"])
def test_what_is_signed_cannot_be_changed(header: str) -> None:
    message = compose(NOTIFICATION)
    headers = dict(make_headers(message, int(time.time()), [KEY]))
    receiver(KEY).verify(message.body, headers)
    headers[header] = str(int(headers[header]) + 1)
    with pytest.raises(WebhookVerificationError):
        receiver(KEY).verify(message.body, headers)
