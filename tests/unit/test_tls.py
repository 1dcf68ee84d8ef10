"""
Tests for L{eventsvc.net.tls_transport}: HTTP under TLS in memory, with and without
the fast path.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.protocol import Protocol
from twisted.web import http

from eventsvc.event import MAX_BYTES
from eventsvc.web.arrivals import READ, READ_LARGE
from eventsvc.web.limits import FIRST_BYTE, IDLE, LINGER
from tests.support.http import MAKERS, post
from tests.support.tls import TLSServed, serving_tls


@pytest.fixture(params=MAKERS)
def served(request: pytest.FixtureRequest) -> Iterator[TLSServed]:
    with serving_tls(request.param) as made:
        yield made


def run(served: TLSServed, seconds: float = 0.1) -> None:
    served.served.run(seconds)


def test_events_are_taken_under_tls(served: TLSServed) -> None:
    """One by one, pipelined, and on other routes."""
    client = served.connect()
    client.send(post())
    run(served)
    client.send(post() + post() + post(path="/none"))
    run(served)
    assert [response.status for response in client.responses()] == [200, 200, 200, 404]
    assert served.served.stored() == ["hello"] * 3


def test_a_refusal_arrives_under_tls_before_the_end(served: TLSServed) -> None:
    """A client that continues to send does not lose it."""
    client = served.connect()
    client.send(post() + b"nonsense\r\n\r\n")
    client.send(b"more " * 1000)
    run(served)
    assert [response.status for response in client.responses()] == [200, 400]
    assert client.ended
    run(served, LINGER - 0.5)
    assert not client.raw.aborted
    run(served, 0.5)
    assert client.raw.aborted


def test_a_request_under_tls_has_its_time(served: TLSServed) -> None:
    """However slowly its bytes arrive."""
    client = served.connect()
    for byte in post()[:23]:
        client.send(bytes([byte]))
        run(served, 0.5)
    assert [response.status for response in client.responses()] == [408]


def test_a_client_under_tls_that_goes_away_is_forgotten(served: TLSServed) -> None:
    """Its requests are dropped too."""
    client = served.connect()
    served.served.world.link.disconnect()
    client.send(post())
    client.vanish()
    served.served.world.link.connect()
    run(served)
    assert not served.served.site.connections
    assert served.served.stored() == []
    transport = client.raw.protocol
    assert (transport.wrappedProtocol, transport._producer) == (None, None)  # they would be a reference cycle
    transport.abortConnection()


class Aborting(Protocol):
    """Cuts the connection off with the first bytes."""

    transport: Any

    def __init__(self) -> None:
        self.received: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        self.received.append(data)
        self.transport.abortConnection()


def test_nothing_is_received_after_an_abort(served: TLSServed) -> None:
    """Not even what came in the same read."""
    served.factory.wrappedFactory.buildProtocol = lambda address: Aborting()
    client = served.connect()
    client.tls.write(b"one")
    client.tls.write(b"two")
    client.raw.send(client._to_server.read())
    assert client.raw.protocol.wrappedProtocol.received == [b"one"]


@pytest.mark.parametrize("how", ["close_notify", "FIN", "both"])
def test_a_client_under_tls_that_ends_gets_its_answers_first(served: TLSServed, how: str) -> None:
    """Whether it says so in TLS, in TCP, or in both."""
    client = served.connect()
    served.served.world.link.disconnect()
    client.send(post() + post(path="/none"))
    if how != "FIN":
        client.end()
    if how != "close_notify":
        client.raw.end()
    run(served)
    assert client.responses() == []
    served.served.world.link.connect()
    run(served)
    assert [response.status for response in client.responses()] == [200, 404]
    assert client.ended
    assert client.lost


def test_an_idle_client_under_tls_that_ends_is_let_go(served: TLSServed) -> None:
    client = served.connect()
    client.send(post())
    run(served)
    client.end()
    run(served)
    assert client.lost


def test_an_idle_connection_under_tls_is_closed_at_once_at_the_end(served: TLSServed) -> None:
    """A client that does not read cannot hold up the end by not answering the close_notify."""
    client = served.connect()
    run(served)
    drained = served.factory.drain()
    run(served, 0.6)
    assert client.ended
    assert (client.lost, drained.called) == (True, True)


def test_the_request_in_progress_at_the_end_is_answered(served: TLSServed) -> None:
    client = served.connect()
    client.send(post()[:-1])
    drained = served.factory.drain()
    run(served, 1.0)
    client.send(post()[-1:])
    run(served)
    (response,) = client.responses()
    assert response.headers["Connection"] == "close"
    assert client.ended
    assert drained.called


@pytest.mark.parametrize("sent", [0, 1, 5, 100])
def test_a_handshake_that_is_not_completed_ends_with_the_time_for_the_first_byte(served: TLSServed, sent: int) -> None:
    """And it counts as a connection; the bytes of its handshake give it no more time."""
    client = served.open()
    client.raw.send(client.hello()[:sent])
    run(served, FIRST_BYTE - 0.1)
    assert (client.lost, len(served.served.site.connections)) == (False, 1)
    run(served, 1.1)
    assert client.lost
    assert not served.served.site.connections


def test_a_handshake_that_drips_ends_too(served: TLSServed) -> None:
    client = served.open()
    hello = client.hello()
    for byte in hello[:23]:
        client.raw.send(bytes([byte]))
        run(served, 0.5)
    assert client.lost


def test_a_handshake_without_a_request_ends_with_the_time_for_the_first_byte(served: TLSServed) -> None:
    client = served.connect()
    run(served, FIRST_BYTE + 1.0)
    assert client.lost


def test_a_connection_under_tls_that_has_had_a_request_may_be_idle(served: TLSServed) -> None:
    client = served.connect()
    client.send(post())
    run(served, IDLE - 1.0)
    assert not client.lost
    run(served, 2.1)
    assert client.lost


def test_silent_handshakes_keep_nobody_out(served: TLSServed) -> None:
    """They give way as other idle connections do."""
    served.served.site.max_connections = 20
    silent = [served.open() for _ in range(100)]
    run(served)
    client = served.connect()
    client.send(post())
    run(served)
    assert [response.status for response in client.responses()] == [200]
    assert sum(not each.lost for each in silent) < 20


def test_a_probe_under_tls_is_answered_when_all_are_busy(served: TLSServed) -> None:
    """And a silent connection beyond the admitted ones is closed before its handshake, without an answer."""
    served.served.site.max_connections = 8
    served.served.world.link.disconnect()
    for _ in range(8):
        served.connect().send(post())
    silent = served.open()
    probe = served.connect()
    probe.send(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
    event = served.connect()
    event.send(post())
    run(served)
    assert [response.status for response in probe.responses()] == [200]
    assert [response.status for response in event.responses()] == [503]
    run(served, LINGER + 1.0)
    assert silent.lost


def test_who_speaks_no_tls_is_closed(served: TLSServed) -> None:
    client = served.open()
    client.raw.send(post())
    run(served)
    assert client.lost
    assert not client.raw.received.startswith(b"HTTP")


@pytest.mark.parametrize("cut", [1, 30, 4_000])
def test_a_broken_record_ends_the_connection(served: TLSServed, cut: int) -> None:
    """It is not taken for the end of the requests."""
    client = served.connect()
    served.served.world.link.disconnect()
    client.tls.write(post(b" " * 5_000 + b'{"description": "x"}'))
    record = bytearray(client._to_server.read())
    record[-cut] ^= 1
    client.raw.send(bytes(record))
    run(served)
    assert client.lost
    assert served.served.stored() == []


def test_large_bodies_under_tls_are_read_in_large_pieces(served: TLSServed) -> None:
    """The size of a read is that of the socket below."""
    client = served.connect()
    body = b'{"description": "' + b"x" * (MAX_BYTES - 100) + b'"}'
    whole = post(body)
    client.send(whole[:40_000])
    assert client.raw.read_size == READ_LARGE  # type: ignore[attr-defined]
    client.send(whole[40_000:])
    run(served)
    assert [response.status for response in client.responses()] == [200]
    assert client.raw.read_size == READ  # type: ignore[attr-defined]


def test_a_large_body_under_tls_waits_for_room(served: TLSServed) -> None:
    """The socket is not read meanwhile, and all is read in the end."""
    arrivals = served.served.site.arrivals
    held = arrivals.reserve(arrivals.bound, lambda: None)
    client = served.connect()
    whole = post(b" " * 100_000 + b'{"description": "x"}')
    client.send(whole[:60_000])
    assert client.paused
    client.send(whole[60_000:])
    run(served)
    assert client.responses() == []
    held.release()
    run(served)
    assert [response.status for response in client.responses()] == [200]


def test_a_client_under_tls_that_does_not_read_is_not_read_from(served: TLSServed) -> None:
    """Its answers wait in bounded memory; once it reads, it gets them all."""
    client = served.connect()
    client.raw.reading = False
    sent = 0
    while not client.paused and sent < 20_000:
        client.send(post(path="/none") * 10)
        sent += 10
        run(served, 0.001)
    assert client.paused
    client.read()
    run(served)
    assert [response.status for response in client.responses()] == [404] * sent


def test_only_http_1_is_negotiated(served: TLSServed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if twisted.web could speak HTTP/2."""
    monkeypatch.setattr(http, "H2_ENABLED", True)
    assert served.served.site.acceptableProtocols() == [b"http/1.1"]


def test_the_time_of_a_request_counts_under_tls(served: TLSServed) -> None:
    """One that Redis does not answer is 503."""
    client = served.connect()
    served.served.world.link.disconnect()
    client.send(post())
    run(served, 11.0)
    assert [response.status for response in client.responses()] == [503]


def test_a_site_that_closes_closes_a_new_connection_before_its_handshake(served: TLSServed) -> None:
    busy = served.connect()
    busy.send(post()[:-1])
    served.factory.drain()
    run(served, 1.0)
    client = served.open()
    run(served)
    assert client.lost
    assert not busy.lost
