"""
Tests for L{eventsvc.client}: over loopback, against a server whose answers the
test chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from treq.client import HTTPClient
from treq.testing import RequestTraversalAgent
from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from chaos.process import stable_port
from eventsvc.client import Client, Posted, make_client
from eventsvc.event import Event
from eventsvc.net.pem import read_trust_root
from eventsvc.outcome import Outcome
from tests.support.certificates import Authority

reactor: Any = _reactor
EVENT = Event("hello")

#: What the server does with a connection that brought it a request.
Reaction = Callable[["Connection"], object]


class Connection(Protocol):
    """The server's end; it treats each piece of data as a request."""

    transport: Any

    def __init__(self, server: Server) -> None:
        self.server = server
        self.lost: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self.server.connections.append(self)

    def dataReceived(self, data: bytes) -> None:
        self.server.requests.append(data)
        waiting, self.server.waiting = self.server.waiting, []
        for each in waiting:
            each.callback(None)
        self.server.react(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(None)


@attrs.define
class Server:
    """A server on loopback."""

    port: int = 0
    react: Reaction = lambda connection: None
    connections: list[Connection] = attrs.field(factory=list)
    requests: list[bytes] = attrs.field(factory=list)
    waiting: list[Deferred[None]] = attrs.field(factory=list)

    def when_asked(self) -> Deferred[None]:
        """Return a Deferred that fires with the next request."""
        asked: Deferred[None] = Deferred()
        self.waiting.append(asked)
        return asked


class Connections(Factory):
    """Makes the server's ends."""

    noisy = False

    def __init__(self, server: Server) -> None:
        self.server = server

    def buildProtocol(self, address: IAddress | None) -> Connection:
        return Connection(self.server)


class Endless(Resource):
    """Begins an answer and never ends it."""

    def render_POST(self, request: Request) -> int:
        request.setResponseCode(503)
        request.write(b"{")
        return NOT_DONE_YET


@pytest.fixture
def server() -> Iterator[Server]:
    """Run a listening server, and close it and its connections at the end."""
    server = Server()
    port = reactor.listenTCP(0, Connections(server), interface="127.0.0.1")
    server.port = port.getHost().port
    yield server
    for connection in server.connections:
        connection.transport.abortConnection()
        pytest_twisted.blockon(connection.lost)
    pytest_twisted.blockon(port.stopListening())


@pytest.fixture
def tls_server() -> Iterator[tuple[Server, Authority]]:
    """Run a server that speaks TLS, and close it at the end."""
    stored = answer("200 OK", "Event-Id: 4613732495722164")
    server, authority = Server(), Authority()
    server.react = lambda connection: (
        server.requests[-1].endswith(b"}") and stored(connection)
    )  # head and body come apart
    port = reactor.listenSSL(0, Connections(server), authority.issue("localhost"), interface="127.0.0.1")
    server.port = port.getHost().port
    yield server, authority
    for connection in server.connections:
        connection.transport.abortConnection()
        pytest_twisted.blockon(connection.lost)
    pytest_twisted.blockon(port.stopListening())


@pytest.mark.parametrize(
    ("host", "trusted", "outcome"),
    [
        ("localhost", True, Outcome.OK),
        ("localhost", False, Outcome.UNKNOWN),
        ("127.0.0.1", True, Outcome.UNKNOWN),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_client_posts_over_tls_and_verifies_the_certificate(
    tls_server: tuple[Server, Authority], host: str, trusted: bool, outcome: Outcome, tmp_path: Path
) -> None:
    """It must be of an authority that is trusted, and for the host of the URL; else nothing is sent."""
    server, authority = tls_server
    file = tmp_path / "ca.pem"
    file.write_bytes((authority if trusted else Authority()).pem())
    trust_root = read_trust_root("CA", str(file))
    client = make_client(reactor, f"https://{host}:{server.port}", 10, trust_root=trust_root)
    posted = await client.post(EVENT)
    assert posted.outcome is outcome
    assert bool(server.requests) is (outcome is Outcome.OK)


@pytest_twisted.ensureDeferred
async def test_a_client_knows_http_alone(server: Server) -> None:
    posted = await make_client(reactor, f"ftp://127.0.0.1:{server.port}", 10).post(EVENT)
    assert "Unsupported scheme" in posted.why


def client_for(port: int, clock: Clock | None = None) -> Client:
    client = make_client(reactor, f"http://127.0.0.1:{port}", 10)
    return client if clock is None else attrs.evolve(client, clock=clock)


def answer(status: str, *headers: str, body: str = "") -> Reaction:
    """Answer with a whole response."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", body]
    return lambda connection: connection.transport.write("\r\n".join(lines).encode())


def problem(status: str, **more: str) -> Reaction:
    """Answer with an error body, as a producer does."""
    members = "".join(f', "{name}": "{value}"' for name, value in more.items())
    return answer(status, body=f'{{"status": {status[:3]}, "title": "title", "description": "why"{members}}}')


def lose(connection: Connection) -> None:
    """Close without an answer."""
    connection.transport.loseConnection()


def break_off(connection: Connection) -> None:
    """Close in the middle of an answer."""
    connection.transport.write(b"HTTP/1.1 503 No\r\nContent-Length: 100\r\n\r\n{")
    connection.transport.loseConnection()


def refused(why: str) -> Posted:
    return Posted(Outcome.REFUSED, why=why)


def unknown(why: str) -> Posted:
    return Posted(Outcome.UNKNOWN, why=why)


@pytest.mark.parametrize(
    ("react", "posted"),
    [
        pytest.param(answer("200 OK", "Event-Id: 4613732495722164"), Posted(Outcome.OK, 4613732495722164), id="200"),
        pytest.param(problem("400 Bad"), refused("400 title: why"), id="400"),
        pytest.param(problem("404 No"), refused("404 title: why"), id="404"),
        pytest.param(problem("413 Large"), refused("413 title: why"), id="413"),
        pytest.param(problem("422 Other"), refused("422 title: why"), id="422"),
        pytest.param(problem("503 No", stored="no"), refused("503 title: why"), id="503, not stored"),
        pytest.param(problem("503 No", stored="unknown"), unknown("503 title: why"), id="503, unknown"),
        pytest.param(problem("503 No"), unknown("503 title: why"), id="503 of a proxy"),
        pytest.param(problem("500 No"), unknown("500 title: why"), id="500"),
        pytest.param(answer("502 No", body="<html>"), unknown("502 <html>: "), id="502 that is no JSON"),
        pytest.param(answer("400 Bad", body="<html>"), refused("400 <html>: "), id="400 that is no JSON"),
        pytest.param(
            problem("409 Conflict"),
            unknown("409 title: why"),
            id="409, another request may store it",
        ),
        pytest.param(answer("200 OK"), unknown("200 without the id of an event"), id="200 without an id"),
        pytest.param(
            answer("200 OK", "Event-Id: x"), unknown("200 without the id of an event"), id="200 with an id that is none"
        ),
    ],
)
@pytest_twisted.ensureDeferred
async def test_an_answer_is_one_of_three_outcomes(server: Server, react: Reaction, posted: Posted) -> None:
    """200 is ok; refused is certainly not stored; everything else is unknown."""
    server.react = react
    assert await client_for(server.port).post(EVENT) == posted


@pytest.mark.parametrize("react", [lose, break_off])
@pytest_twisted.ensureDeferred
async def test_a_lost_connection_is_unknown(server: Server, react: Reaction) -> None:
    """A sent event may be stored unless an answer says that it is not; it is not sent again."""
    server.react = react
    posted = await client_for(server.port).post(EVENT)
    assert posted.outcome is Outcome.UNKNOWN
    assert posted.why.startswith("the answer was lost: ")
    assert "Failure" not in posted.why
    assert len(server.requests) == 1


@pytest_twisted.ensureDeferred
async def test_no_answer_in_time_is_unknown(server: Server) -> None:
    """At its deadline a request is abandoned and its connection closed."""
    clock = Clock()
    asked = server.when_asked()
    posting = ensureDeferred(client_for(server.port, clock).post(EVENT))
    await asked
    clock.advance(9.9)
    assert not posting.called
    clock.advance(0.2)
    assert await posting == unknown("no answer within 10 s")
    await server.connections[0].lost


@pytest_twisted.ensureDeferred
async def test_an_answer_that_does_not_end_is_unknown() -> None:
    """The deadline covers the last byte of the answer."""
    clock = Clock()
    http = HTTPClient(RequestTraversalAgent(Endless()))
    posting = ensureDeferred(Client(http, "http://127.0.0.1", clock).post(EVENT))
    clock.advance(9.9)
    assert not posting.called
    clock.advance(0.2)
    assert (await posting).outcome is Outcome.UNKNOWN


@pytest_twisted.ensureDeferred
async def test_a_refused_connection_is_refused() -> None:
    """An event that was never sent is not stored."""
    assert (await client_for(stable_port()).post(EVENT)).outcome is Outcome.REFUSED


def test_a_refused_connection_is_known_at_once() -> None:
    """A client that can use another producer does not wait for other addresses of this one."""
    reactor = MemoryReactorClock()
    posting = ensureDeferred(make_client(reactor, "http://127.0.0.1:8080", 1).post(EVENT))
    [(_, _, factory, *_)] = reactor.tcpClients
    factory.clientConnectionFailed(reactor.connectors[0], Failure(ConnectionRefusedError()))
    reactor.advance(0.02)
    assert posting.result == refused("no connection: Connection was refused by other side.")


@pytest_twisted.ensureDeferred
async def test_who_gives_up_is_not_given_a_result(server: Server) -> None:
    """A cancelled request closes its connection and has no result."""
    asked = server.when_asked()
    posting = ensureDeferred(client_for(server.port).post(EVENT))
    await asked
    posting.cancel()
    with pytest.raises(CancelledError):
        await posting
    await server.connections[0].lost


@pytest_twisted.ensureDeferred
async def test_requests_share_a_connection(server: Server) -> None:
    """One connection serves one request after another."""
    server.react = answer("200 OK", "Event-Id: 1")
    client = client_for(server.port)
    for _ in range(3):
        await client.post(EVENT)
    assert len(server.requests) == 3
    assert len(server.connections) == 1


@pytest_twisted.ensureDeferred
async def test_a_key_that_would_be_another_one_is_not_sent(server: Server) -> None:
    posted = await client_for(server.port).post(EVENT, key="a\nb")
    assert posted.outcome is Outcome.REFUSED
    assert posted.why == "not sent: an idempotency key has no control characters"
    assert server.requests == []


@pytest_twisted.ensureDeferred
async def test_a_request_says_what_it_brings(server: Server) -> None:
    """The event is JSON, and the key a quoted string."""
    server.react = answer("200 OK", "Event-Id: 1")
    await client_for(server.port).post(Event("héllo"), key="one")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /event HTTP/1.1\r\n")
    assert b'\r\nidempotency-key: "one"\r\n' in head.lower() + b"\r\n"
    assert b"\r\ncontent-type: application/json\r\n" in head.lower() + b"\r\n"
    assert body.decode() == '{"description":"héllo"}'
