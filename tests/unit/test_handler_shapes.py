"""
Consumers as processes, with a handler in each shape that C{CONSUMER_HANDLER} may name.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from chaos.process import stable_port
from chaos.suites import wait_until
from tests.support.processes import Server, Service, Services, get
from tests.unit.test_handling import DEAD, STREAM, add, pending, start_consumer, unread

SHAPES = "tests.support.handler_shapes"


def start(services: Services, server: Server, name: str, *flags: str, **environment: str) -> Service:
    return services.start(
        *("eventsvc", "consumer", f"--redis-port={server.port}", f"--handler={SHAPES}.{name}", *flags),
        environment=environment,
    )


def told(consumer: Service) -> list[dict[str, Any]]:
    """What the handler has told so far; an error if the process has ended."""
    consumer.says("")
    lines = [line for line in consumer.err().splitlines(keepends=True) if line.startswith("{") and line.endswith("}\n")]
    return [json.loads(line) for line in lines]


def handled(consumer: Service) -> list[str]:
    return [line["handled"] for line in told(consumer) if "handled" in line]


@pytest.mark.parametrize(
    ("name", "environment", "expected"),
    [
        ("function", {}, {}),
        ("coroutine", {}, {}),
        ("deferred", {}, {}),
        ("on_asyncio", {}, {}),
        ("unmarked_asyncio", {"REACTOR": "asyncio"}, {}),
        ("function", {"REACTOR": "asyncio"}, {}),
        ("instance", {}, {}),
        ("made", {}, {}),
        ("Greeter", {"GREETER_WORDS": "hi", "GREETER_TIMES": "2"}, {"greeting": "hihi"}),
        ("FromEnvironment", {"GREETER_WORDS": "hi"}, {"greeting": "hi"}),
    ],
)
def test_each_shape_is_called_for_each_event(
    services: Services, server: Server, name: str, environment: Mapping[str, str], expected: Mapping[str, str]
) -> None:
    texts = add(server, 20)
    consumer = start(services, server, name, **environment)
    wait_until(lambda: len(handled(consumer)) == 20)
    wait_until(lambda: pending(server) == 0)
    assert told(consumer) == [{"handled": text, "deliveries": 1, **expected} for text in texts]
    assert consumer.stop() == 0


@pytest.mark.parametrize("name", ["AsyncioPool", "callable_with_pool"])
def test_an_object_is_started_and_stopped_once(services: Services, server: Server, name: str) -> None:
    add(server, 3)
    consumer = start(services, server, name)
    wait_until(lambda: len(handled(consumer)) == 3)
    wait_until(lambda: pending(server) == 0)
    assert consumer.stop() == 0
    assert [line["said"] for line in told(consumer) if "said" in line] == ["started", "stopped"]
    assert told(consumer)[0] == {"said": "started"}


def test_batches_are_as_large_as_they_may_be(services: Services, server: Server) -> None:
    texts = add(server, 200)
    consumer = start(services, server, "Batches")
    wait_until(lambda: len(handled(consumer)) == 200)
    assert handled(consumer) == texts
    assert max(line["batch"] for line in told(consumer)) == 4
    wait_until(lambda: pending(server) == 0)


def test_what_blocks_runs_in_threads_and_events_are_acknowledged_as_they_finish(
    services: Services, server: Server
) -> None:
    """Four at a time, those of one key in their order, and the probes are answered."""
    with server.client() as client:
        client.xgroup_create(STREAM, "demo_consumer_group", "0", mkstream=True)
        for number in range(40):
            event = {"id": number, "description": f"event {number}", "timestamp": "", "key": f"k{number % 5}"}
            client.xadd(STREAM, {"EventStream": json.dumps(event)})
    port, needed = stable_port(), services.directory / "needed"
    consumer = start(services, server, "block", "--threads=4", f"--admin-port={port}", NEEDED_FILE=str(needed))
    wait_until(lambda: told(consumer).count({"said": "blocks"}) == 4)
    wait_until(lambda: pending(server) + unread(server) == 40 - len(handled(consumer)) < 20)
    assert get(port, "/health/live")[0] == 200
    needed.write_text("")
    wait_until(lambda: len(handled(consumer)) == 40 and pending(server) == 0)
    lines = [line for line in told(consumer) if "handled" in line]
    assert all(line["thread"] for line in lines)
    for key in range(5):
        numbers = [int(line["handled"].split()[1]) for line in lines if line["key"] == f"k{key}"]
        assert numbers == sorted(numbers)
    assert consumer.stop() == 0


@pytest.mark.parametrize("name", ["hang", "hang_on_asyncio"])
def test_a_handler_that_hangs_costs_its_event_and_no_other(services: Services, server: Server, name: str) -> None:
    add(server, 4)
    port = stable_port()
    flags = "--handler-timeout=0.2", "--max-deliveries=2", f"--admin-port={port}"
    consumer = start(services, server, name, *flags)
    wait_until(lambda: pending(server) == 0 and len(handled(consumer)) == 3)
    with server.client() as client:
        [[_, letter]] = client.xrange(DEAD)
    assert letter[b"error"] == b"HandlerTimeout: the handler took longer than 0.2 s"
    figures = get(port, "/metrics")[1]
    assert "eventsvc_handler_timeouts_total 2.0" in figures
    assert "eventsvc_handler_failing 0.0" in figures


def test_a_handler_says_what_is_to_be_done(services: Services, server: Server) -> None:
    add(server, 4)
    consumer = start(services, server, "choosy", "--max-deliveries=2")
    wait_until(lambda: len(handled(consumer)) == 3)
    wait_until(lambda: pending(server) == 0)
    assert [(line["handled"], line["seen"]) for line in told(consumer)] == [
        ("event 0", 1),
        ("event 2", 8),
        ("event 3", 1),
    ]
    with server.client() as client:
        [[_, letter]] = client.xrange(DEAD)
    assert (letter[b"reason"], letter[b"error"]) == (b"rejected", b"never this one")


def test_an_outage_pauses_the_consumer_which_stays_ready_and_alarms(services: Services, server: Server) -> None:
    add(server, 30)
    port = stable_port()
    needed = services.directory / "needed"
    consumer = start(services, server, "while_there_is_a_file", f"--admin-port={port}", NEEDED_FILE=str(needed))
    wait_until(lambda: "eventsvc_handler_failing 1.0" in get(port, "/metrics")[1])
    wait_until(lambda: consumer.says('"alarm":"handler_failing"'))
    [alarm] = [line for line in consumer.lines() if line.get("alarm") == "handler_failing"]
    assert alarm["level"] == "critical"
    assert get(port, "/health/ready")[0] == get(port, "/health/live")[0] == 200
    with server.client() as client:
        letters = client.xlen(DEAD)
    assert letters <= 2
    needed.write_text("")
    wait_until(lambda: len(handled(consumer)) == 30 - letters)
    assert "eventsvc_handler_failing 0.0" in get(port, "/metrics")[1]


def test_a_handler_that_cannot_start_ends_the_process(services: Services, server: Server) -> None:
    consumer = start(services, server, "CannotStart")
    assert consumer.process.wait(30.0) == 1
    assert "the handler cannot start: no database" in [line["message"] for line in consumer.lines()]


@pytest.mark.parametrize(
    ("name", "flags", "words"),
    [
        ("Broken", [], f"--handler: '{SHAPES}.Broken' cannot be made: OSError: no such table: expected log"),
        ("NoBatch", [], "--handler: batch_size of the handler is 0, and should be a whole number from 1: expected log"),
        ("Greeter", ["GREETER_TIMES=no"], "GREETER_TIMES='no': expected a whole number from 1"),
        ("coroutine", ["CONSUMER_THREADS=2"], "CONSUMER_THREADS=2: 'tests.support.handler_shapes.coroutine' is async"),
    ],
)
def test_what_cannot_be_made_is_told_at_the_start(services: Services, name: str, flags: list[str], words: str) -> None:
    environment = dict(flag.split("=") for flag in flags)
    consumer = services.start("eventsvc", "consumer", f"--handler={SHAPES}.{name}", environment=environment)
    assert consumer.process.wait(30.0) == 2
    assert consumer.err().startswith(f"eventsvc: {words}")


def test_a_handler_that_needs_asyncio_is_told_if_another_reactor_is_there(services: Services, server: Server) -> None:
    consumer = services.start("--reactor=poll", "eventsvc", "consumer", f"--handler={SHAPES}.on_asyncio")
    assert consumer.process.wait(30.0) == 2
    assert "needs asyncio's reactor, but another is there already" in consumer.err()
    again = services.start(
        *("--reactor=asyncio", "eventsvc", "consumer", f"--redis-port={server.port}", f"--handler={SHAPES}.on_asyncio")
    )
    add(server, 1)
    wait_until(lambda: handled(again) == ["event 0"])


def test_options_leave_the_choice_of_the_reactor_open() -> None:
    """Whoever imports it first has chosen; none of these may."""
    modules = "eventsvc.tap", "eventsvc.tap.consumer", "eventsvc.tap.dev", "eventsvc.handlers", "eventsvc.testing"
    program = f"import sys, {', '.join(modules)}; print('twisted.internet.reactor' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"False\n"


def test_the_default_handler_runs_on_asyncio_too(services: Services, server: Server) -> None:
    add(server, 50)
    consumer = start_consumer(services, server, "one", "--reactor=asyncio")
    wait_until(lambda: len([line for line in consumer.lines() if line["message"] == "event"]) == 50)
    wait_until(lambda: pending(server) == 0)
    assert consumer.stop() == 0
