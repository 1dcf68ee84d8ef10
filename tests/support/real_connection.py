"""
A connection to a real server.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.logger import capturedLogs

from chaos.suites import PATIENCE
from eventsvc.redis.connection import Connection
from eventsvc.settings import RedisSettings
from eventsvc.tap.parts.connection import make_connection
from tests.support.fake_connection import messages

reactor: Any = installed_reactor


@asynccontextmanager
async def started(port: int, **more: Any) -> AsyncIterator[Connection]:
    """Run a connection."""
    connection = make_connection(reactor, RedisSettings(port=port, retry_period=0.2, **more))
    connection.startService()
    try:
        yield connection
    finally:
        await connection.stopService()


async def ready(connection: Connection) -> None:
    """Wait until it is ready, up to a limit."""
    await connection.when_ready().addTimeout(PATIENCE, reactor)


@contextmanager
def logged() -> Iterator[Callable[[str], bool]]:
    """Return whether a text was logged."""
    with capturedLogs() as events:
        yield lambda words: any(words in line for line in messages(events))


def options_of(connection: Connection, layers: int) -> list[int]:
    """Return the TCP options with which the system detects a dead peer."""
    session: Any = connection._session
    tcp = session.transport
    for _ in range(layers):
        tcp = tcp.transport
    names = [
        *((socket.SOL_SOCKET, socket.SO_KEEPALIVE), (socket.IPPROTO_TCP, socket.TCP_NODELAY)),
        *((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT), (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)),
    ]
    return [tcp.socket.getsockopt(*name) for name in names]
