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

from chaos.mixture import Post
from chaos.posting import Answered, authorization, classify, not_sent
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


async def reset(reactor: Any, url: str, post: Post, after: float) -> Answered:
    """Send a request, and reset the connection after C{after} seconds."""
    try:
        answer = await _send(reactor, url, post, "keep-alive")
    except Exception as error:
        return not_sent(error)
    await deferLater(reactor, after)
    answer.transport.abortConnection()
    await answer.over
    return _sort(answer.data)


async def half_close(reactor: Any, url: str, post: Post, after: float) -> Answered:
    """Send a request, close the sending half after C{after} seconds, and read the answer."""
    try:
        answer = await _send(reactor, url, post, "close")
    except Exception as error:
        return not_sent(error)
    await deferLater(reactor, after)
    if not answer.over.called:
        answer.transport.loseWriteConnection()
        late = reactor.callLater(_TIMEOUT, answer.transport.abortConnection)
        await answer.over
        if late.active():
            late.cancel()
    return _sort(answer.data)


async def _send(reactor: Any, url: str, post: Post, connection: str) -> _Answer:
    at = urlsplit(url)
    endpoint = TCP4ClientEndpoint(reactor, at.hostname or "", at.port or 80, timeout=2)
    answer: _Answer = await connectProtocol(endpoint, _Answer())
    headers = {
        "Host": at.netloc,
        "Content-Length": len(post.body),
        "Connection": connection,
        **dict(post.headers),
        **authorization(),
    }
    lines = [f"POST {at.path}{post.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    answer.transport.write("\r\n".join(lines).encode() + post.body)
    return answer


def _sort(data: bytes) -> Answered:
    """Classify an answer, which may be cut off."""
    head, found, body = data.partition(b"\r\n\r\n")
    status = re.match(rb"HTTP/1\.1 (\d{3}) ", head)
    length = re.search(rb"\r\nContent-Length: (\d+)", head, re.IGNORECASE)
    if not found or status is None or (length and len(body) < int(length[1])):
        return Answered(Outcome.UNKNOWN, why="no answer")
    id = re.search(rb"\r\nEvent-Id: (\d+)", head, re.IGNORECASE)
    return classify(int(status[1]), id[1] if id else None, body)
