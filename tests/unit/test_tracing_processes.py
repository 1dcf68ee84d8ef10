"""
Producers and consumers as processes that are traced, and a collector that is
there, away, slow or hangs.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from chaos.process import stable_port
from chaos.suites import wait_until
from eventsvc.telemetry.span_export import FAREWELL
from tests.support.collector import Collector, collecting
from tests.support.processes import Server, Service, Services, get, post
from tests.support.spans import TRACE, traceparent
from tests.unit.test_handling import STREAM, add, pending, unread

HANDLERS = "tests.support.traced_handlers"
#: Seconds that an exit may take in addition to what is said of it: the machine may be busy.
SLACK = 5.0


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


def start_producer(services: Services, server: Server, collector: Collector, **more: str) -> Service:
    producer = services.start(
        *("eventsvc", "producer", "--rest-server-port=0", f"--redis-port={server.port}"),
        environment={**collector.environment, **more},
    )
    wait_until(lambda: producer.says("connected to Redis"))
    return producer


def start_consumer(services: Services, server: Server, collector: Collector, *flags: str, **more: str) -> Service:
    return services.start(
        *("eventsvc", "consumer", f"--redis-port={server.port}", *flags),
        environment={**collector.environment, **more},
    )


def is_done(server: Server) -> bool:
    """Whether there are events, and all are handled."""
    with server.client() as client:
        return bool(client.exists(STREAM) and client.xinfo_groups(STREAM)) and unread(server) == pending(server) == 0


def seconds_to_stop(service: Service) -> float:
    """Stop a service, and check that it ends well."""
    began = time.monotonic()
    assert service.stop() == 0
    return time.monotonic() - began


def test_a_trace_goes_from_the_client_to_the_spans_of_a_handler(
    services: Services, server: Server, collector: Collector
) -> None:
    producer = start_producer(services, server, collector)
    context = traceparent(0xABC)
    assert post(producer.port(), '{"description": "a"}', headers={"traceparent": context}).status == 200
    start_consumer(services, server, collector, f"--handler={HANDLERS}.coroutine")
    wait_until(lambda: len(collector.came) == 3)
    [send], [process], [query] = [collector.named(name) for name in (f"send {STREAM}", f"process {STREAM}", "query")]
    assert [each.service for each in (send, process, query)] == [
        "eventsvc-producer",
        "eventsvc-consumer",
        "eventsvc-consumer",
    ]
    link = f"{TRACE}-{0xABC:016x}"
    assert (send.links, process.links) == ([link], [link])
    assert (process.trace, query.trace) == (TRACE, TRACE)
    assert process.span.parent_span_id == (0xABC).to_bytes(8)
    assert query.span.parent_span_id == process.span.span_id


def test_all_roles_in_one_process_are_traced(services: Services, collector: Collector) -> None:
    flags = ("--rest-server-port=0", "--dashboard-port=0", "--count=1")
    started = services.start("eventsvc", "dev", *flags, environment=collector.environment)
    assert started.process.wait(60.0) == 0
    assert {each.span.name for each in collector.came} == {f"send {STREAM}", f"process {STREAM}"}
    assert {each.service for each in collector.came} == {"eventsvc-dev"}


@pytest.mark.parametrize("handler", ["plain", "coroutine", "on_asyncio", "threads"])
def test_the_spans_of_each_event_are_in_its_own_trace(
    handler: str, services: Services, server: Server, collector: Collector
) -> None:
    add(server, 50)
    flags = (
        [f"--handler={HANDLERS}.plain", "--threads=3"] if handler == "threads" else [f"--handler={HANDLERS}.{handler}"]
    )
    start_consumer(services, server, collector, *flags, *([] if handler == "threads" else ["--concurrency=5"]))
    times = 2 if handler == "on_asyncio" else 1
    wait_until(lambda: len(collector.came) == 50 + 50 * times)
    processes, queries = collector.named(f"process {STREAM}"), collector.named("query")
    assert len({each.trace for each in processes}) == 50
    assert sorted(each.span.parent_span_id for each in queries) == sorted(
        [each.span.span_id for each in processes] * times
    )
    wait_until(lambda: is_done(server))


def test_a_failed_delivery_is_a_failed_span(services: Services, server: Server, collector: Collector) -> None:
    add(server, 1)
    start_consumer(services, server, collector, f"--handler={HANDLERS}.fail", "--max-deliveries=1")
    wait_until(lambda: len(collector.came) == 1)
    [came] = collector.came
    assert (came.span.status.code, came.span.status.message) == (2, "no such table")


def test_the_last_spans_are_sent_at_the_end(services: Services, server: Server, collector: Collector) -> None:
    add(server, 1_500)
    consumer = start_consumer(
        services, server, collector, f"--handler={HANDLERS}.ignore", OTEL_BSP_SCHEDULE_DELAY="3600000"
    )
    wait_until(lambda: is_done(server) and len(collector.came) >= 1_024)  # these go by themselves
    assert consumer.stop() == 0
    assert len(collector.came) == 1_500
    assert "spans" not in consumer.out()


def test_the_environment_names_the_service(services: Services, server: Server, collector: Collector) -> None:
    add(server, 1)
    start_consumer(services, server, collector, OTEL_SERVICE_NAME="shop")
    wait_until(lambda: len(collector.came) == 1)
    assert collector.came[0].service == "shop"


# A collector that is not well


def test_without_a_collector_events_are_handled_and_the_process_exits_at_once(
    services: Services, server: Server
) -> None:
    collector = Collector(port=stable_port())
    add(server, 300)
    admin = stable_port()
    flags = f"--admin-port={admin}", f"--handler={HANDLERS}.ignore"
    consumer = start_consumer(services, server, collector, *flags, OTEL_EXPORTER_OTLP_TIMEOUT="2")
    wait_until(lambda: is_done(server) and consumer.says("spans cannot be exported, and are lost: "))
    assert consumer.says("Connection refused")
    wait_until(lambda: "eventsvc_spans_lost_total 0.0" not in get(admin, "/metrics")[1])
    add_more(server, 300)
    wait_until(lambda: "eventsvc_spans_lost_total 600.0" in get(admin, "/metrics")[1])
    assert seconds_to_stop(consumer) < FAREWELL + SLACK
    assert consumer.out().count("spans cannot be exported") == 1


def add_more(server: Server, count: int) -> None:
    with server.client() as client:
        for _ in range(count):
            client.xadd(STREAM, {"EventStream": '{"id": 1, "description": "x", "timestamp": ""}'})


@pytest.mark.parametrize("react", ["hang", "slow", "fail"])
def test_a_collector_that_is_not_well_does_not_keep_a_process(
    react: str, services: Services, server: Server, collector: Collector
) -> None:
    def slow() -> int:
        collector.released.wait(1.0)
        return 200

    reactions: dict[str, Callable[[], int]] = {"hang": collector.hang, "slow": slow, "fail": lambda: 503}
    collector.react = reactions[react]
    producer = start_producer(services, server, collector)
    consumer = start_consumer(services, server, collector, f"--handler={HANDLERS}.ignore")
    for number in range(20):
        assert post(producer.port(), f'{{"description": "{number}"}}').status == 200
    wait_until(lambda: is_done(server) and collector.requests >= 2)
    assert seconds_to_stop(producer) < FAREWELL + SLACK
    assert seconds_to_stop(consumer) < FAREWELL + SLACK
    if react == "hang":
        assert consumer.says("20 spans are lost: the collector did not take them before the process ended")


def test_spans_beyond_the_queue_are_lost_and_told_once(
    services: Services, server: Server, collector: Collector
) -> None:
    collector.react = collector.hang
    add(server, 2_000)
    consumer = start_consumer(
        services,
        server,
        collector,
        f"--handler={HANDLERS}.ignore",
        OTEL_BSP_MAX_QUEUE_SIZE="100",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10",
    )
    wait_until(lambda: is_done(server) and consumer.says("spans are lost: 100 wait for the collector already"))
    assert seconds_to_stop(consumer) < FAREWELL + SLACK
    assert consumer.out().count("spans are lost") == 2  # that, and what was left at the end


# The settings


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"TRACING": "jaeger"}, "TRACING='jaeger': expected off or otlp"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL='grpc': expected http/protobuf"),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "many"}, "OTEL_BSP_MAX_QUEUE_SIZE='many': expected a whole number"),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "1"}, "max_export_batch_size must be less than or equal to max_queue_size"),
        ({"OTEL_SPAN_LINK_COUNT_LIMIT": "few"}, "TRACING=otlp: OpenTelemetry cannot use its OTEL_ variables: "),
    ],
)
@pytest.mark.parametrize("role", ["producer", "consumer"])
def test_a_wrong_setting_is_told_at_the_start(
    role: str, environment: dict[str, str], said: str, services: Services
) -> None:
    service = services.start("eventsvc", role, environment={"TRACING": "otlp", **environment})
    assert service.process.wait(30.0) == 2
    assert said in service.err()
    assert "Traceback" not in service.err() + service.out()


_WITHOUT = """
import sys
sys.modules["opentelemetry"] = None
from twisted.scripts.twistd import run
sys.argv = ["twistd", "-n", "eventsvc", {role!r}, "--tracing=otlp"]
run()
"""


@pytest.mark.parametrize("role", ["producer", "consumer"])
def test_without_the_library_the_remedy_is_told(role: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _WITHOUT.format(role=role)], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 2
    assert "install eventsvc with its extra [otel], or run `pip install 'opentelemetry-sdk >= " in ended.stderr


_OFF = """
import sys
from twisted.internet import reactor
from twisted.python.usage import Options
from eventsvc.tap import {role}
options = {role}.Options()
options.parseOptions(["--redis-port=1"])
{role}.makeService(options)
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""


@pytest.mark.parametrize("role", ["producer", "consumer"])
def test_nothing_of_it_is_imported_if_it_is_off(role: str) -> None:
    ended = subprocess.run([sys.executable, "-c", _OFF.format(role=role)], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
