"""
Tests for L{eventsvc.net.background}.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger, capturedLogs

from eventsvc.net.background import run_in_background


async def wait_for(what: Deferred[None], ended: list[str]) -> None:
    try:
        await what
    except CancelledError:
        ended.append("cancelled")
        raise
    ended.append("done")


def test_it_fires_when_the_coroutine_ends() -> None:
    ended: list[str] = []
    what: Deferred[None] = Deferred()
    running = run_in_background(wait_for(what, ended), Logger())
    assert not running.called
    what.callback(None)
    assert (running.called, ended) == (True, ["done"])


def test_a_cancelled_one_ends_without_a_line() -> None:
    """Cancellation is not a failure, in the log or for the waiter."""
    ended: list[str] = []
    outcomes: list[None] = []
    with capturedLogs() as events:
        running = run_in_background(wait_for(Deferred(), ended), Logger())
        running.addCallback(outcomes.append)
        running.cancel()
    assert (ended, outcomes, events) == (["cancelled"], [None], [])


def test_one_that_fails_is_told_with_its_failure() -> None:
    """The failure is logged, and does not reach the waiter."""
    what: Deferred[None] = Deferred()
    outcomes: list[None] = []
    with capturedLogs() as events:
        run_in_background(wait_for(what, []), Logger()).addCallback(outcomes.append)
        what.errback(ZeroDivisionError("half way"))
    assert outcomes == [None]
    (event,) = events
    assert event["log_format"] == "a background task failed"
    assert str(event["log_failure"].value) == "half way"
