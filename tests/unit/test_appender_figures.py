"""
Tests for the counts and logs of L{eventsvc.producer.appender}.
"""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import fail
from twisted.logger import capturedLogs

from eventsvc.interfaces import Unknown
from eventsvc.producer.appender import RENEWAL
from eventsvc.testing import Fate, MemoryEventLog
from tests.support.producer_world import make_world


def test_it_is_running_from_its_start_to_its_stop() -> None:
    world = make_world()
    assert world.appender.is_running
    world.appender.stop()
    world.run(1.0)
    assert not world.appender.is_running


def test_the_wait_of_an_event_is_measured_from_its_arrival() -> None:
    """This includes the time while Redis is away."""
    world = make_world(wait=5.0)
    world.post("first")
    world.run(1.0)
    assert world.appender.counts.wait_seconds.total == pytest.approx(0.0, abs=0.1)
    world.link.disconnect()
    world.post("second")
    world.run(2.0)
    world.link.connect()
    world.run(1.0)
    assert world.appender.counts.wait_seconds.total == pytest.approx(2.0, abs=0.2)
    world.appender.stop()
    world.run(1.0)


def test_a_batch_is_measured_by_its_oldest_event_and_from_its_first_attempt() -> None:
    """Later events in the batch waited less."""
    world = make_world()
    world.link.disconnect()
    for text in ("first", "second"):
        world.post(text)
        world.run(0.5)
    world.link.expect(Fate.REFUSED)
    world.link.connect()
    world.run(0.1)
    counts = world.appender.counts
    assert counts.batch_events.total == 2
    assert counts.append_seconds.total == pytest.approx(0.012)  # two operations, and a pause between them
    assert counts.wait_seconds.total == pytest.approx(1.012)
    world.appender.stop()


@pytest.mark.parametrize("operation", ["append", "renew"])
@pytest.mark.parametrize(("error", "logged"), [(Unknown("cut"), False), (ValueError("a mistake of ours"), True)])
def test_only_what_is_unexpected_is_logged_with_its_traceback(
    error: Exception, logged: bool, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch is attempted again in any case."""
    carry_out = getattr(MemoryEventLog, operation)
    tries: list[int] = []

    def failing(self: MemoryEventLog, *arguments: Any) -> Any:
        tries.append(1)
        return fail(error) if len(tries) == 1 else carry_out(self, *arguments)

    monkeypatch.setattr(MemoryEventLog, operation, failing)
    world = make_world()
    with capturedLogs() as logs:
        world.post("one")
        world.run(1.5 * RENEWAL)
    assert world.told == {"one": (1,)}
    assert len(tries) == 2
    failures = [event["log_failure"].value for event in logs if "log_failure" in event]
    assert failures == ([error] if logged else [])
    world.appender.stop()
    world.run(1.0)
