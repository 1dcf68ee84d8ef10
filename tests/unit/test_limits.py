"""
Tests for L{eventsvc.web.limits}: checks before a request is processed.
"""

from __future__ import annotations

import json

import pytest

from eventsvc.event import MAX_BYTES
from eventsvc.web.answers import Answer
from eventsvc.web.limits import (
    BODY_TOO_LARGE,
    HEAD_TOO_LARGE,
    TOO_MANY_CONNECTIONS,
    TOO_SLOW,
    check_begun,
    check_head,
    check_length,
)


def told(answer: Answer | None) -> tuple[int, str]:
    """Return the status and description of a refusal."""
    assert answer is not None
    return answer.status, json.loads(answer.body)["description"]


@pytest.mark.parametrize("value", [b"0", b"1", b"007", b"%d" % MAX_BYTES])
def test_a_length_is_a_number_within_the_limit(value: bytes) -> None:
    """Leading zeros are allowed."""
    assert check_length(value) is None


@pytest.mark.parametrize("value", [b"", b"+1", b"-1", b"1.0", b"0x1", b"1,1", b"1 1", b"one", b"1_0", "²".encode()])
def test_a_length_that_is_no_number_is_400(value: bytes) -> None:
    """Python's C{int} would accept some of them."""
    assert told(check_length(value)) == (400, "Expected Content-Length to be a number")


@pytest.mark.parametrize("value", [b"%d" % (MAX_BYTES + 1), b"1" * 16, b"9" * 10_000])
def test_a_length_beyond_the_limit_is_413(value: bytes) -> None:
    """A length of very many digits is not even parsed."""
    assert check_length(value) is BODY_TOO_LARGE


@pytest.mark.parametrize("begin", [b":", b"\x16", b'"a": b'])
def test_only_the_first_line_must_begin_as_a_request(begin: bytes) -> None:
    """The parser of a header reports its errors."""
    assert told(check_begun(begin, first=True))[0] == 400
    assert check_begun(begin, first=False) is None


def test_a_head_of_which_nothing_has_come_is_not_wrong() -> None:
    assert check_begun(b"", first=True) is None


def test_a_head_of_one_meaning_is_taken() -> None:
    """HTTP/1.0 needs no C{Host}."""
    assert check_head(b"HTTP/1.1", [b"a"], [b"1"], []) is None
    assert check_head(b"HTTP/1.1", [b"a"], [], []) is None
    assert check_head(b"HTTP/1.1", [b"a"], [], [b"chunked"]) is None
    assert check_head(b"HTTP/1.0", [], [b"1"], []) is None


@pytest.mark.parametrize("hosts", [[], [b"a", b"a"]])
def test_a_head_has_one_host(hosts: list[bytes]) -> None:
    """The answer says how many it got."""
    assert told(check_head(b"HTTP/1.1", hosts, [], [])) == (400, f"Expected one Host header, got {len(hosts)}")


def test_a_head_has_one_length() -> None:
    """Even if both are equal."""
    assert told(check_head(b"HTTP/1.1", [b"a"], [b"1", b"1"], [])) == (400, "Expected one Content-Length, got 2")


@pytest.mark.parametrize(
    ("version", "lengths", "encodings"),
    [
        (b"HTTP/1.1", [b"1"], [b"chunked"]),
        (b"HTTP/1.0", [], [b"chunked"]),
        (b"HTTP/1.1", [], [b"gzip, chunked"]),
        (b"HTTP/1.1", [], [b"chunked", b"chunked"]),
    ],
)
def test_a_body_ends_in_one_way(version: bytes, lengths: list[bytes], encodings: list[bytes]) -> None:
    """By its length, or in HTTP/1.1 with the last chunk."""
    status, description = told(check_head(version, [b"a"], lengths, encodings))
    assert status == 400
    assert "Transfer-Encoding" in description


def test_refusals_say_what_the_limit_is() -> None:
    """So the client can correct the request."""
    assert told(HEAD_TOO_LARGE) == (431, "Expected at most 100 headers and 16384 bytes of them")
    assert told(BODY_TOO_LARGE) == (413, "Expected a body of at most 1048576 bytes")
    assert told(TOO_SLOW) == (408, "The request did not arrive in time")
    assert json.loads(TOO_MANY_CONNECTIONS.body)["stored"] == "no"
