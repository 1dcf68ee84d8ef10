"""
Impolite clients: one resets its connection while it waits, one closes its half
of the connection.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from eventsvc.client import Posted
from eventsvc.event import Event
from eventsvc.event_message import encode_event
from eventsvc.outcome import Outcome

#: Seconds to wait for an answer.
_TIMEOUT = 10.0


class _Answer(Protocol):
    """Collects all bytes until the connection is closed."""

    transport: Any

    def __init__(self) -> None:
        self.data = b""
        self.over: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.over.callback(None)


async def reset(reactor: Any, url: str, event: Event, key: str | None, after: float) -> Posted:
    """Send a request, and reset the connection after C{after} seconds."""
    try:
        answer = await _send(reactor, url, event, key, "keep-alive")
    except Exception as error:
        return Posted(Outcome.REFUSED, why=f"no connection: {error}")
    await deferLater(reactor, after)
    answer.transport.abortConnection()
    await answer.over
    return _sort(answer.data)


async def half_close(reactor: Any, url: str, event: Event, key: str | None, after: float) -> Posted:
    """Send a request, close the sending half after C{after} seconds, and read the answer."""
    try:
        answer = await _send(reactor, url, event, key, "close")
    except Exception as error:
        return Posted(Outcome.REFUSED, why=f"no connection: {error}")
    await deferLater(reactor, after)
    if not answer.over.called:
        answer.transport.loseWriteConnection()
        late = reactor.callLater(_TIMEOUT, answer.transport.abortConnection)
        await answer.over
        if late.active():
            late.cancel()
    return _sort(answer.data)


async def _send(reactor: Any, url: str, event: Event, key: str | None, connection: str) -> _Answer:
    at = urlsplit(url)
    endpoint = TCP4ClientEndpoint(reactor, at.hostname or "", at.port or 80, timeout=2)
    answer: _Answer = await connectProtocol(endpoint, _Answer())
    body = encode_event(event)
    headers = [f"Host: {at.netloc}", f"Content-Length: {len(body)}", f"Connection: {connection}"]
    if key is not None:
        headers.append(f'Idempotency-Key: "{key}"')
    head = "\r\n".join(["POST /event HTTP/1.1", *headers, "", ""])
    answer.transport.write(head.encode() + body)
    return answer


def _sort(data: bytes) -> Posted:
    """Classify an answer, which may be cut off."""
    head, found, body = data.partition(b"\r\n\r\n")
    status = re.match(rb"HTTP/1\.1 (\d{3}) ", head)
    id = re.search(rb"\r\nEvent-Id: (\d+)", head, re.IGNORECASE)
    if not found or status is None:
        return Posted(Outcome.UNKNOWN, why="no answer")
    if status[1] == b"200" and id is not None:
        return Posted(Outcome.OK, int(id[1]))
    if b'"stored":"no"' in body or (status[1].startswith(b"4") and status[1] != b"409"):
        return Posted(Outcome.REFUSED, why=status[1].decode())
    return Posted(Outcome.UNKNOWN, why=status[1].decode())
