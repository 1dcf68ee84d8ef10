"""
Tests for L{eventsvc.tap.asyncio_exits}.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.task import Clock

from eventsvc.tap.asyncio_exits import outlive_exits


@contextmanager
def made_reactor() -> Iterator[Any]:
    """Make a reactor of asyncio beside the one that is installed."""
    with closing(asyncio.new_event_loop()) as loop:
        reactor = AsyncioSelectorReactor(loop)
        yield reactor
        for reader in reactor.removeAll():
            reader.connectionLost(None)


async def exit() -> None:
    sys.exit("no database")


async def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("task", "words"),
    [(exit, "SystemExit: no database"), (interrupt, "KeyboardInterrupt: ")],
    ids=["exit", "interrupt"],
)
def test_a_task_that_asks_for_the_end_is_given_it_by_the_reactor(task: Callable[[], Any], words: str) -> None:
    """Who awaits the task gets the error too, and goes on until the reactor has stopped."""
    log: list[str] = []

    def fail(sentence: str) -> None:
        log.append(sentence)
        reactor.callLater(0.01, reactor.stop)

    async def wait() -> None:
        log.append("began")
        try:
            await asyncio.gather(task())
        except BaseException as error:
            log.append(type(error).__name__)

    with made_reactor() as reactor:
        reactor.addSystemEventTrigger("after", "shutdown", log.append, "stopped")
        outlive_exits(reactor, fail)
        reactor.callWhenRunning(reactor._asyncioEventloop.create_task, wait())
        reactor.run(installSignalHandlers=False)
    assert log == ["began", f"a task raised {words}: the process ends", words.partition(":")[0], "stopped"]


def test_a_loop_that_somebody_stops_goes_on_until_its_reactor_stops() -> None:
    log: list[str] = []
    with made_reactor() as reactor:
        outlive_exits(reactor, log.append)
        reactor.addSystemEventTrigger("after", "shutdown", log.append, "stopped")
        reactor.callWhenRunning(reactor._asyncioEventloop.stop)
        reactor.callLater(0.01, reactor.stop)
        reactor.run(installSignalHandlers=False)
    assert log == ["stopped"]


def test_another_reactor_is_left_alone() -> None:
    outlive_exits(Clock(), pytest.fail)
