"""
Tests for L{eventsvc.web.arrivals}: large requests arrive only when there is room for them, with
and without the fast path.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsvc.event import MAX_BYTES
from eventsvc.web.arrivals import READ, READ_LARGE, Arrivals, Reservation
from eventsvc.web.turns import SMALL
from tests.support.http import EVENT, MAKERS, Connection, Served, head, post, serving
from tests.support.producer_world import make_world

both = pytest.mark.parametrize("make", MAKERS)
paths = pytest.mark.parametrize("path", ["/event", "/events"])

#: Half of what all requests may hold in these tests.
HALF = 50_000


def large(name: str, path: str, *headers: str, size: int = HALF) -> bytes:
    """Return a request with a body of this size."""
    return post(b'{"description": "%b"}'.replace(b"%b", name.encode()).ljust(size), *headers, path=path)


def begin(served: Served, request: bytes) -> Connection:
    """Send the head of a request and the beginning of its body."""
    connection = served.connect()
    connection.send(request[:1_000])
    return connection


def statuses(connections: list[Connection]) -> list[list[int]]:
    return [[response.status for response in connection.responses()] for connection in connections]


@both
@paths
def test_bodies_come_in_as_far_as_there_is_room(make: Any, path: str) -> None:
    """They are admitted in order, each as a whole; the others are not read until then."""
    with serving(make, make_world(queue_bytes=2 * HALF)) as served:
        requests = [large(f"{number}", path) for number in range(5)]
        clients = [begin(served, request) for request in requests]
        assert [client.paused for client in clients] == [False, False, True, True, True]
        for client, request in zip(clients, requests):
            client.send(request[1_000:])
        served.run(1.0)
        assert statuses(clients) == [[200]] * 5
        assert served.stored() == ["0", "1", "2", "3", "4"]
        assert served.site.arrivals.held == 0


@both
def test_small_requests_come_in_whatever_is_reserved(make: Any) -> None:
    """Even while stalled bodies hold all reservations."""
    with serving(make, make_world(queue_bytes=2 * HALF)) as served:
        clients = [begin(served, large("slow", path)) for path in ("/event", "/events") * 10]
        assert served.site.arrivals.held <= 2 * HALF
        assert served.post().status == 200
        assert served.post(EVENT.ljust(SMALL), path="/events").status == 200
        served.run(11.1)
        assert {status for [status] in statuses(clients)} <= {408, 503}
        assert served.site.arrivals.held == 0


@both
@paths
@pytest.mark.parametrize(("headers", "stored"), [((), "no"), (("Idempotency-Key: a",), "unknown")])
def test_who_finds_no_room_in_time_is_503(make: Any, path: str, headers: tuple[str, ...], stored: str) -> None:
    """The answer does not blame the client, and its connection closes cleanly."""
    with serving(make, make_world(queue_bytes=2 * HALF)) as served:
        served.site.arrivals.reserve(2 * HALF, lambda: None)
        request = large("late", path, *headers)
        late = begin(served, request)
        late.send(request[1_000:])
        served.run(9.9)
        assert late.received == b""
        served.run(1.2)
        assert (late.response().status, late.response().problem["stored"]) == (503, stored)
        assert late.response().headers["Connection"] == "close"
        assert not late.paused


@both
def test_the_bytes_of_the_queue_count_too(make: Any) -> None:
    """Room freed in the queue admits waiting requests."""
    with serving(make, make_world(queue_bytes=2 * HALF, wait=100.0), timeout=100.0) as served:
        served.world.link.disconnect()
        filled = served.connect()
        filled.send(post(b'{"description": "%b"}' % (b"x" * HALF), path="/events"))
        served.run()
        assert served.world.appender.backlog.size > HALF
        first, second = [begin(served, large("x", "/events")) for _ in range(2)]
        assert [first.paused, second.paused] == [False, True]  # the first because there is no other
        served.world.link.connect()
        served.run()
        assert [first.paused, second.paused] == [False, False]


@both
@paths
def test_a_client_that_goes_away_leaves_its_bytes_to_others(make: Any, path: str) -> None:
    """Whether or not they had arrived."""
    with serving(make, make_world(queue_bytes=2 * HALF)) as served:
        request = large("x", path)
        clients = [begin(served, request) for _ in range(6)]
        for gone in (clients[3], clients[0], clients[1], clients[4]):
            gone.vanish()
        assert [clients[2].paused, clients[5].paused] == [False, False]
        assert served.site.arrivals.held == 2 * HALF
        clients[2].vanish()
        clients[5].vanish()
        assert served.site.arrivals.held == 0


@both
def test_a_client_that_begins_to_read_again_still_waits_for_its_bytes(make: Any) -> None:
    with serving(make, make_world(queue_bytes=2 * HALF)) as served:
        served.site.arrivals.reserve(2 * HALF, lambda: None)
        client = begin(served, large("x", "/events"))
        assert client.producer is not None
        client.producer.pauseProducing()
        client.producer.resumeProducing()
        assert client.paused


@both
@paths
def test_a_body_larger_than_all_that_may_be_held_comes_in_alone(make: Any, path: str) -> None:
    """Otherwise it would never be admitted; the queue then refuses what it cannot hold."""
    with serving(make, make_world(queue_bytes=1_000)) as served:
        assert served.exchange(large("white space", path)).status == 200
        assert served.post(b'{"description": "%b"}' % (b"x" * HALF), path=path).status == 413


@both
def test_a_chunked_body_is_taken_for_the_largest_once_it_is_not_small(make: Any) -> None:
    """Its size is not known before its end."""
    with serving(make, make_world(queue_bytes=MAX_BYTES)) as served:
        small, first, second = [served.connect() for _ in range(3)]
        for client, size in (small, SMALL - 100), (first, SMALL + 1), (second, SMALL + 1):
            client.send(head("Host: a", "Transfer-Encoding: chunked"), b"%x\r\n" % size, EVENT.ljust(size), b"\r\n")
        assert [small.paused, first.paused, second.paused] == [False, False, True]
        for client in small, second, first:
            client.send(b"0\r\n\r\n")
        served.run()
        assert statuses([small, first, second]) == [[200]] * 3


@both
@paths
def test_a_connection_is_read_by_much_while_it_has_room_for_it(make: Any, path: str) -> None:
    """Before and after, reads are small, because the buffers of many connections add up."""
    with serving(make) as served:
        client = served.connect()
        transport: Any = client
        request = large("x", path)
        client.send(request[:1_000])
        assert transport.read_size == READ_LARGE
        client.send(request[1_000:])
        served.run()
        assert transport.read_size == READ


@both
def test_bodies_that_wait_for_the_queue_keep_their_bytes(make: Any) -> None:
    """Their reservations last until the queue holds their events."""
    with serving(make, make_world(queue_bytes=2 * HALF, queue_events=1, wait=100.0), timeout=100.0) as served:
        served.world.link.disconnect()
        served.connect().send(post())
        served.run()
        waiting = served.connect()
        waiting.send(large("x", "/events"))
        served.run()
        assert served.site.arrivals.held >= HALF
        served.world.link.connect()
        served.run()
        assert statuses([waiting]) == [[200]]
        assert served.site.arrivals.held == 0


@both
def test_a_large_request_behind_others_of_its_read_keeps_its_place(make: Any) -> None:
    """Answers to earlier requests do not release its reservation."""
    with serving(make, make_world(queue_bytes=2 * HALF)) as served:
        client = served.connect()
        request = large("x", "/event")
        client.send(post() + request[:500])
        served.run()
        client.send(request[500:20_000])
        served.run()
        assert served.site.arrivals.held >= HALF
        client.send(request[20_000:] + post())
        served.run()
        assert statuses([client]) == [[200, 200, 200]]
        assert served.site.arrivals.held == 0


@both
@paths
@pytest.mark.parametrize(("first", "status"), [(EVENT, 200), (b"{}", 400)])
def test_a_large_request_right_behind_another_reserves_too(make: Any, path: str, first: bytes, status: int) -> None:
    """The reservation of the first is not passed on to the second."""
    with serving(make, make_world(queue_bytes=2 * HALF)) as served:
        before, request = post(first.ljust(HALF), path=path), large("x", path)
        client = begin(served, before)
        client.send(before[1_000:] + request[:1_000])
        served.run()
        assert statuses([client]) == [[status]]
        assert served.site.arrivals.held == HALF
        client.send(request[1_000:])
        served.run()
        assert statuses([client]) == [[status, 200]]
        assert served.site.arrivals.held == 0


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 60), st.integers(0, 9)), max_size=60))
def test_whatever_is_reserved_and_released_the_bound_holds_and_all_get_in(steps: list[tuple[bool, int, int]]) -> None:
    arrivals = Arrivals(100)
    open_: list[Reservation] = []
    granted: list[int] = []
    for reserves, size, which in steps:
        if reserves:
            open_.append(arrivals.reserve(size, lambda: granted.append(1)))
        elif open_:
            released = open_.pop(which % len(open_))
            released.release()
            released.release()
        assert arrivals.held == sum(each.size for each in open_ if each.granted) <= 100
        waiting = [each for each in open_ if not each.granted]
        assert not waiting or arrivals.held + waiting[0].size > 100
        assert [each.granted for each in open_] == sorted([each.granted for each in open_], reverse=True)
    while open_:
        first = open_.pop(0)
        assert first.granted
        first.release()
    assert arrivals.held == 0
