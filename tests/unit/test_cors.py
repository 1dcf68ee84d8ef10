"""
Tests for posts of web pages, over both paths of the server.
"""

from __future__ import annotations

from typing import Any

import pytest

from eventsvc.settings.origins import parse_origins
from eventsvc.web.access import Access
from eventsvc.web.tokens import Tokens
from tests.support.http import MAKERS, serving

ALLOWED = parse_origins("https://shop.example")
PAGE = "Origin: https://shop.example"
EVIL = "Origin: https://evil.example"
OWN = "Origin: http://events.example:8080"
ASKS = ("Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type,ce-id")


def request(method: str, path: str, *lines: str, body: bytes = b"") -> bytes:
    length = [f"Content-Length: {len(body)}"] if body else []
    head = [f"{method} {path} HTTP/1.1", "Host: events.example:8080", *lines, *length, "", ""]
    return "\r\n".join(head).encode() + body


def event(*lines: str, body: bytes = b'{"description":"a"}') -> bytes:
    return request("POST", "/event", *lines, body=body)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("path", ["/event", "/events", "/streams/stream/event", "/streams/stream/events"])
def test_a_preflight_is_answered_without_a_body(make: Any, path: str) -> None:
    """And without a length, which a 204 may not have (RFC 9110, 8.6); the connection stays in step."""
    with serving(make, origins=ALLOWED) as served:
        lines = served.answer(request("OPTIONS", path, PAGE, *ASKS)).split(b"\r\n")
        assert lines[0] == b"HTTP/1.1 204 No Content"
        assert b"Access-Control-Allow-Origin: https://shop.example" in lines
        assert not [line for line in lines if line.lower().startswith((b"content-length", b"transfer-encoding"))]
        assert lines[-2:] == [b"", b""]
        both = served.answer(request("OPTIONS", path, PAGE, *ASKS) + event(PAGE))
        assert both.count(b"HTTP/1.1 ") == 2
        assert b"\r\n\r\nHTTP/1.1 200 OK\r\n" in both


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (request("OPTIONS", "/event", EVIL, *ASKS), 403),
        (request("OPTIONS", "/event", "Origin: null", *ASKS), 403),
        (request("OPTIONS", "/event", PAGE, PAGE, *ASKS), 403),
        (request("OPTIONS", "/nowhere", PAGE, *ASKS), 404),
        (request("OPTIONS", "/metrics", PAGE, *ASKS), 405),
        (request("OPTIONS", "/event", PAGE), 405),
        (request("OPTIONS", "/event", *ASKS), 405),
        (request("OPTIONS", "/event", OWN, *ASKS), 405),
    ],
)
def test_another_options_is_answered_as_ever(make: Any, asked: bytes, status: int) -> None:
    """And allows nothing."""
    with serving(make, origins=ALLOWED) as served:
        response = served.exchange(asked)
        assert response.status == status
        assert not [name for name in response.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("posted", "status"),
    [
        (event(PAGE), 200),
        (event(PAGE, body=b"{"), 400),
        (event(PAGE, "Idempotency-Key: ="), 200),
        (event(PAGE, "Idempotency-Key: \xff"), 400),
        (event(PAGE, "Content-Encoding: br"), 415),
    ],
)
def test_an_allowed_page_can_read_every_answer(make: Any, posted: bytes, status: int) -> None:
    """Errors too, or else its author sees none."""
    with serving(make, origins=ALLOWED) as served:
        response = served.exchange(posted)
        assert response.status == status
        assert response.headers["Access-Control-Allow-Origin"] == "https://shop.example"
        assert response.headers["Access-Control-Expose-Headers"] == "Event-Id, Retry-After"
        assert response.headers["Vary"] == "Origin"


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("size", [1, 9_000])
def test_an_allowed_page_can_read_that_it_needs_a_token(size: int, make: Any) -> None:
    """Also if it is refused before its body arrives."""
    access = Access(Tokens(), lambda: 0, lambda: 0)
    with serving(make, origins=ALLOWED, access=access) as served:
        response = served.exchange(event(PAGE, body=b" " * size))
        assert response.status == 401
        assert response.headers["Access-Control-Allow-Origin"] == "https://shop.example"


@pytest.mark.parametrize("make", MAKERS)
def test_a_page_of_another_host_stores_nothing(make: Any) -> None:
    """Also in the form that a browser posts without a preflight."""
    with serving(make, origins=ALLOWED) as served:
        for origin in (EVIL, "Origin: null", "Origin: http://shop.example"):
            response = served.exchange(event(origin, "Content-Type: text/plain"))
            assert response.status == 403
            assert response.problem["title"] == "Forbidden"
            assert "Access-Control-Allow-Origin" not in response.headers
        assert served.exchange(event(OWN)).headers["Event-Id"] == "1"


@pytest.mark.parametrize("make", MAKERS)
def test_a_page_of_another_host_can_see_that_the_producer_is_there(make: Any) -> None:
    """Only posts are refused: a probe that a page sends does no harm, and the page cannot read its answer."""
    with serving(make, origins=ALLOWED) as served:
        response = served.exchange(request("GET", "/health/live", EVIL))
        assert response.status == 200
        assert "Access-Control-Allow-Origin" not in response.headers
