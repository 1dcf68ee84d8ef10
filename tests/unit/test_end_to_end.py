"""
End-to-end tests with real parts: server, producer, consumer and clients, each a
process or an independent client.
"""

from __future__ import annotations

import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from chaos.suites import wait_until
from eventsvc.event import EVENT_FIELD, Notification, decode_notification
from tests.support.processes import Server, Service, Services, post, running_server
from tests.support.traffic import Traffic, handled

STREAM = "NotificationStream"
GROUP = "demo_consumer_group"


def start_producer(services: Services, server: Server) -> Service:
    return services.start("eventsvc", "producer", "--rest-server-port=0", f"--redis-port={server.port}")


def start_consumer(services: Services, server: Server, *flags: str, **more: Any) -> Service:
    return services.start("consumer", f"--redis-port={server.port}", *flags, **more)


def read_stream(server: Server) -> list[Notification]:
    """Return the events in the stream, read by an independent client."""
    with server.client() as client:
        entries = client.xrange(STREAM)
    return [decode_notification(fields[EVENT_FIELD]) for _, fields in entries if EVENT_FIELD in fields]


def test_1000_events_come_through(services: Services, server: Server) -> None:
    """Of 1,000 posted events, each is in the stream once, and the consumer handles each once."""
    producer = start_producer(services, server)
    consumer = start_consumer(services, server)
    traffic = Traffic(producer.port())
    with traffic.running(4, lambda number: number == 250 or traffic.failed()):
        pass
    stored = read_stream(server)
    assert len(traffic.ok) == len(stored) == 1_000
    assert {event.description: event.id for event in stored} == traffic.ok
    wait_until(lambda: len(handled(consumer)) >= 1_000)
    assert [service.stop() for service in (producer, consumer)] == [0, 0]
    assert handled(consumer) == [event.id for event in stored]


def test_the_simulator_counts_what_is_stored(services: Services, server: Server) -> None:
    """The consumer handles as many events as the simulator counts as ok."""
    producer = start_producer(services, server)
    consumer = start_consumer(services, server)
    simulator = services.start(
        *("eventsvc", "simulator", f"--event-producer-port={producer.port()}"),
        *("--count=200", "--events-per-second=400", "--seed=1"),
    )
    assert simulator.process.wait(30.0) == 0
    assert simulator.says("summary: 200 sent, 200 ok, 0 refused, 0 unknown, 0 dropped, 0 in flight")
    wait_until(lambda: len(handled(consumer)) >= 200)
    assert Counter(handled(consumer)) == Counter(event.id for event in read_stream(server))


def test_a_server_that_is_killed_costs_no_event(services: Services, tmp_path: Path) -> None:
    """
    A server that writes through is killed and comes back under load: each 200
    before, meanwhile and after is in the stream exactly once and is handled;
    refused events are not.
    """
    with running_server("--dir", str(tmp_path), "--appendonly", "yes", "--appendfsync", "always") as server:
        producer = start_producer(services, server)
        consumer = start_consumer(services, server)
        traffic = Traffic(producer.port())
        enough = False
        with traffic.running(4, lambda _: enough) as clients:
            try:
                wait_until(lambda: len(traffic.ok) > 200)
                server.end(signal.SIGKILL)
                server.start()
                target = len(traffic.ok) + 200
                wait_until(lambda: len(traffic.ok) > target)
            finally:
                enough = True
        assert [client.result() for client in clients] == [None] * 4
        stored = read_stream(server)
        times = Counter(event.description for event in stored)
        assert {description for description, number in times.items() if number > 1} == set()
        ids = {event.description: event.id for event in stored}
        assert {description: ids.get(description) for description in traffic.ok} == traffic.ok
        assert not traffic.refused & ids.keys()
        assert ids.keys() <= traffic.ok.keys() | traffic.unknown
        wait_until(lambda: {event.id for event in stored} <= set(handled(consumer)))
        assert [service.stop() for service in (producer, consumer)] == [0, 0]


def test_a_plain_xadd_is_consumed(services: Services, server: Server) -> None:
    """A foreign producer writes to the stream, and our consumer handles and acknowledges it."""
    consumer = start_consumer(services, server)
    event = '{"id":4613732495722164,"description":"hello world","timestamp":"2025-02-25T22:06:25.478310425Z"}'
    with server.client() as client:
        stream_id = client.xadd(STREAM, {"EventStream": event}).decode()
        wait_until(lambda: consumer.says('"message":"event"'))
        wait_until(lambda: client.xpending(STREAM, GROUP)["pending"] == 0)
    (line,) = [line for line in consumer.lines() if line["message"] == "event"]
    assert (line["id"], line["stream_id"]) == (4613732495722164, stream_id)
    assert (line["description"], line["timestamp"]) == ("hello world", "2025-02-25T22:06:25.478310425Z")


def test_a_foreign_consumer_gets_our_events(services: Services, server: Server) -> None:
    """A foreign client reads the stream in a group of its own: the marker, then our events."""
    producer = start_producer(services, server)
    id = post(producer.port(), '{"description": "héllo"}').headers["Event-Id"]
    with server.client() as client:
        client.xgroup_create(STREAM, "others", "0")
        ((_, entries),) = client.xreadgroup("others", "someone", {STREAM: ">"})
        (_, marker), (stream_id, fields) = entries
        assert marker == {b"CreateStream": b"stream created"}
        assert list(fields) == [b"EventStream"]
        assert fields[b"EventStream"].decode().startswith(f'{{"id":{id},"description":"héllo","timestamp":"2')
        assert client.xack(STREAM, "others", stream_id) == 1


def test_the_body_of_a_form_is_json_all_the_same(services: Services, server: Server) -> None:
    """C{curl --data} and other clients that send a form type are answered 200."""
    producer = start_producer(services, server)
    with urlopen(f"http://127.0.0.1:{producer.port()}/event", b'{"description": "hello"}', timeout=30.0) as response:
        assert (response.status, response.read()) == (200, b"")
        assert int(response.headers["Event-Id"]) in [event.id for event in read_stream(server)]


HANDLERS = """
from pathlib import Path
from twisted.internet import reactor
from twisted.internet.task import deferLater

def note(event):
    with Path("seen").open("a") as file:
        print(event.description, file=file)

async def note_later(event):
    await deferLater(reactor, 0.01)
    note(event)
"""


@pytest.mark.parametrize("name", ["note", "note_later"])
def test_a_handler_of_ones_own(services: Services, server: Server, tmp_path: Path, name: str) -> None:
    """The function or coroutine function of a dotted name gets each event in order."""
    (tmp_path / "own_handlers.py").write_text(HANDLERS)
    seen = tmp_path / "seen"
    seen.touch()
    events = [json.dumps({"id": number, "description": f"{number}", "timestamp": ""}) for number in range(20)]
    start_consumer(services, server, f"--handler=own_handlers.{name}", environment={"PYTHONPATH": str(tmp_path)})
    with server.client() as client:
        for event in events:
            client.xadd(STREAM, {"EventStream": event})
        wait_until(lambda: len(seen.read_text().splitlines()) == 20)
        wait_until(lambda: client.xpending(STREAM, GROUP)["pending"] == 0)
    assert seen.read_text().split() == [f"{number}" for number in range(20)]
