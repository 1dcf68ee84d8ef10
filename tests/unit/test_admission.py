"""
Tests for L{eventsvc.web.admission}: which connections are admitted when there are
too many, with and without the fast path.
"""

from __future__ import annotations

from socket import SHUT_WR, socketpair
from typing import Any

import pytest
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.tcp import Server
from twisted.internet.testing import MemoryReactor

from eventsvc.net.tls_transport import TLSFactory
from eventsvc.web.admin import AdminApi
from eventsvc.web.admission import SPARE, _has_unread
from eventsvc.web.limits import LINGER, PROBES
from tests.support.certificates import Authority
from tests.support.http import Connection, Served, post

MANY = 10_000


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


def fill(served: Served, number: int) -> list[Connection]:
    """Fill all places with requests that wait for Redis."""
    served.world.link.disconnect()
    served.site.max_connections = number
    busy = [served.connect() for _ in range(number)]
    for connection in busy:
        connection.send(post())
    return busy


@pytest.mark.parametrize("tls", [False, True])
def test_what_came_and_was_not_read_is_a_request(tls: bool) -> None:
    """Its connection is not idle, although nothing has been read from it; with TLS it may be a part of a handshake."""
    ours, peer = socketpair()
    with ours, peer:
        ours.setblocking(False)
        transport = Server(ours, Protocol(), ("127.0.0.1", 1), None, 0, MemoryReactor())  # type: ignore[arg-type]
        seen: Any = transport
        if tls:
            seen = TLSFactory(Authority().issue("localhost"), False, Factory.forProtocol(Protocol)).buildProtocol(None)
            seen.makeConnection(transport)
        assert not _has_unread(seen)
        peer.send(b"P")
        assert _has_unread(seen)
        ours.recv(1)
        peer.shutdown(SHUT_WR)
        assert not _has_unread(seen)


def lost(connections: list[Connection]) -> list[bool]:
    return [connection.lost for connection in connections]


def test_the_longest_idle_connection_gives_way(served: Served) -> None:
    """It is closed whether or not it ever had a request; one with a request is not."""
    served.site.max_connections = 4
    busy, used, other, fresh = (served.connect() for _ in range(4))
    served.run(1.0)
    other.send(post(path="/none"))
    served.run(1.0)
    used.send(post())
    served.run(1.0)
    served.world.link.disconnect()
    busy.send(post()[:-1])
    connections = [busy, fresh, other, used]
    order = []
    for _ in range(3):
        assert served.exchange(post(path="/none")).status == 404
        order.append(lost(connections))
        served.connect()
        served.run()
    assert order == [[False, True, False, False], [False, True, True, False], [False, True, True, True]]


def test_any_number_of_silent_connections_keeps_nobody_out(served: Served) -> None:
    """They are closed for others, and their number is bounded."""
    served.site.max_connections = 100
    for _ in range(30):
        for _ in range(100):
            served.connect()
        served.run(0.01)
        assert len(served.site.connections) == 100
        assert served.post().status == 200
        for path in sorted(PROBES):
            assert served.exchange(get(path.decode())).status == 200
    assert len(served.stored()) == 30


class Searched(dict[Any, None]):
    """Connections that count the searches over them."""

    searches = 0

    def __iter__(self) -> Any:
        self.searches += 1
        return super().__iter__()


def test_who_gives_way_is_searched_for_once_for_many(served: Served) -> None:
    """A search looks at all connections, so it must not happen for each new one."""
    served.site.max_connections = 1000
    for _ in range(1000):
        served.connect()
    served.site.connections = searched = Searched(served.site.connections)
    for _ in range(1000):
        served.connect()
    assert searched.searches <= 17
    served.site.connections = dict(searched)


@pytest.mark.parametrize("idle", [0, 1])
def test_where_few_are_idle_the_search_rests(served: Served, idle: int) -> None:
    """Otherwise a flood would cost a search for each connection."""
    busy = fill(served, 100)
    for connection in busy[:idle]:
        connection.vanish()
        served.connect()
    served.site.connections = searched = Searched(served.site.connections)
    for _ in range(1000):
        served.connect()
    assert searched.searches == 1
    assert lost(busy[idle:]) == [False] * (100 - idle)
    served.site.connections = dict(searched)


def test_who_has_a_request_again_does_not_give_way(served: Served) -> None:
    """It was idle at the search, but has a request by now."""
    served.site.max_connections = 32
    first = served.connect()
    served.run()
    others = [served.connect() for _ in range(31)]
    served.run()
    served.connect()
    assert first.aborted
    second, third = others[:2]
    second.send(post()[:-1])
    served.connect()
    served.connect()
    assert [second.aborted, third.aborted] == [False, True]


@pytest.mark.parametrize("request_bytes", [post(), post(path="/none"), get("/event"), post(path="/metrics"), get("/")])
def test_a_connection_too_many_is_503_and_closed(served: Served, request_bytes: bytes) -> None:
    """Its events are not stored; once another connection is closed there is room again."""
    first, _ = fill(served, 2)
    third = served.connect()
    third.send(request_bytes)
    response = third.response()
    assert (response.status, response.headers["Retry-After"], response.headers["Connection"]) == (503, "1", "close")
    assert response.problem["title"] == "Too many connections"
    assert response.problem["stored"] == "no"
    served.run(LINGER + 0.1)
    assert third.lost
    first.vanish()
    served.world.link.connect()
    served.run()
    assert served.post().status == 200
    assert "hello" in served.stored()


@pytest.mark.parametrize("bound", ["max_connections", "per_address"])
def test_a_repetition_on_a_connection_too_many_may_be_stored(served: Served, bound: str) -> None:
    """The key was not looked up, so the answer is "unknown"."""
    key = "Idempotency-Key: a"
    assert served.post(b"{}", key).status == 400
    setattr(served.site, bound, 1)
    served.connect().send(post()[:-1])
    answers = [served.post(b'{"description": "hello"}', *headers).problem["stored"] for headers in ([key], [])]
    assert answers == ["unknown", "no"]


def test_a_connection_too_many_that_is_silent_is_told_so(served: Served) -> None:
    """It is closed after a moment."""
    fill(served, 2)
    third = served.connect()
    served.run(LINGER + 0.1)
    assert third.response().status == 503
    served.run(LINGER + 0.1)
    assert third.lost


@pytest.mark.parametrize(
    "target", ["/health/live", "/health/ready", "/metrics", "/metrics?name=a", "http://a/health/live"]
)
def test_a_probe_is_answered_when_all_connections_are_busy(served: Served, target: str) -> None:
    """One probe, whole or in pieces, with GET or HEAD."""
    busy = fill(served, 2)
    for request_bytes in (get(target), get(target).replace(b"GET", b"HEAD")):
        probe = served.connect()
        probe.send(*[request_bytes[at : at + 5] for at in range(0, len(request_bytes), 5)])
        probe.send(post())
        served.run()
        (response,) = probe.responses(bodies=request_bytes.startswith(b"GET"))
        assert (response.status, response.headers["Connection"]) == (200, "close")
        assert probe.lost
    assert lost(busy) == [False, False]
    assert served.stored() == []


def test_a_probe_is_answered_when_all_spare_places_are_taken(served: Served) -> None:
    """The oldest is closed, so the number of sockets is bounded."""
    busy = fill(served, 200)
    silent = [served.connect() for _ in range(1000)]
    assert served.exchange(get("/health/live")).status == 200
    served.run(0.0)
    assert lost(busy) == [False] * 200
    assert lost(silent).count(False) <= SPARE


def test_each_probe_has_a_route() -> None:
    """Every route is for events or for probes."""
    assert {rule.rule.encode() for rule in AdminApi.app.url_map.iter_rules()} == PROBES


def test_a_bound_for_each_address(served: Served) -> None:
    """Other addresses are admitted, and so are probes from this one."""
    served.site.per_address = 2
    mine = [served.connect("127.0.0.2") for _ in range(3)]
    mine[2].send(post())
    response = mine[2].response()
    assert response.status == 503
    assert response.problem["stored"] == "no"
    assert "address" in response.problem["description"]
    probe = served.connect("127.0.0.2")
    probe.send(get("/health/live"))
    other = served.connect("127.0.0.3")
    other.send(post())
    served.run()
    assert [probe.response().status, other.response().status] == [200, 200]
    assert lost(mine[:2]) == [False, False]


def test_an_address_has_room_again_when_its_connections_are_gone(served: Served) -> None:
    """However they ended and whoever parsed them; nothing is kept about the address."""
    served.site.per_address = 3
    for _ in range(3):
        plain, other, _ = [served.connect("127.0.0.2") for _ in range(3)]
        plain.send(post())
        other.send(post(path="/none"))
        served.run()
        assert [plain.response().status, other.response().status] == [200, 404]
        refused = served.connect("127.0.0.2")
        refused.send(post())
        assert refused.response().status == 503
        plain.vanish()
        other.vanish()
        served.run(30.0)
    assert not served.site.connections
    assert not served.site.admission._of_host
    assert not served.site.admission._hosts
    assert not served.site.admission.spare


def test_without_a_bound_an_address_has_all(served: Served) -> None:
    """The address may be a load balancer."""
    served.site.max_connections = 3
    connections = [served.connect() for _ in range(3)]
    for connection in connections:
        connection.send(post())
    served.run()
    assert [connection.response().status for connection in connections] == [200] * 3
    assert not served.site.admission._of_host
