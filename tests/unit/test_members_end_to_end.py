"""
Events of all forms on one stream, with real parts: what old readers, new readers
and foreign producers make of them.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chaos.suites import PATIENCE, wait_until
from eventsvc.event import EVENT_FIELD, MARKER_FIELD
from tests.support.processes import Server, Service, Services, post

STREAM = "NotificationStream"
STAMP = "2025-02-25T22:06:25.478310425Z"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
DATA = '{"b": 1.0,\n "a":[1e999, 9007199254740993, "\\u2028\u2028\u0085\u009b"]}'
STRUCTURED = {"Content-Type": "application/cloudevents+json"}
BINARY = {
    "ce-specversion": "1.0",
    "ce-id": "2",
    "ce-source": "/s",
    "ce-type": "t",
    "ce-partitionkey": "k",
    "Content-Type": "application/octet-stream",
}


class OldNotification(msgspec.Struct):
    """An NM as readers knew it that were written before it had more members."""

    id: int
    description: str
    timestamp: str


def start_producer(services: Services, server: Server) -> int:
    return services.start("eventsvc", "producer", "--rest-server-port=0", f"--redis-port={server.port}").port()


def start_consumer(services: Services, server: Server, *flags: str) -> Service:
    return services.start("eventsvc", "consumer", f"--redis-port={server.port}", *flags)


def post_each_form(port: int) -> list[int]:
    """Post an event of each form, and return their ids."""
    trace = {"traceparent": TRACE, "tracestate": "a=b"}
    bodies: list[tuple[str, dict[str, str]]] = [
        ('{"description":"plain"}', {}),
        (f'{{"description":"full","type":"t","key":"k","data":{DATA}}}', trace),
        (f'{{"specversion":"1.0","id":"1","source":"/s","type":"t","subject":"structured","data":{DATA}}}', STRUCTURED),
        ("\0\u0080", BINARY),
    ]
    answers = [post(port, body, headers=headers) for body, headers in bodies]
    assert [answer.status for answer in answers] == [200] * 4, answers
    return [int(answer.headers["Event-Id"]) for answer in answers]


def test_old_and_new_readers_share_a_stream(services: Services, server: Server) -> None:
    """Who knows three members reads every event; who knows more gets the rest byte for byte, on one line of the log."""
    port = start_producer(services, server)
    ids = post_each_form(port)
    with server.client() as client:
        for more in ({}, {"type": "foreign", "data": [1], "later": {"x": 1}}):
            message = {"timestamp": STAMP, "description": "foreign", "id": 1, **more}
            client.xadd(STREAM, {"EventStream": json.dumps(message, indent=1)})
        texts = [fields[EVENT_FIELD] for _, fields in client.xrange(STREAM) if MARKER_FIELD not in fields]
    old = [msgspec.json.decode(text, type=OldNotification) for text in texts]
    assert [each.id for each in old] == [*ids, 1, 1]
    assert [each.description for each in old] == ["plain", "full", "structured", "t", "foreign", "foreign"]
    assert texts[0] == b'{"id":%d,"description":"plain","timestamp":"%s"}' % (ids[0], old[0].timestamp.encode())
    assert f'"data":{DATA}}}'.encode() in texts[1]
    assert f'"data":{DATA}}}'.encode() in texts[2]

    consumer = start_consumer(services, server)
    wait_until(lambda: consumer.out().count('"message":"event"') == 6)
    assert consumer.stop() == 0
    lines = [line for line in consumer.out().splitlines() if '"message":"event"' in line]
    found = [json.loads(line) for line in lines]
    assert [each["description"] for each in found] == [each.description for each in old]
    assert set(found[0]) == {"time", "level", "from", "message", "id", "stream_id", "description", "timestamp"}
    assert found[1]["data"] == found[2]["cloudevent"]["data"] == json.loads(DATA)
    assert (found[1]["type"], found[1]["key"], found[1]["traceparent"]) == ("t", "k", TRACE)
    assert (found[3]["type"], found[3]["key"], found[3]["cloudevent"]["data_base64"]) == ("t", "k", "AMKA")
    assert (found[5]["type"], found[5]["data"]) == ("foreign", [1])


def test_events_of_a_key_keep_their_order_from_the_client_to_the_handler(services: Services, server: Server) -> None:
    """Whether the key is a member or the partition key of a CloudEvent; others overtake them."""
    port = start_producer(services, server)
    plain = [{"description": "x", "key": f"k{number % 5}", "data": {"number": number}} for number in range(100)]
    cloudevents = [
        {
            "specversion": "1.0",
            "id": f"{number}",
            "source": "/s",
            "type": "t",
            "partitionkey": f"k{number % 5}",
            "data": {"number": number},
        }
        for number in range(100, 200)
    ]
    batch = {"Content-Type": "application/cloudevents-batch+json"}
    assert post(port, json.dumps(plain), "/events").status == 200
    assert post(port, json.dumps(cloudevents), "/events", batch).status == 200
    consumer = start_consumer(services, server, "--concurrency=4", "--handler=tests.support.slow_handlers.take_turns")
    wait_until(lambda: len(turns(consumer)) == 200)
    assert consumer.stop() == 0
    order = turns(consumer)
    assert order != sorted(order, key=lambda turn: turn[1])
    for key in {key for key, _ in order}:
        numbers = [number for each, number in order if each == key]
        assert numbers == sorted(numbers)
        assert len(numbers) == 40


def turns(consumer: Service) -> list[Any]:
    """Return the key and number of each event that was handled, in that order."""
    return [json.loads(line["message"]) for line in consumer.lines() if line["from"] == "stdout"]


@pytest.mark.parametrize(("form", "plain", "full", "cloudevents"), [("cloudevents", 0, 0, 10), ("mixed", 5, 4, 1)])
def test_the_simulator_posts_each_formwait_untilith_a_token_to_the_stream_it_names(
    services: Services, server: Server, tmp_path: Path, form: str, plain: int, full: int, cloudevents: int
) -> None:
    """A second run with the same seed posts other CloudEvents: none is taken for one of the first."""
    rows, token = tmp_path / "tokens.toml", tmp_path / "token"
    token.write_text("evt_simulator\n")
    rows.write_text(f'[[token]]\nname = "simulator"\nsha256 = "{sha256(b"evt_simulator").hexdigest()}"\n')
    flags = (
        "--rest-server-port=0",
        f"--redis-port={server.port}",
        "--redis-streams=a&b",
        f"--rest-server-tokens={rows}",
    )
    port = services.start("eventsvc", "producer", *flags).port()
    for _ in range(2):
        simulator = services.start(
            *("eventsvc", "simulator", f"--event-producer-port={port}", "--event-producer-stream=a&b"),
            *(f"--form={form}", "--count=10", "--events-per-second=1000", "--seed=1"),
            environment={"EVENT_PRODUCER_TOKEN_FILE": str(token)},
        )
        assert simulator.process.wait(PATIENCE) == 0
        assert simulator.says("summary: 10 sent, 10 ok, 0 refused, 0 unknown, 0 dropped, 0 in flight")
        assert "evt_simulator" not in simulator.out() + simulator.err()
    with server.client() as client:
        events = [json.loads(fields[EVENT_FIELD]) for _, fields in client.xrange("a&b") if EVENT_FIELD in fields]
    assert sum("cloudevent" in event for event in events) == 2 * cloudevents
    assert sum("data" in event for event in events) == 2 * full
    assert sum("type" not in event for event in events) == 2 * plain
    assert len({event["key"] for event in events if "key" in event}) > 1
