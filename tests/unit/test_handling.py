"""
Consumers as processes, with handlers and outputs as they are: that exit, that
take their time, that nobody reads.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from select import select

import pytest

from chaos.process import stable_port
from chaos.suites import wait_until
from tests.support.processes import Server, Service, Services, get, post

STREAM = "NotificationStream"
GROUP = "demo_consumer_group"
DEAD = "{NotificationStream}:dead"
WRONG = "tests.support.wrong_handlers"


def add(server: Server, count: int) -> list[str]:
    """Put events into the stream; their descriptions."""
    texts = [f"event {number}" for number in range(count)]
    with server.client() as client:
        client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
        pipe = client.pipeline(transaction=False)
        for number, text in enumerate(texts):
            event = json.dumps({"id": number, "description": text, "timestamp": ""})
            pipe.xadd(STREAM, {"EventStream": event})
        pipe.execute()
    return texts


def pending(server: Server) -> int:
    """How many entries are read and not acknowledged."""
    with server.client() as client:
        return int(client.xpending(STREAM, GROUP)["pending"])


def unread(server: Server) -> int:
    """How many events no consumer was given."""
    with server.client() as client:
        [group] = client.xinfo_groups(STREAM)
        return int(client.xlen(STREAM)) - int(group["entries-read"] or 0)


def start_consumer(services: Services, server: Server, name: str, *flags: str, output: int | None = None) -> Service:
    return services.start(
        *("eventsvc", "consumer", f"--redis-port={server.port}", f"--redis-consumer={name}", *flags), output=output
    )


def handled(consumer: Service) -> list[str]:
    """What the default handler has written."""
    return [line["description"] for line in consumer.lines() if line["message"] == "event"]


# Handlers that end the process


@pytest.mark.parametrize("handler", ["exit_plainly", "exit_later", "exit_in_task"])
def test_a_handler_that_exits_ends_the_process_with_1_and_another_gets_its_event(
    services: Services, server: Server, handler: str
) -> None:
    texts = add(server, 3)
    consumer = start_consumer(services, server, "one", f"--handler={WRONG}.{handler}", "--redis-claim-idle=600")
    assert consumer.process.wait(30.0) == 1
    critical = [line["message"] for line in consumer.lines() if line["level"] == "critical"]
    assert any("the handler raised SystemExit: 0" in line for line in critical)
    other = start_consumer(services, server, "other", "--redis-claim-idle=600")
    wait_until(lambda: sorted(handled(other)) == texts)
    wait_until(lambda: pending(server) == 0)


# Handlers that take their time


def test_a_kill_repeats_little_of_what_a_plain_handler_has_done(services: Services, server: Server) -> None:
    """Ten milliseconds an event: what was handled in the last two slices or so."""
    add(server, 2_000)
    consumer = start_consumer(services, server, "one", f"--handler={WRONG}.take_10_ms")
    wait_until(lambda: consumer.err().count("\n") > 400)
    consumer.stop(signal.SIGKILL)
    done = consumer.err().count("\n")
    acknowledged = 2_000 - unread(server) - pending(server)
    assert acknowledged <= done <= acknowledged + 30


def test_a_probe_is_answered_between_two_events_of_a_plain_handler(services: Services, server: Server) -> None:
    """It does not wait for a whole page of events."""
    add(server, 2_000)
    port = stable_port()
    consumer = start_consumer(services, server, "one", f"--handler={WRONG}.take_10_ms", f"--admin-port={port}")
    wait_until(lambda: consumer.err().count("\n") > 930)
    before = consumer.err().count("\n")
    assert get(port, "/health/live")[0] == 200
    assert consumer.err().count("\n") - before <= 150


# Events that cannot be set aside


def test_on_a_full_server_a_poison_event_holds_up_nothing(services: Services, each_server: Server) -> None:
    with each_server.client() as client:
        client.xadd(STREAM, {"EventStream": "{"})
    texts = add(each_server, 20)
    port = stable_port()
    with each_server.client() as client:
        client.config_set("maxmemory", 1)
        consumer = start_consumer(services, each_server, "one", f"--admin-port={port}")
        wait_until(lambda: handled(consumer) == texts)
        wait_until(lambda: pending(each_server) == 1)
        wait_until(lambda: "eventsvc_waiting_to_be_set_aside 1.0" in get(port, "/metrics")[1])
        assert client.xlen(DEAD) == 0
        client.config_set("maxmemory", 0)
        wait_until(lambda: client.xlen(DEAD) == 1)
        wait_until(lambda: pending(each_server) == 0)
    told = [line["message"] for line in consumer.lines() if "cannot set entry" in line["message"]]
    assert len(told) == 1
    assert "OOM" in told[0] or "memory" in told[0]


@pytest.mark.parametrize("text", ["\ud800", "x" * 1_000 + "\ud800", "\x00", "é" * 10_000])
def test_any_error_text_can_be_set_aside(services: Services, server: Server, text: str, tmp_path: Path) -> None:
    """Half a surrogate pair is no UTF-8, and would be refused again and again."""
    add(server, 1)
    (tmp_path / "fails.py").write_text(f"def handle(event):\n    raise ValueError({text!r})\n")
    environment = {"PYTHONPATH": str(tmp_path)}
    flags = f"--redis-port={server.port}", "--handler=fails.handle", "--max-deliveries=1"
    services.start("eventsvc", "consumer", *flags, environment=environment)
    with server.client() as client:
        wait_until(lambda: client.xlen(DEAD) == 1)
        [(_, letter)] = client.xrange(DEAD)
    assert len(letter[b"error"]) <= 2_000
    assert letter[b"error"].decode().startswith("ValueError: ")


# Outputs that nobody reads


@contextmanager
def full_pipe() -> Iterator[tuple[int, int]]:
    """A pipe that takes no more; its reader and its writer."""
    reader, writer = os.pipe()
    try:
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(writer, False)
        while select([], [writer], [], 0)[1]:
            os.write(writer, b" " * 4095 + b"\n")
        os.set_blocking(writer, True)
        yield reader, writer
    finally:
        os.close(reader)
        os.close(writer)


def test_a_consumer_whose_output_nobody_reads_lives_and_stops_and_acknowledges_nothing(
    services: Services, server: Server
) -> None:
    texts = add(server, 300)
    port = stable_port()
    with full_pipe() as (_, writer):
        flags = f"--admin-port={port}", "--drain-timeout=0.5", "--redis-claim-idle=600"
        consumer = start_consumer(services, server, "one", *flags, output=writer)
        wait_until(lambda: get(port, "/health/ready")[0] == 200)
        wait_until(lambda: pending(server) > 0)
        assert get(port, "/health/live")[0] == 200
        assert "eventsvc_log_lines_dropped_total 0.0" in get(port, "/metrics")[1]
        assert consumer.stop() == 0
    assert unread(server) + pending(server) == 300
    other = start_consumer(services, server, "other", "--redis-claim-idle=600")
    wait_until(lambda: sorted(handled(other)) == sorted(texts))


def test_a_consumer_goes_on_once_its_output_is_read(services: Services, server: Server) -> None:
    texts = add(server, 300)
    with full_pipe() as (reader, writer):
        consumer = start_consumer(services, server, "one", output=writer)
        wait_until(lambda: pending(server) > 0)
        said = bytearray()
        os.set_blocking(reader, False)

        def read() -> bool:
            if select([reader], [], [], 0)[0]:
                said.extend(os.read(reader, 65_536))
            return unread(server) == pending(server) == 0

        wait_until(read)
        assert consumer.stop() == 0
        read()
    lines = [json.loads(line) for line in bytes(said).splitlines() if line.strip()]
    assert [line["description"] for line in lines if line["message"] == "event"] == texts


def test_a_producer_whose_output_nobody_reads_takes_events_and_stops(services: Services, server: Server) -> None:
    port = stable_port()
    with full_pipe() as (_, writer):
        producer = services.start(
            *("eventsvc", "producer", f"--redis-port={server.port}", f"--rest-server-port={port}"),
            output=writer,
        )
        wait_until(lambda: get(port, "/health/ready")[0] == 200)
        assert post(port, '{"description": "x"}').status == 200
        assert producer.stop() == 0


def test_on_a_full_disk_no_event_becomes_a_dead_letter(services: Services, server: Server) -> None:
    """C{/dev/full} is one: the line is held up until there is room again."""
    texts = add(server, 20)
    port = stable_port()
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        flags = f"--admin-port={port}", "--max-deliveries=1", "--drain-timeout=0.2", "--redis-claim-idle=600"
        consumer = start_consumer(services, server, "one", *flags, output=full)
        wait_until(lambda: pending(server) > 0)
        wait_until(lambda: get(port, "/health/live")[0] == 200)
        assert consumer.stop() == 0
    finally:
        os.close(full)
    with server.client() as client:
        assert client.xlen(DEAD) == 0
    other = start_consumer(services, server, "other", "--redis-claim-idle=600")
    wait_until(lambda: sorted(handled(other)) == sorted(texts))
