"""
Handlers that make spans of their own, as instrumented libraries do.
"""

from __future__ import annotations

import asyncio
from typing import Any

from opentelemetry import trace
from twisted.internet.task import deferLater

from eventsvc.handlers import Notification, asyncio_handler

tracer = trace.get_tracer("shop")


def ignore(_: Notification) -> None:
    """Make none."""


def plain(_: Notification) -> None:
    tracer.start_span("query").end()


async def coroutine(_: Notification) -> None:
    from twisted.internet import reactor

    clock: Any = reactor
    await deferLater(clock, 0.001)
    tracer.start_span("query").end()


@asyncio_handler
async def on_asyncio(_: Notification) -> None:
    await asyncio.sleep(0.001)
    async with asyncio.timeout(5.0):
        await asyncio.gather(query(), query())


async def query() -> None:
    await asyncio.sleep(0.001)
    tracer.start_span("query").end()


def fail(_: Notification) -> None:
    raise OSError("no such table")
