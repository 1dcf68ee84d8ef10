"""
Tests for L{eventsvc.handlers.webhook}: over loopback, against a receiver that
says whatever it is told to.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.logger import globalLogPublisher

from chaos.process import stable_port
from eventsvc.errors import Reject, RetryAfter
from eventsvc.handlers.webhook_answer import WebhookFailed
from eventsvc.settings.reading import InvalidSettings
from tests.support.webhook_receiver import (
    EVENT,
    OK,
    Maker,
    Reaction,
    Receiver,
    answer,
    close,
    failure_of,
    write,
    write_and_close,
)


@pytest_twisted.ensureDeferred
async def test_an_event_is_posted(receiver: Receiver, make: Maker) -> None:
    receiver.reactions = [OK]
    await make("/hook/a%2Fb?token=hush").handle(EVENT)
    [(line, headers, body)] = receiver.requests
    assert line == "POST /hook/a%2Fb?token=hush HTTP/1.1"
    assert headers["host"] == f"127.0.0.1:{receiver.port}"
    assert (headers["content-type"], headers["webhook-id"]) == ("application/json", "7")
    assert headers["webhook-timestamp"] == "1700000000"
    assert headers["webhook-signature"].startswith("v1,")
    assert headers["user-agent"].startswith("eventsvc/")
    assert not {"accept-encoding", "cookie", "authorization"} & headers.keys()
    assert json.loads(body)["id"] == 7


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "202 Accepted", "204 No Content", "299 Fine"])
@pytest_twisted.ensureDeferred
async def test_any_2xx_is_success(receiver: Receiver, make: Maker, status: str) -> None:
    receiver.reactions = [answer(status)]
    await make().handle(EVENT)


@pytest.mark.parametrize(
    ("react", "kind", "words"),
    [
        (answer("500 No", body=b"oops"), WebhookFailed, "answered 500: oops"),
        (answer("404 No"), WebhookFailed, "answered 404"),
        (answer("302 Found", "Location: /other?token=hush"), WebhookFailed, "leads to /other?(hidden)"),
        (answer("307 No", "Location: http://169.254.169.254/"), WebhookFailed, "leads to http://169.254.169.254/"),
        (answer("422 No", body=b"no\x00such \x1b[31m\r\n customer"), Reject, "answered 422: no such [31m customer"),
        (answer("400 No", body=b"x" * 9_000), Reject, "x [...]"),
        (answer("503 No", "Retry-After: 7"), RetryAfter, "to be tried again after 7 s"),
        (answer("503 No", "Retry-After: 7", "Retry-After: 9"), RetryAfter, "to be tried again after 7 s"),
        (answer("410 Gone"), RetryAfter, "wants no more webhooks"),
        (close, WebhookFailed, "ConnectionDone: Connection was closed cleanly."),
        (write_and_close(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"), WebhookFailed, "no answer from"),
        (
            write_and_close(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nx"),
            WebhookFailed,
            "no answer from",
        ),
        (write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), WebhookFailed, "no answer from"),
        (write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx"), WebhookFailed, "no answer from"),
        (write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx"), WebhookFailed, "no answer from"),
        (write(b"HTTP/1.1 two OK\r\n\r\n"), WebhookFailed, "no answer from"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_everything_else_is_not(
    receiver: Receiver, make: Maker, react: Reaction, kind: type[Exception], words: str
) -> None:
    """And no answer leads to a second request."""
    receiver.reactions = [react]
    said = await failure_of(make("/hook?token=hush").handle(EVENT), kind)
    assert words in said
    assert "hush" not in said
    assert "Failure" not in said
    assert said.count(f"http://127.0.0.1:{receiver.port}") == 1
    assert len(receiver.requests) == 1


@pytest_twisted.ensureDeferred
async def test_an_answer_that_ends_with_its_connection_is_whole(receiver: Receiver, make: Maker) -> None:
    """As servers of HTTP/1.0 do."""
    receiver.reactions = [write_and_close(b"HTTP/1.0 200 OK\r\n\r\nthanks")]
    await make().handle(EVENT)


@pytest.mark.parametrize(
    "body", [b"/hook?token=hush%20hush no", b"token is hush hush", b"<i>a=1&amp;token=hush%20hush"]
)
@pytest_twisted.ensureDeferred
async def test_an_answer_that_repeats_the_query_is_hidden(receiver: Receiver, make: Maker, body: bytes) -> None:
    """Many servers say which URL they do not know."""
    receiver.reactions = [answer("404 No", body=body)]
    said = await failure_of(make("/hook?a=1&token=hush%20hush").handle(EVENT))
    assert "(hidden)" in said
    assert "hush" not in said


@pytest_twisted.ensureDeferred
async def test_half_a_query_is_hidden_too(receiver: Receiver, make: Maker) -> None:
    """Where the part of an answer that is kept ends within it."""
    secret = "hush" * 50
    receiver.reactions = [answer("404 No", body=secret.encode() * 20)]
    assert "hush" not in await failure_of(make(f"/hook?a=1234&token={secret}").handle(EVENT))


@pytest.mark.parametrize("status", ["204 No Content", "404 No", "302 Found"])
@pytest_twisted.ensureDeferred
async def test_headers_that_are_no_text_change_nothing(receiver: Receiver, make: Maker, status: str) -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n".encode()
    receiver.reactions = [write(head + b"Location: /\xff\x1b[31m\r\nRetry-After: \xff\r\nX: \xff\r\n\r\n")]
    handling = make().handle(EVENT)
    if status.startswith("2"):
        await handling
    else:
        said = await failure_of(handling)
        assert f"answered {status[:3]}" in said
        assert "\x1b" not in said


# Addresses


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "0x7f000001", "2130706433", "0", "[::ffff:7f00:1]"]
)
@pytest_twisted.ensureDeferred
async def test_a_private_address_is_refused(receiver: Receiver, make: Maker, host: str) -> None:
    """In whatever notation."""
    handler = make(url=f"http://{host}:{receiver.port}/", allow_private=False)
    said = await failure_of(handler.handle(EVENT))
    assert "is not a public address; WEBHOOK_ALLOW_PRIVATE=on allows it" in said
    assert receiver.connections == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:7f00:1]"])
@pytest_twisted.ensureDeferred
async def test_a_private_address_is_connected_to_if_that_is_allowed(receiver: Receiver, make: Maker, host: str) -> None:
    receiver.reactions = [OK]
    await make(url=f"http://{host}:{receiver.port}").handle(EVENT)
    [(line, headers, _)] = receiver.requests
    assert (line, headers["host"]) == ("POST / HTTP/1.1", f"{host}:{receiver.port}")


@pytest_twisted.ensureDeferred
async def test_a_refused_connection_is_a_failure(make: Maker) -> None:
    handler = make(url=f"http://127.0.0.1:{stable_port()}/?token=hush")
    said = await failure_of(handler.handle(EVENT))
    assert "ConnectionRefusedError" in said
    assert "hush" not in said


# 410, start and settings


@pytest.fixture
def logged() -> Iterator[list[dict[str, Any]]]:
    events: list[dict[str, Any]] = []
    observer: Any = events.append
    globalLogPublisher.addObserver(observer)
    yield events
    globalLogPublisher.removeObserver(observer)


@pytest_twisted.ensureDeferred
async def test_a_receiver_that_is_gone_is_told_once(
    receiver: Receiver, make: Maker, logged: list[dict[str, Any]]
) -> None:
    """Once more if it goes again."""
    receiver.reactions = [answer("410 Gone"), answer("410 Gone"), OK, answer("410 Gone")]
    handler = make()
    for gone in (True, True, False, True):
        if gone:
            with pytest.raises(RetryAfter) as caught:
                await handler.handle(EVENT)
            assert caught.value.seconds == 60.0
        else:
            await handler.handle(EVENT)
        assert handler.gone is gone
    alarms = [event["details"]["alarm"] for event in logged if "details" in event]
    assert alarms == ["webhook_gone", "webhook_gone"]


@pytest.mark.parametrize("lacking", [{"url": ""}, {"keys": None}])
def test_no_handler_is_made_that_lacks_a_setting(make: Maker, lacking: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettings):
        make(**lacking)


def test_a_start_says_where_events_go(make: Maker, logged: list[dict[str, Any]]) -> None:
    make("/hook?token=hush").start()
    make("/hook?token=hush", keys=()).start()
    levels = [(event["log_level"].name, "unsigned" in event["log_format"]) for event in logged]
    assert levels == [("info", False), ("warn", True)]
    assert "hush" not in repr(logged)
    assert "AAAA" not in repr(logged)
