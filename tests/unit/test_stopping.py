"""
Tests for L{eventsvc.tap.process}: how a process stops, and that it ends.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

import attrs
import pytest
from twisted.application.service import Service as Part
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock

from chaos.suites import wait_until
from eventsvc.settings import LogSettings
from eventsvc.tap.process import Process
from eventsvc.telemetry.logs import make_log
from tests.support.processes import Server, Services

STREAM = "NotificationStream"


@attrs.define(eq=False, slots=False)
class Child(Part):
    """A service that records its stop; C{answer} is what its stop returns or raises."""

    number: int
    told: list[int]
    answer: BaseException | Deferred[None] | None = None

    def stopService(self) -> Deferred[None] | None:
        super().stopService()
        self.told.append(self.number)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def make_process(*answers: BaseException | Deferred[None] | None) -> tuple[Process, list[int]]:
    """Return a process, and its children in the order of their stops."""
    told: list[int] = []
    process = Process(Clock(), make_log(LogSettings()))
    for number, answer in enumerate(answers):
        Child(number, told, answer).setServiceParent(process)
    return process, told


@pytest.mark.parametrize("error", [RuntimeError("no"), SystemExit(3), KeyboardInterrupt()])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_child_that_cannot_stop_does_not_keep_the_others_from_stopping(error: BaseException, at_once: bool) -> None:
    """If it raises or its Deferred fails, the others still stop."""
    process, told = make_process(None, error if at_once else fail(error), None)
    stopped: list[None] = []
    process.stopService().addCallback(stopped.append)
    assert told == [2, 1, 0]
    assert stopped == [None]


def test_children_stop_one_after_the_other() -> None:
    """Each stops after the one that started after it; the process stops with the last."""
    waiting: list[Deferred[None]] = [Deferred() for _ in range(3)]
    process, told = make_process(*waiting)
    stopped: list[None] = []
    process.stopService().addCallback(stopped.append)
    for number in (2, 1, 0):
        assert (told[-1], stopped) == (number, [])
        waiting[number].callback(None)
    assert (told, stopped) == ([2, 1, 0], [None])


class Reactor(Clock):
    """A fake running reactor, as far as a process needs it to end."""

    stops = 0

    def callWhenRunning(self, call: Callable[[], object]) -> None:
        call()

    def stop(self) -> None:
        self.stops += 1


def end_with(code: object) -> Callable[[], object]:
    """Return a callable that ends the process."""
    return lambda: sys.exit(code)  # type: ignore[arg-type]


@pytest.mark.parametrize("finishing", [True, False])
def test_what_watches_over_the_end_does_not_hold_it_up(monkeypatch: pytest.MonkeyPatch, finishing: bool) -> None:
    """The watch is only for a process that ends, not for services stopped by others."""
    monkeypatch.setattr("eventsvc.tap.process._PATIENCE", 3_600.0)
    process = Process(Reactor(), make_log(LogSettings()))
    before = set(threading.enumerate())
    if finishing:
        process.finish()
    process.stopService()
    timers = [thread for thread in threading.enumerate() if thread not in before]
    for timer in timers:
        cast(threading.Timer, timer).cancel()
    assert [timer.daemon for timer in timers] == [True] * finishing


@pytest.mark.parametrize(
    ("start", "code"),
    [(end_with(2), 2), (end_with(1), 1), (end_with("words"), 1), (lambda: 1 // 0, 1)],
)
def test_what_cannot_start_later_ends_the_process_as_at_its_start(start: Callable[[], object], code: int) -> None:
    """The exit status is its own code, or 1."""
    process = Process(reactor := Reactor(), make_log(LogSettings()))
    process.attempt(start)
    assert (reactor.stops, process.exit_code) == (1, code)


def test_what_starts_later_does_not_end_the_process() -> None:
    started: list[int] = []
    process = Process(reactor := Reactor(), make_log(LogSettings()))
    process.attempt(lambda: started.append(1))
    assert (started, reactor.stops) == ([1], 0)


@pytest.mark.parametrize("codes", [(0, 1), (1, 0), (2, 1)])
def test_the_first_reason_to_end_is_the_one_that_counts(codes: tuple[int, int]) -> None:
    """A failure during a stop does not change its exit status, nor does a signal during a crash."""
    process = Process(reactor := Reactor(), make_log(LogSettings()))
    for code in codes:
        process.finish(code)
    assert (reactor.stops, process.exit_code) == (1, codes[0])


BLOCKING = """
import threading, time
from pathlib import Path
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

def sleep():
    Path("begun").touch()
    time.sleep(600)

def in_pool(event):
    return deferToThread(sleep)

def in_own(event):
    threading.Thread(target=sleep).start()
    return Deferred()
"""


@pytest.mark.parametrize("name", ["in_pool", "in_own"])
def test_a_thread_that_blocks_does_not_hold_up_the_end(
    services: Services, server: Server, tmp_path: Path, name: str
) -> None:
    """After the drain timeout the process exits with 0, and another consumer gets the event at once."""
    (tmp_path / "blocking.py").write_text(BLOCKING)
    flags = "eventsvc", "consumer", f"--redis-port={server.port}", "--redis-claim-idle=600"
    consumer = services.start(
        *(*flags, "--redis-consumer=one", f"--handler=blocking.{name}", "--drain-timeout=0.2"),
        environment={"PYTHONPATH": str(tmp_path)},
    )
    event = json.dumps({"id": 1, "description": "hello", "timestamp": ""})
    with server.client() as client:
        client.xadd(STREAM, {"EventStream": event})
    wait_until((tmp_path / "begun").exists)
    assert consumer.stop(signal.SIGTERM) == 0
    assert any("drain timed out" in line["message"] for line in consumer.lines())
    other = services.start(*flags, "--redis-consumer=other")
    wait_until(lambda: other.says('"description":"hello"'))


def test_a_thread_that_blocks_does_not_change_the_code(services: Services, tmp_path: Path) -> None:
    """A process that fails exits with 1, whatever its threads do."""
    (tmp_path / "failing.tac").write_text(FAILING)
    service = services.start("--python=failing.tac", "--pidfile=")
    assert service.process.wait(30.0) == 1
    assert [line["message"] for line in service.lines() if line["level"] == "critical"] == ["no more"]


FAILING = """
import threading, time
from twisted.application.service import Application, Service
from twisted.internet import reactor
from eventsvc.settings import LogSettings
from eventsvc.telemetry.logs import make_log
from eventsvc.tap.process import Process

class Failing(Service):
    def startService(self):
        reactor.callInThread(time.sleep, 600)
        reactor.callLater(0, process.fail, "no more")

application = Application("failing")
process = Process(reactor, make_log(LogSettings()))
process.setServiceParent(application)
Failing().setServiceParent(process)
"""
