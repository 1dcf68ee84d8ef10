"""
Tests for L{eventsvc.handlers.webhook_connections}: what a receiver may cost, in
seconds, in bytes and in connections.
"""

from __future__ import annotations

import gzip

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from eventsvc.errors import Reject
from eventsvc.event import Notification
from eventsvc.handlers.webhook_answer import WebhookFailed
from eventsvc.handlers.webhook_connections import KEPT_SECONDS, MOST_BYTES
from tests.support.webhook_receiver import (
    EVENT,
    OK,
    Maker,
    Reaction,
    Receiver,
    answer,
    close,
    failure_of,
    nothing,
    reactor,
    write,
    write_and_close,
)

# Time


@pytest.mark.parametrize(
    "react",
    [
        nothing,
        write(b"HTTP/1.1 200 OK\r\n"),
        write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"),
        write(b"HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\nx"),
        write(b"HTTP/1.1 200 OK\r\n\r\nx"),
        write(b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_no_whole_answer_in_time_is_a_failure(receiver: Receiver, make: Maker, react: Reaction) -> None:
    """After its time an event is given up with its connection."""
    receiver.reactions = [react]
    asked = receiver.when_asked()
    handling = Deferred.fromCoroutine(make().handle(EVENT))
    await asked
    make.clock.advance(9.9)
    assert not handling.called
    make.clock.advance(0.2)
    assert (await failure_of(handling)).endswith("within 10 s")
    make.clock.advance(5.0)
    await receiver.connections[0].lost
    assert make.clock.getDelayedCalls() == []


@pytest_twisted.ensureDeferred
async def test_a_drip_is_a_failure(receiver: Receiver, make: Maker) -> None:
    """However regularly it drips."""
    receiver.reactions = [write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")]
    asked = receiver.when_asked()
    handling = Deferred.fromCoroutine(make().handle(EVENT))
    await asked
    for _ in range(11):
        receiver.connections[0].transport.write(b".")
        make.clock.advance(1.0)
    assert (await failure_of(handling)).endswith("within 10 s")


@pytest_twisted.ensureDeferred
async def test_who_cancels_is_not_given_a_result(receiver: Receiver, make: Maker) -> None:
    receiver.reactions = [nothing]
    asked = receiver.when_asked()
    handling = Deferred.fromCoroutine(make().handle(EVENT))
    await asked
    handling.cancel()
    with pytest.raises((CancelledError, WebhookFailed)):
        await handling
    await receiver.connections[0].lost


# Bytes


@pytest.mark.parametrize(
    "endless",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffff\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_body_is_read_up_to_a_bound(receiver: Receiver, make: Maker, endless: bytes) -> None:
    """It is of no use, and the status is known."""
    receiver.reactions = [write(endless + b"x" * 2 * MOST_BYTES)]
    await make().handle(EVENT)
    await receiver.connections[0].lost


@pytest.mark.parametrize("piece", [b"X-More: yes\r\n", b" folded\r\n", b"x"])
@pytest_twisted.ensureDeferred
async def test_a_head_is_read_up_to_a_bound(receiver: Receiver, make: Maker, piece: bytes) -> None:
    receiver.reactions = [write(b"HTTP/1.1 200 OK\r\nX: y\r\n" + piece * (2 * MOST_BYTES // len(piece)))]
    await failure_of(make().handle(EVENT))
    await receiver.connections[0].lost


@pytest_twisted.ensureDeferred
async def test_a_compressed_answer_stays_so(receiver: Receiver, make: Maker) -> None:
    """A bomb does not go off."""
    bomb = gzip.compress(b"x" * 10_000_000)
    receiver.reactions = [answer("400 No", "Content-Encoding: gzip", body=bomb)]
    assert "xxxx" not in await failure_of(make().handle(EVENT), Reject)


@pytest_twisted.ensureDeferred
async def test_cookies_are_not_kept(receiver: Receiver, make: Maker) -> None:
    receiver.reactions = [answer("200 OK", "Set-Cookie: a=b; Path=/")]
    handler = make()
    await handler.handle(EVENT)
    await handler.handle(EVENT)
    assert "cookie" not in receiver.requests[1][1]


# Connections


@pytest_twisted.ensureDeferred
async def test_a_connection_is_kept(receiver: Receiver, make: Maker) -> None:
    receiver.reactions = [answer("200 OK", body=b"thanks")]
    handler = make()
    for _ in range(3):
        await handler.handle(EVENT)
    assert (len(receiver.requests), len(receiver.connections)) == (3, 1)


@pytest.mark.parametrize("header", ["Connection: close", "Connection: Close", "Connection: close, x"])
@pytest_twisted.ensureDeferred
async def test_a_connection_that_is_said_to_close_costs_no_event(receiver: Receiver, make: Maker, header: str) -> None:
    receiver.reactions = [write_and_close(f"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{header}\r\n\r\n".encode())]
    handler = make()
    for _ in range(3):
        await handler.handle(EVENT)
    assert len(receiver.connections) == len(receiver.requests) == 3


@pytest.mark.parametrize("size", [10, 1_000_000])
@pytest_twisted.ensureDeferred
async def test_a_kept_connection_that_is_closed_at_that_moment_costs_no_event(
    receiver: Receiver, make: Maker, size: int
) -> None:
    """The request is sent once more, on a new connection, with the same id."""
    receiver.reactions = [OK, close, OK]
    handler = make()
    await handler.handle(EVENT)
    await handler.handle(Notification(8, "x" * size, ""))
    assert [headers["webhook-id"] for _, headers, _ in receiver.requests] == ["7", "8", "8"]
    assert receiver.requests[1][2] == receiver.requests[2][2]
    assert len(receiver.connections) == 2


@pytest_twisted.ensureDeferred
async def test_it_is_sent_only_once_more(receiver: Receiver, make: Maker) -> None:
    """A receiver that hangs up on every request is not asked three times."""
    receiver.reactions = [OK, close]
    handler = make()
    await handler.handle(EVENT)
    await failure_of(handler.handle(EVENT))
    assert len(receiver.requests) == 3


@pytest_twisted.ensureDeferred
async def test_what_was_answered_in_part_is_not_sent_again(receiver: Receiver, make: Maker) -> None:
    receiver.reactions = [OK, write_and_close(b"HTTP/1.1 200")]
    handler = make()
    await handler.handle(EVENT)
    await failure_of(handler.handle(EVENT))
    assert len(receiver.requests) == 2


@pytest_twisted.ensureDeferred
async def test_one_closed_connection_of_many_is_enough(receiver: Receiver, make: Maker) -> None:
    """A receiver that starts anew closes them all: each event finds out at most once."""
    receiver.reactions = [nothing]
    handler = make()
    first = [Deferred.fromCoroutine(handler.handle(EVENT)) for _ in range(3)]
    while len(receiver.requests) < 3:
        await receiver.when_asked()
    for connection in receiver.connections:
        OK(connection)
    for each in first:
        await each
    receiver.reactions = [close, OK]
    await handler.handle(EVENT)
    assert (len(receiver.requests), len(receiver.connections)) == (5, 4)
    for connection in receiver.connections[:3]:
        await connection.lost


@pytest_twisted.ensureDeferred
async def test_an_unused_connection_is_closed_after_a_while(receiver: Receiver, make: Maker) -> None:
    receiver.reactions = [OK]
    await make().handle(EVENT)
    make.clock.advance(KEPT_SECONDS - 0.1)
    assert not receiver.connections[0].lost.called
    make.clock.advance(0.2)
    await receiver.connections[0].lost


@pytest_twisted.ensureDeferred
async def test_a_connection_that_is_used_is_not_closed(receiver: Receiver, make: Maker) -> None:
    receiver.reactions = [OK]
    handler = make()
    for _ in range(5):
        await handler.handle(EVENT)
        make.clock.advance(KEPT_SECONDS - 1.0)
    assert len(receiver.connections) == 1


@pytest_twisted.ensureDeferred
async def test_a_request_on_a_kept_connection_has_its_whole_time(receiver: Receiver, make: Maker) -> None:
    receiver.reactions = [OK, nothing]
    handler = make()
    await handler.handle(EVENT)
    make.clock.advance(KEPT_SECONDS - 1.0)
    asked = receiver.when_asked()
    handling = Deferred.fromCoroutine(handler.handle(EVENT))
    await asked
    make.clock.advance(9.9)
    OK(receiver.connections[0])
    await handling
    assert len(receiver.connections) == 1


@pytest_twisted.ensureDeferred
async def test_a_connection_that_the_receiver_closed_is_forgotten(receiver: Receiver, make: Maker) -> None:
    """Otherwise they add up."""
    receiver.reactions = [OK]
    handler = make()
    await handler.handle(EVENT)
    [kept] = handler.connections.idle
    receiver.connections[0].transport.loseConnection()
    await receiver.connections[0].lost
    while handler.connections.idle:
        await deferLater(reactor, 0.0)
    assert kept.state == "CONNECTION_LOST"
    assert make.clock.getDelayedCalls() == []


@pytest_twisted.ensureDeferred
async def test_a_request_is_sent_at_once(receiver: Receiver, make: Maker) -> None:
    """The system does not wait for more bytes to send."""
    receiver.reactions = [OK]
    handler = make()
    await handler.handle(EVENT)
    [kept] = handler.connections.idle
    assert kept.transport.getTcpNoDelay()  # type: ignore[union-attr]


@pytest_twisted.ensureDeferred
async def test_an_answer_that_nobody_asked_for_is_of_no_use(receiver: Receiver, make: Maker) -> None:
    """It is no answer to the next request."""
    receiver.reactions = [OK]
    handler = make()
    await handler.handle(EVENT)
    OK(receiver.connections[0])
    await receiver.connections[0].lost
    receiver.reactions = [answer("500 No")]
    await failure_of(handler.handle(EVENT))


@pytest_twisted.ensureDeferred
async def test_a_stop_closes_what_is_kept(receiver: Receiver, make: Maker) -> None:
    receiver.reactions = [OK]
    handler = make()
    await handler.handle(EVENT)
    handler.stop()
    await receiver.connections[0].lost
    assert make.clock.getDelayedCalls() == []


@pytest.mark.parametrize("body", [b"", b"too large"])
@pytest_twisted.ensureDeferred
async def test_an_answer_that_comes_before_the_whole_request_counts(
    receiver: Receiver, make: Maker, body: bytes
) -> None:
    """As servers do that read only the head of what is too large, and drop the rest."""
    receiver.early = answer("413 Too Large", body=body)
    receiver.reactions = [nothing]
    assert "answered 413" in await failure_of(make().handle(Notification(8, "x" * 5_000_000, "")), Reject)
