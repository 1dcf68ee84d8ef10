"""
Requests for several streams on one connection, of which one finds its queue full.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsvc.web.turns import SMALL, Turns
from tests.support.http import MAKERS, Connection, Served, post, serving
from tests.support.producer_world import ProducerWorld, make_world

both = pytest.mark.parametrize("make", MAKERS)


@attrs.frozen
class Streams:
    """A site with an open stream and one whose queue has room for a single event."""

    served: Served
    full: ProducerWorld

    def connect(self, *pieces: bytes) -> Connection:
        connection = self.served.connect()
        connection.send(*pieces)
        return connection

    def names(self) -> tuple[list[str], list[str]]:
        return self.served.stored(), self.full.stored()


@contextmanager
def streams(make: Any, wait: float = 5.0, **limits: Any) -> Iterator[Streams]:
    """Fill the queue of one stream."""
    world = make_world(wait=wait)
    full = make_world(clock=world.clock, wait=wait, **{"queue_events": 1, "batch_events": 1, **limits})
    with serving(make, world, others={"full": full}) as served:
        full.link.disconnect()
        made = Streams(served, full)
        made.connect(to_full("first"))
        yield made


def to_open(name: str, *headers: str, size: int = 0) -> bytes:
    return post(b'{"description": "%b"%b}' % (name.encode(), b" " * size), *headers)


def to_full(name: str, *headers: str, size: int = 0) -> bytes:
    body = b'{"description": "%b"%b}' % (name.encode(), b" " * size)
    return post(body, *headers, path="/streams/full/event")


def statuses(connection: Connection) -> list[int]:
    return [response.status for response in connection.responses()]


@both
@pytest.mark.parametrize("pieces", [1, 2])
def test_a_request_behind_one_that_waits_is_stored_after_it(pieces: int, make: Any) -> None:
    with streams(make) as made:
        sent = [to_full("a"), to_open("b"), to_full("c"), to_open("d")]
        client = made.connect(*([b"".join(sent)] if pieces == 1 else sent))
        made.served.run(1.0)
        assert statuses(client) == []
        made.full.link.connect()
        made.served.run(1.0)
        assert statuses(client) == [200] * 4
        assert made.names() == (["b", "d"], ["first", "a", "c"])


@both
@pytest.mark.parametrize("pieces", [1, 2])
def test_a_request_behind_one_that_is_refused_is_not_refused(pieces: int, make: Any) -> None:
    """Its own stream has room."""
    with streams(make) as made:
        sent = [to_full("a"), to_open("b")]
        client = made.connect(*([b"".join(sent)] if pieces == 1 else sent))
        made.served.run(5.5)
        assert statuses(client) == [503, 200]
        assert made.names() == (["b"], [])


def test_the_timer_of_a_line_ends_whatever_the_clock_says() -> None:
    """0.1 + 5 - 5 is less than 0.1: such a deadline is over, too."""
    world = make_world(wait=5.0)
    world.run(0.1)
    turns = Turns(world.appender)
    called: list[bool] = []
    turns.join(1, called.append)
    world.run(5.0)
    assert called == [True]
    world.appender.stop()


def make_request(kind: str, name: str) -> bytes:
    """Return a request of one of L{KINDS}."""
    stream, _, form = kind.partition(" ")
    body = b'{"description": "%b"}' % name.encode()
    path = {"open": "/event", "full": "/streams/full/event"}[stream]
    match form:
        case "batch":
            return post(body, path=f"{path}s")
        case "large":
            return post(body.ljust(SMALL + 1), path=path)
        case "keyed":
            return post(body, f"Idempotency-Key: {name}", path=path)
        case "cloudevent":
            members = b'{"specversion": "1.0", "id": "%b", "source": "/a", "type": "%b"}' % (
                name.encode(),
                name.encode(),
            )
            return post(members, "Content-Type: application/cloudevents+json", path=path)
        case "chunked":
            head = post(body, path=path).partition(b"\r\n\r\n")[0]
            head = head.replace(b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked")
            return head + b"\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        case _:
            return post(body, path=path)


FORMS = ["", "batch", "large", "keyed", "cloudevent", "chunked"]
KINDS = [f"{stream} {form}" for stream in ("open", "full") for form in FORMS]


@both
def test_each_request_is_answered_in_order_and_stored_once(make: Any) -> None:
    """However requests for both streams are mixed on several connections, and for however long one of them is full."""
    answered = Counter[int]()

    @settings(max_examples=100)
    @given(
        st.lists(st.lists(st.sampled_from(KINDS), min_size=1, max_size=8), min_size=1, max_size=3),
        st.lists(st.integers(0, 3_000), max_size=6),
        st.sampled_from([0.0, 0.5, 4.9, 5.1, 7.0, 100.0]),
        st.integers(1, 3),
    )
    def mix(sent: list[list[str]], cuts: list[int], full_for: float, room: int) -> None:
        with streams(make, queue_events=room) as made:
            clients = []
            for number, kinds in enumerate(sent):
                names = [f"{number}-{place}" for place in range(len(kinds))]
                whole = b"".join(map(make_request, kinds, names))
                at = [0, *sorted({min(cut, len(whole)) for cut in cuts}), len(whole)]
                connection = made.connect(*[whole[begin:end] for begin, end in pairwise(at)])
                clients.append((connection, list(zip(names, kinds))))
            made.served.run(full_for)
            made.full.link.connect()
            made.served.run(100.0)
            stored = dict(zip(("open", "full"), made.names()))
            for connection, requests in clients:
                responses = connection.responses()
                assert len(responses) == len(requests)
                for response, (name, kind) in zip(responses, requests):
                    answered[response.status] += 1
                    count = stored[kind.split()[0]].count(name)
                    if response.status == 200:
                        assert count == 1
                    else:
                        assert kind.startswith("full")
                        assert response.status == 503
                        assert count <= (response.problem["stored"] == "unknown")

    mix()
    assert min(answered[200], answered[503]) > 30
