"""
Tests for L{eventsvc.telemetry.span_export}: what is lost is counted and said
once, and nobody waits for an exporter.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Tracer
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent

from chaos.suites import wait_until
from eventsvc.settings.reading import InvalidSettings
from eventsvc.telemetry.span_export import SdkLog, SpanAccount, SpanExport, export_with, make_export


@attrs.define(eq=False)
class Exporter(SpanExporter):
    """
    An exporter that does as it is told.

    @ivar react: called in the exporting thread; returns whether it succeeds.
    """

    react: Callable[[], bool] = lambda: True
    exported: list[str] = attrs.field(factory=list)
    stopped: threading.Event = attrs.field(factory=threading.Event)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if not self.react():
            return SpanExportResult.FAILURE
        self.exported += [span.name for span in spans]
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.stopped.set()


@attrs.define(eq=False)
class World:
    """The export of a process, whose reactor is the test."""

    exporter: Exporter
    clock: Clock = attrs.field(factory=Clock)
    log: SdkLog = attrs.field(factory=SdkLog)
    calls: list[Callable[[], object]] = attrs.field(factory=list)
    export: SpanExport = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        environment = {"OTEL_BSP_MAX_QUEUE_SIZE": "600"}
        call = lambda function, *arguments: self.calls.append(lambda: function(*arguments))  # noqa: E731
        self.export = export_with(self.exporter, "test", environment, self.log, self.clock, call)
        self.export.startService()

    @property
    def tracer(self) -> Tracer:
        return self.export.tracer

    @property
    def account(self) -> SpanAccount:
        return self.export.account

    def make(self, count: int = 1) -> None:
        for number in range(count):
            self.tracer.start_span(f"{number}").end()

    def flush(self) -> None:
        self.export.provider.force_flush()

    def stop(self) -> None:
        """Stop it, as the reactor would, once the exporter has finished."""
        stopped = self.export.stopService()
        wait_until(lambda: bool(self.calls))
        for call in self.calls:
            call()
        assert stopped.called


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Is set when the test ends."""
    event = threading.Event()
    yield event
    event.set()


def texts(logs: Sequence[Any], level: Any = LogLevel.warn) -> list[str]:
    return [formatEvent(log) for log in logs if log["log_level"] is level]


def test_what_waits_is_exported_at_the_end() -> None:
    world = World(Exporter())
    world.make(100)
    with capturedLogs() as logs:
        world.stop()
    assert len(world.exporter.exported) == 100
    assert (world.account.waiting, world.account.lost, list(logs)) == (0, 0, [])


def test_an_exporter_that_hangs_holds_up_nothing(release: threading.Event) -> None:
    world = World(Exporter(lambda: release.wait(60.0)))
    world.make(550)
    with capturedLogs() as logs:
        stopped = world.export.stopService()
        ended: list[object] = []
        stopped.addBoth(ended.append)
        world.clock.advance(1.9)
        assert ended == []
        world.clock.advance(0.2)
        assert ended == [None]
    assert texts(logs) == ["550 spans are lost: the collector did not take them before the process ended"]
    assert world.account.lost == 550


def test_what_is_exported_after_the_end_is_not_counted_twice(release: threading.Event) -> None:
    world = World(Exporter(lambda: release.wait(60.0)))
    world.make(10)
    world.export.stopService()
    world.clock.advance(3.0)
    release.set()
    wait_until(lambda: len(world.exporter.exported) == 10)
    wait_until(world.exporter.stopped.is_set)
    assert (world.account.waiting, world.account.lost) == (0, 10)


def test_an_exporter_that_fails_is_told_at_once_to_stop() -> None:
    """It waits before its next attempt, and would do so at the end too."""
    world = World(Exporter(lambda: False))
    world.make()
    world.flush()
    told: list[bool] = []

    def note() -> bool:
        told.append(world.exporter.stopped.is_set())
        return True

    world.exporter.react = note
    world.make()
    world.stop()
    assert told == [True]
    assert (world.exporter.exported, world.account.lost) == (["0"], 1)


def test_a_failure_is_logged_once_and_so_is_its_end() -> None:
    world = World(Exporter(lambda: False))
    with capturedLogs() as logs:
        for _ in range(5):
            world.make(3)
            world.flush()
        assert texts(logs) == ["spans cannot be exported, and are lost: no reason is known"]
        assert (world.account.lost, world.account.waiting) == (15, 0)
        world.exporter.react = lambda: True
        for _ in range(5):
            world.make(3)
            world.flush()
    assert texts(logs, LogLevel.info) == ["spans are exported again; 15 are lost"]
    assert len(texts(logs)) == 1
    world.stop()


def test_an_exporter_that_raises_has_failed() -> None:
    def fail() -> bool:
        raise ValueError("no encoding")

    world = World(Exporter(fail))
    with capturedLogs() as logs:
        world.make()
        world.flush()
    assert texts(logs) == ["spans cannot be exported, and are lost: ValueError: no encoding"]
    assert world.account.lost == 1
    world.stop()


def test_what_the_library_says_of_a_failure_is_its_reason() -> None:
    logger = logging.getLogger("opentelemetry.exporter.test")
    outcomes = iter(["refused", "", "no such host"])

    def react() -> bool:
        problem = next(outcomes)
        for attempt in range(5 if problem else 0):
            logger.warning("%s, attempt %s", problem, attempt)
        return not problem

    world = World(Exporter(react))
    logger.addHandler(world.log)
    try:
        with capturedLogs() as logs:
            for _ in range(3):
                world.make()
                world.flush()
    finally:
        logger.removeHandler(world.log)
    assert texts(logs) == [
        "spans cannot be exported, and are lost: refused, attempt 0; refused, attempt 4",
        "spans cannot be exported, and are lost: no such host, attempt 0; no such host, attempt 4",
    ]
    world.stop()


def test_spans_beyond_the_queue_are_lost_and_said_once(release: threading.Event) -> None:
    world = World(Exporter(lambda: release.wait(60.0)))
    with capturedLogs() as logs:
        world.make(1_000)
        world.make(1_000)
    [said] = texts(logs)
    assert said.startswith("spans are lost: 600 wait for the collector already; ")
    assert (world.account.waiting, world.account.lost) == (600, 1_400)
    release.set()
    world.stop()
    assert len(world.exporter.exported) == 600


def test_spans_from_many_threads_are_all_counted(release: threading.Event) -> None:
    world = World(Exporter(lambda: release.wait(60.0)))
    threads = [threading.Thread(target=world.make, args=(500,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    assert world.account.waiting + world.account.lost == 4_000
    release.set()
    world.stop()
    assert len(world.exporter.exported) + world.account.lost == 4_000


def test_spans_that_are_made_after_the_end_do_no_harm() -> None:
    world = World(Exporter())
    world.stop()
    world.make()
    assert world.exporter.exported == []


@pytest.mark.parametrize("size", ["", "x", "-1", "0", "1.5", "²"])
def test_a_wrong_size_of_the_queue_is_told(size: str) -> None:
    with pytest.raises(InvalidSettings, match="OTEL_ variables"):
        make_export("test", {"OTEL_BSP_MAX_QUEUE_SIZE": size}, Clock(), lambda *_: None)
