"""
Tests for L{eventsvc.client}: what it sends for each form of event, and how it
takes the answers.
"""

from __future__ import annotations

import json
from typing import Any

import attrs
import msgspec
import pytest
import pytest_twisted
from treq.testing import StubTreq
from twisted.internet.task import Clock
from twisted.web.resource import Resource
from twisted.web.server import Request

from eventsvc.client import Client, Posted, PostedBatch
from eventsvc.event import Event
from eventsvc.new_event import make_cloudevent, make_event
from eventsvc.outcome import Outcome

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CLOUDEVENT = make_cloudevent(source="/s", id="1", type="t", data={"a": 1.0})


@attrs.define(eq=False)
class Producer(Resource):
    """A producer that remembers the requests, and answers as it is told."""

    status: int = 200
    headers: dict[str, str] = attrs.field(factory=dict)
    body: str = ""
    requests: list[tuple[bytes, dict[bytes, bytes], bytes]] = attrs.field(factory=list)
    isLeaf = True

    def __attrs_post_init__(self) -> None:
        super().__init__()

    def render_POST(self, request: Request) -> bytes:
        assert request.content is not None
        headers = {name.lower(): b", ".join(values) for name, values in request.requestHeaders.getAllRawHeaders()}
        self.requests.append((request.path, headers, request.content.read()))
        request.setResponseCode(self.status)
        for name, value in self.headers.items():
            request.setHeader(name, value)
        return self.body.encode()

    def client(self, url: str = "http://producer", **more: Any) -> Client:
        http: Any = StubTreq(self)
        return Client(http, url, Clock(), **more)


def stored(*ids: int) -> Producer:
    """A producer that stores everything."""
    return Producer(200, {"Event-Id": f"{ids[0]}"} if len(ids) == 1 else {}, accepted(*ids) if len(ids) > 1 else "")


def accepted(*ids: int) -> str:
    return json.dumps({"accepted": len(ids), "ids": [str(id) for id in ids]})


@pytest_twisted.ensureDeferred
async def test_an_event_is_posted_with_what_it_carries() -> None:
    """Data byte for byte."""
    producer = stored(7)
    event = Event("a", "t", "k", msgspec.Raw(b'{"b": 1.0}'))
    assert await producer.client().post(event) == Posted(Outcome.OK, 7)
    [(path, headers, body)] = producer.requests
    assert (path, headers[b"content-type"]) == (b"/event", b"application/json")
    assert body == b'{"description":"a","type":"t","key":"k","data":{"b": 1.0}}'
    assert not {b"authorization", b"traceparent", b"tracestate", b"idempotency-key"} & set(headers)


@pytest_twisted.ensureDeferred
async def test_a_cloudevent_is_posted_as_it_is() -> None:
    producer = stored(7)
    assert await producer.client().post(CLOUDEVENT) == Posted(Outcome.OK, 7)
    [(path, headers, body)] = producer.requests
    assert (path, headers[b"content-type"]) == (b"/event", b"application/cloudevents+json")
    assert body == bytes(CLOUDEVENT.cloudevent or b"")


@pytest_twisted.ensureDeferred
async def test_the_trace_and_the_token_are_headers() -> None:
    """And the token is nowhere else."""
    producer = stored(7)
    client = producer.client("http://producer/streams/orders", token="evt_secret")
    await client.post(msgspec.structs.replace(CLOUDEVENT, traceparent=TRACE, tracestate="a=b"), "key")
    [(path, headers, body)] = producer.requests
    assert path == b"/streams/orders/event"
    assert (headers[b"traceparent"], headers[b"tracestate"]) == (TRACE.encode(), b"a=b")
    assert headers[b"authorization"] == b"Bearer evt_secret"
    assert headers[b"idempotency-key"] == b'"key"'
    assert b"trace" not in body
    assert "evt_secret" not in repr(client)


@pytest.mark.parametrize(
    ("events", "content_type", "body"),
    [
        (
            [make_event("a"), make_event("b", data=["\n"])],
            b"application/json",
            [{"description": "a"}, {"description": "b", "data": ["\n"]}],
        ),
        (
            [CLOUDEVENT, CLOUDEVENT],
            b"application/cloudevents-batch+json",
            [{"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": {"a": 1.0}}] * 2,
        ),
    ],
    ids=["plain", "cloudevents"],
)
@pytest_twisted.ensureDeferred
async def test_a_batch_is_one_request(events: list[Event], content_type: bytes, body: object) -> None:
    producer = stored(7, 2**63 - 1)
    assert await producer.client().post_batch(events, "key") == PostedBatch(Outcome.OK, (7, 2**63 - 1))
    [(path, headers, sent)] = producer.requests
    assert (path, headers[b"content-type"], headers[b"idempotency-key"]) == (b"/events", content_type, b'"key"')
    assert json.loads(sent) == body


@pytest_twisted.ensureDeferred
async def test_a_mixed_batch_is_a_mistake() -> None:
    producer = stored(7, 8)
    with pytest.raises(ValueError, match="either CloudEvents or other events"):
        await producer.client().post_batch([CLOUDEVENT, Event("a")])
    assert producer.requests == []


@pytest.mark.parametrize("key", [None, "k"])
@pytest_twisted.ensureDeferred
async def test_an_event_that_cannot_be_written_is_refused(key: str | None) -> None:
    """It was not sent."""
    producer = stored(7)
    posted = await producer.client().post(Event("\ud800"), key)
    assert (posted.outcome, producer.requests) == (Outcome.REFUSED, [])
    assert posted.why.startswith("not sent: ")
    assert (await producer.client().post_batch([Event("a"), Event("\ud800")])).outcome is Outcome.REFUSED
    assert (await producer.client().post(Event("a"), "\ud800")).outcome is Outcome.REFUSED
    assert producer.requests == []


@pytest.mark.parametrize(
    ("status", "more", "outcome"),
    [
        (401, {}, Outcome.REFUSED),
        (403, {}, Outcome.REFUSED),
        (415, {}, Outcome.REFUSED),
        (429, {"stored": "no"}, Outcome.REFUSED),
        (429, {"stored": "unknown"}, Outcome.UNKNOWN),
        (429, {}, Outcome.UNKNOWN),
        (503, {"stored": "no"}, Outcome.REFUSED),
        (503, {"stored": "unknown"}, Outcome.UNKNOWN),
        (503, {}, Outcome.UNKNOWN),
        (409, {}, Outcome.UNKNOWN),
        (302, {}, Outcome.UNKNOWN),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_refusal_is_certain(status: int, more: dict[str, str], outcome: Outcome) -> None:
    """What a proxy says of too many requests is no promise of the producer."""
    producer = Producer(status, body=json.dumps({"status": status, "title": "t", "description": "d", **more}))
    assert await producer.client().post(CLOUDEVENT) == Posted(outcome, why=f"{status} t: d")
    assert await producer.client().post_batch([CLOUDEVENT]) == PostedBatch(outcome, why=f"{status} t: d")


@pytest.mark.parametrize(
    "body", ["", "{}", "[]", '{"ids":[1]}', '{"ids":["x"]}', '{"ids":["1"', '{"ids":["-1"]}', "\xff", '{"ids":"1"}']
)
@pytest_twisted.ensureDeferred
async def test_200_without_ids_is_unknown(body: str) -> None:
    assert (await Producer(body=body).client().post_batch([CLOUDEVENT])).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest_twisted.ensureDeferred
async def test_each_event_of_a_batch_has_an_id(count: int) -> None:
    """An answer with fewer or more ids is not that of a producer."""
    posted = await Producer(body=accepted(*range(count))).client().post_batch([CLOUDEVENT] * 2)
    assert posted.outcome is Outcome.UNKNOWN
