"""
Tests for L{eventsvc.web.answers}.
"""

from __future__ import annotations

import json

import pytest
from twisted.internet.defer import CancelledError
from werkzeug.exceptions import MethodNotAllowed, NotFound

from eventsvc.event import InvalidEvent, TooManyEvents
from eventsvc.interfaces import KeyConflict, KeyRunning, QueueFull, Refused, StreamFull, TooLarge, Unknown
from eventsvc.web.answers import (
    Answer,
    InvalidKey,
    all_stored,
    answer_for,
    json_answer,
    stored,
    to_bytes,
    unexpected,
)

#: Each error, and status, title, description and C{stored} of its answer.
TABLE = [
    (InvalidEvent("why"), 400, "Error unmarshalling body", "why", None),
    (InvalidKey("why"), 400, "Idempotency-Key", "why", None),
    (NotFound(), 404, "Endpoint Not Found", "Endpoint Not Found", None),
    (MethodNotAllowed(["POST"]), 405, "PUT", "Method Not Allowed", None),
    (KeyRunning("why"), 409, "Idempotency-Key", "why", None),
    (TooManyEvents("why"), 413, "Request body too large", "why", None),
    (KeyConflict("why"), 422, "Idempotency-Key", "why", None),
    (Refused("why"), 503, "Redis Client error", "why", "no"),
    (TooLarge("why"), 413, "Request body too large", "why", None),
    (QueueFull("why"), 503, "Redis Client error", "why", "no"),
    (StreamFull("why"), 503, "Redis Client error", "why", "no"),
    (Unknown("why"), 503, "Redis Client error", "why", "unknown"),
]


@pytest.mark.parametrize(
    ("error", "status", "title", "description", "stored"), TABLE, ids=lambda value: type(value).__name__
)
def test_each_error_has_its_answer(
    error: Exception, status: int, title: str, description: str, stored: str | None
) -> None:
    """The body has exactly these members, in this order."""
    answer = answer_for(error, "PUT")
    assert answer is not None
    expected: dict[str, object] = {"status": status, "title": title, "description": description}
    if stored is not None:
        expected["stored"] = stored
    assert answer.status == status
    assert answer.body == json.dumps(expected, separators=(",", ":")).encode()
    assert answer.headers[0] == (b"Content-Type", b"application/json")


@pytest.mark.parametrize("error", [ValueError("a"), KeyError(), CancelledError(), RuntimeError(), None])
def test_an_error_that_is_not_expected_has_none(error: Exception | None) -> None:
    """So it is logged, and its text is not sent to the client."""
    assert answer_for(error, "POST") is None
    assert b"a" not in json.loads(unexpected().body)["title"].encode()[:1]


def test_whoever_may_try_again_is_told_when() -> None:
    """C{Retry-After} is a second, and only on answers worth a retry."""
    for error, status, *_ in TABLE:
        answer = answer_for(error, "POST")
        assert answer is not None
        assert ((b"Retry-After", b"1") in answer.headers) is (status in (409, 503))


def test_allowed_methods_are_told_in_order() -> None:
    """All methods are in one header."""
    answer = answer_for(MethodNotAllowed(["HEAD", "GET"]), "POST")
    assert answer is not None
    assert (b"Allow", b"GET, HEAD") in answer.headers


def test_an_id_is_told_in_a_header_and_ids_as_strings() -> None:
    """Some JSON parsers have no 63-bit integers."""
    largest = 2**63 - 1
    assert stored(largest) == Answer(200, ((b"Event-Id", b"9223372036854775807"),))
    assert all_stored([1, largest]).body == b'{"accepted":2,"ids":["1","9223372036854775807"]}'


def test_text_of_any_kind_is_told() -> None:
    """The body is JSON in UTF-8."""
    assert json.loads(json_answer(200, {"a": 'ä"\n\0'}).body) == {"a": 'ä"\n\0'}


def test_an_answer_is_written_as_a_whole() -> None:
    """The last answer on a connection says C{Connection: close}."""
    answer = Answer(404, ((b"A", b"b"), (b"C", b"d")), b"body")
    assert to_bytes(answer, b"now") == (
        b"HTTP/1.1 404 Not Found\r\nDate: now\r\nA: b\r\nC: d\r\nContent-Length: 4\r\n\r\nbody"
    )
    assert to_bytes(stored(7), b"now", last=True) == (
        b"HTTP/1.1 200 OK\r\nDate: now\r\nEvent-Id: 7\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
