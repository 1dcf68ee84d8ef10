"""
Tests for L{eventsvc.web.request_heads}: how heads are read, and which are cached.
"""

from __future__ import annotations

import pytest

from eventsvc.web.destinations import make_destinations
from eventsvc.web.post_head import PostReader
from eventsvc.web.request_heads import RequestHeads, could_begin, read_head
from tests.support.http import post
from tests.support.producer_world import make_world


def head(*lines: str) -> bytes:
    """Return a head with exactly these headers."""
    return "\r\n".join(["POST /event HTTP/1.1", *lines, "", ""]).encode("latin-1")


def make_heads() -> RequestHeads:
    """Return the heads of a site with one stream."""
    return RequestHeads(PostReader(make_destinations({"stream": make_world().appender})))


LENGTH = "Content-Length: 7"


@pytest.mark.parametrize(
    ("data", "length", "path", "telling"),
    [
        (head("Host: a", LENGTH), 7, b"/event", {}),
        (head("hOST:a", "content-LENGTH:  07\t", "X: y", "Empty:"), 7, b"/event", {}),
        (head("Connection: Keep-Alive", "Host:", "Content-Length: 0"), 0, b"/event", {}),
        (
            head("Host: a", LENGTH, "Idempotency-Key: k ", "idempotency-key: l"),
            7,
            b"/event",
            {b"idempotency-key": [b"k", b"l"]},
        ),
        (head("Host: a", LENGTH, "X-Host: b", "X: Host: b", "Not-Content-Length: 8"), 7, b"/event", {}),
        (head("Host: a", LENGTH, "Words: \xff \x80"), 7, b"/event", {}),
        (head("Host: a", LENGTH, *["X: y"] * 98), 7, b"/event", {}),
        (head("Host: a", LENGTH).replace(b"/event", b"/streams/a.b-c/event"), 7, b"/streams/a.b-c/event", {}),
        (
            head("Host: a", LENGTH, "Authorization: Bearer t", "Traceparent: p", "CE-Id: 5", "Content-Type: a/b; c=d"),
            7,
            b"/event",
            {b"authorization": [b"Bearer t"], b"traceparent": [b"p"], b"ce-id": [b"5"], b"content-type": [b"a/b; c=d"]},
        ),
    ],
)
def test_a_plain_head_is_read(data: bytes, length: int, path: bytes, telling: object) -> None:
    """Names in any case, values without surrounding white space."""
    found = read_head(data)
    assert found is not None
    others = {b"host", b"content-length", b"connection"}
    assert (*found[:2], {name: values for name, values in found[2].items() if name not in others}) == (
        length,
        path,
        telling,
    )


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
        head("Host: a", LENGTH, "Origin: http://a"),
        head("Host: a", LENGTH, "Content-Encoding: gzip"),
        head("Host: a", LENGTH).replace(b"/event", b"/streams/a%20b/event"),
        head("Host: a", LENGTH).replace(b"/event", b"/streams/a/events"),
        head("Host: a", LENGTH).replace(b"/event", b"/streams//event"),
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
    assert all(could_begin(b"POST /streams/a/event"[:end]) for end in range(20))
    assert not any(map(could_begin, [b"G", b"POST /events", b"POST /event HTTP/1.0", b"\r\n"]))


def test_a_head_is_known_when_it_has_come_twice() -> None:
    """Not sooner, because it might never come again."""
    heads = make_heads()
    data = head("Host: a", LENGTH)
    first = heads.learn(data)
    assert first is not None
    assert first.length == 7
    assert heads.cache == {}
    second = heads.learn(data)
    assert heads.cache == {data: second}


def test_a_head_for_an_unknown_stream_is_left_alone() -> None:
    """It is left to twisted.web, which answers 404."""
    heads = make_heads()
    assert heads.learn(head("Host: a", LENGTH).replace(b"/event", b"/streams/other/event")) is None
    assert heads.learn(head("Host: a", LENGTH).replace(b"/event", b"/streams/stream/event")) is not None


def test_heads_that_come_once_drive_out_none_that_are_known() -> None:
    """They are not kept either."""
    heads = make_heads()
    known = head("Host: a", LENGTH)
    heads.learn(known)
    heads.learn(known)
    for number in range(10_000):
        heads.learn(head("Host: a", LENGTH, f"traceparent: {number}"))
    assert list(heads.cache) == [known]
    assert len(heads._seen) <= 1024


def test_heads_with_a_key_are_not_known() -> None:
    """Each key is new, except in repetitions."""
    heads = make_heads()
    for _ in range(3):
        found = heads.learn(head("Host: a", LENGTH, "Idempotency-Key: k"))
        assert found is not None
        assert found.post.keys == (b"k",)
    assert heads.cache == {}


def test_what_is_known_has_bounds() -> None:
    """Neither many repeated heads nor long ones fill the memory."""
    heads = make_heads()
    for number in range(5000):
        for _ in range(2):
            heads.learn(head("Host: a", LENGTH, f"X: {number}"))
            heads.learn(head("Host: a", LENGTH, f"X: {number}" + "y" * 1024))
    assert 0 < len(heads.cache) <= 1024
    assert max(map(len, heads.cache)) <= 1024


def test_what_is_no_plain_head_is_not_known() -> None:
    """It is not cached, however often it comes."""
    heads = make_heads()
    for _ in range(3):
        assert heads.learn(head(LENGTH)) is None
    assert heads.cache == {}
