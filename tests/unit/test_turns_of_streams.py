"""
Requests for several streams on one connection, of which one finds its queue full.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import pytest

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
