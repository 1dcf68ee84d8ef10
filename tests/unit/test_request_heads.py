"""
Tests for L{eventsvc.web.request_heads}: how heads are read, and which are cached.
"""

from __future__ import annotations

import pytest

from eventsvc.web.request_heads import Head, RequestHeads, could_begin, read_head
from tests.support.http import post


def head(*lines: str) -> bytes:
    """Return a head with exactly these headers."""
    return "\r\n".join(["POST /event HTTP/1.1", *lines, "", ""]).encode("latin-1")


LENGTH = "Content-Length: 7"


@pytest.mark.parametrize(
    ("data", "meaning"),
    [
        (head("Host: a", LENGTH), Head(7)),
        (head("hOST:a", "content-LENGTH:  07\t", "X: y", "Empty:"), Head(7)),
        (head("Connection: Keep-Alive", "Host:", "Content-Length: 0"), Head(0)),
        (head("Host: a", LENGTH, "Idempotency-Key: k ", "idempotency-key: l"), Head(7, (b"k", b"l"))),
        (head("Host: a", LENGTH, "X-Host: b", "X: Host: b", "Not-Content-Length: 8"), Head(7)),
        (head("Host: a", LENGTH, "Words: \xff \x80"), Head(7)),
        (head("Host: a", LENGTH, *["X: y"] * 98), Head(7)),
    ],
)
def test_a_plain_head_is_read(data: bytes, meaning: Head) -> None:
    """Names in any case, values without surrounding white space."""
    assert read_head(data) == meaning


@pytest.mark.parametrize(
    "data",
    [
        post().partition(b"{")[0].replace(b"POST", b"GET"),
        post(path="/events").partition(b"{")[0],
        head(LENGTH),
        head("Host: a"),
        head("Host: a", "Host: a", LENGTH),
        head("Host: a/b", LENGTH),
        head("Host: a", LENGTH, LENGTH),
        head("Host: a", "Content-Length: +7"),
        head("Host: a", "Content-Length: 9999999"),
        head("Host: a", LENGTH, "Transfer-Encoding: chunked"),
        head("Host: a", LENGTH, "Transfer-Encoding: identity"),
        head("Host: a", LENGTH, "Expect: 100-continue"),
        head("Host: a", LENGTH, "Connection: close"),
        head("Host: a", LENGTH, "Connection: keep-alive, upgrade"),
        head("Host: a", LENGTH, "Folded: a", " b"),
        head("Host: a", f" {LENGTH}", LENGTH),
        head("Host: a", LENGTH, "Bare: a\nb"),
        head("Host: a", LENGTH, "Bare: a\rb"),
        head("Host: a", LENGTH, "Nothing: \0"),
        head("Host: a", LENGTH, "No colon"),
        head("Host: a", LENGTH, "Space : a"),
        head("Host: a", LENGTH, ": a"),
        head("Host: a", LENGTH, *["X: y"] * 99),
        head("Host: a", LENGTH, "X: " + "y" * 16_384),
        head(),
        b"\r\n\r\n",
    ],
)
def test_a_head_with_anything_else_in_it_is_left_alone(data: bytes) -> None:
    """Valid or not, it is left to twisted.web."""
    assert read_head(data) is None


def test_a_beginning_is_known_from_the_first_byte() -> None:
    """It is distinguished from everything else."""
    whole = head("Host: a", LENGTH)
    assert all(could_begin(whole[:end]) for end in range(len(whole)))
    assert not any(map(could_begin, [b"G", b"POST /events", b"POST /event HTTP/1.0", b"\r\n"]))


def test_a_head_is_known_when_it_has_come_twice() -> None:
    """Not sooner, because it might never come again."""
    heads = RequestHeads()
    data = head("Host: a", LENGTH)
    assert heads.learn(data) == Head(7)
    assert heads.cache == {}
    assert heads.learn(data) == Head(7)
    assert heads.cache == {data: Head(7)}


def test_heads_that_come_once_drive_out_none_that_are_known() -> None:
    """They are not kept either."""
    heads = RequestHeads()
    known = head("Host: a", LENGTH)
    heads.learn(known)
    heads.learn(known)
    for number in range(10_000):
        heads.learn(head("Host: a", LENGTH, f"traceparent: {number}"))
    assert list(heads.cache) == [known]
    assert len(heads._seen) <= 1024


def test_heads_with_a_key_are_not_known() -> None:
    """Each key is new, except in repetitions."""
    heads = RequestHeads()
    for _ in range(3):
        assert heads.learn(head("Host: a", LENGTH, "Idempotency-Key: k")) == Head(7, (b"k",))
    assert heads.cache == {}


def test_what_is_known_has_bounds() -> None:
    """Neither many repeated heads nor long ones fill the memory."""
    heads = RequestHeads()
    for number in range(5000):
        for _ in range(2):
            heads.learn(head("Host: a", LENGTH, f"X: {number}"))
            heads.learn(head("Host: a", LENGTH, f"X: {number}" + "y" * 1024))
    assert 0 < len(heads.cache) <= 1024
    assert max(map(len, heads.cache)) <= 1024


def test_what_is_no_plain_head_is_not_known() -> None:
    """It is not cached, however often it comes."""
    heads = RequestHeads()
    for _ in range(3):
        assert heads.learn(head(LENGTH)) is None
    assert heads.cache == {}
