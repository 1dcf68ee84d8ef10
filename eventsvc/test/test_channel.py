"""
Tests for L{eventsvc.web.channel}: what one connection may ask for, and what
becomes of one that asks for more.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from eventsvc.event import MAX_BYTES
from eventsvc.test.http import EVENT, MAKERS, Connection, Response, Served, post, serving
from eventsvc.web.limits import IDLE, LINGER, MAX_HEAD_BYTES, MAX_HEADERS


@pytest.fixture(params=MAKERS)
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    with serving(request.param) as made:
        yield made


def refusal(connection: Connection) -> Response:
    """The last answer on a connection: only its own side is closed."""
    response = connection.response()
    assert response.headers["Connection"] == "close"
    assert response.problem
    assert connection.ended
    assert not connection.lost
    return response


def head(*lines: str) -> bytes:
    """A POST of one event with these headers alone."""
    return "\r\n".join(["POST /event HTTP/1.1", *lines, "", ""]).encode("latin-1")


def with_head_of(size: int) -> bytes:
    """A request whose lines have so many bytes, without their ends."""
    short = post(EVENT, "Padding: ")
    lines = short.partition(b"\r\n\r\n")[0].split(b"\r\n")
    return post(EVENT, "Padding: " + "x" * (size - sum(map(len, lines))))


def test_a_head_of_the_limit_is_taken_and_one_of_a_byte_more_is_431(served: Served) -> None:
    """16 KiB."""
    assert served.exchange(with_head_of(MAX_HEAD_BYTES)).status == 200
    connection = served.connect()
    connection.send(with_head_of(MAX_HEAD_BYTES + 1))
    assert refusal(connection).problem == {
        "status": 431,
        "title": "Request Header Fields Too Large",
        "description": "Expected at most 100 headers and 16384 bytes of them",
    }
    served.run()
    assert len(served.stored()) == 1


@pytest.mark.parametrize("endless", [b"x" * 20_000, b"POST /event HTTP/1.1\r\nHost: " + b"x" * 20_000])
def test_a_line_that_does_not_end_is_431_once_it_is_too_long(served: Served, endless: bytes) -> None:
    """It is not kept until it ends."""
    connection = served.connect()
    for at in range(0, len(endless), 1000):
        connection.send(endless[at : at + 1000])
    assert refusal(connection).status == 431


def test_as_many_headers_as_the_limit_are_taken_and_one_more_is_431(served: Served) -> None:
    """100, with those that every request has."""
    most = [f"Header-{number}: x" for number in range(MAX_HEADERS - 2)]
    assert served.post(EVENT, *most).status == 200
    connection = served.connect()
    connection.send(post(EVENT, *most, "One-More: x"))
    assert refusal(connection).status == 431


@pytest.mark.parametrize("length", [f"{MAX_BYTES + 1}", "9" * 30, "0" * 30])
def test_a_body_that_is_announced_too_large_is_413_before_it_is_read(served: Served, length: str) -> None:
    """Nor is its client told to go on."""
    connection = served.connect()
    connection.send(head("Host: a", f"Content-Length: {length}", "Expect: 100-continue"))
    assert refusal(connection).problem["title"] == "Request body too large"


def test_a_chunked_body_is_413_once_it_is_too_large(served: Served) -> None:
    """However small its chunks."""
    connection = served.connect()
    connection.send(head("Host: a", "Transfer-Encoding: chunked"))
    for _ in range(MAX_BYTES // 65_536):
        connection.send(b"10000\r\n" + b" " * 65_536 + b"\r\n")
    assert connection.received == b""
    connection.send(b"1\r\n \r\n", b"0\r\n\r\n")
    assert refusal(connection).status == 413
    served.run()
    assert served.stored() == []


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """A POST whose body comes in chunks."""
    pieces = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks]
    return head("Host: a", "transfer-encoding: Chunked") + b"".join(pieces) + end


@pytest.mark.parametrize(
    "request_bytes",
    [
        chunked(EVENT),
        chunked(EVENT[:5], EVENT[5:]),
        chunked(EVENT, end=b"0;name=value\r\nTrailer: x\r\n\r\n"),
        chunked(*[EVENT[at : at + 1] for at in range(len(EVENT))]),
    ],
)
def test_a_chunked_body_is_taken(served: Served, request_bytes: bytes) -> None:
    """Cut anywhere."""
    connection = served.connect()
    connection.send(*[request_bytes[at : at + 1] for at in range(len(request_bytes))])
    served.run()
    assert connection.response().status == 200
    assert served.stored() == ["hello"]


def test_a_client_that_asks_is_told_to_go_on(served: Served) -> None:
    """C{Expect: 100-continue}: the body is sent after the answer."""
    connection = served.connect()
    connection.send(head("Host: a", f"Content-Length: {len(EVENT)}", "Expect: 100-continue"))
    assert connection.received == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.send(EVENT)
    served.run()
    assert [response.status for response in connection.responses()] == [100, 200]


LENGTH = f"Content-Length: {len(EVENT)}"
AMBIGUOUS = {
    "no host": head(LENGTH),
    "two hosts": head("Host: a", LENGTH, "Host: a"),
    "two hosts in one": head("Host: a, b", LENGTH),
    "a host with a path": head("Host: a/b", LENGTH),
    "a host with a name": head("Host: me@a", LENGTH),
    "a host with white space": head("Host: a b", LENGTH),
    "a host with a broken escape": head("Host: a%2", LENGTH),
    "a host with a port that is none": head("Host: a:b", LENGTH),
    "two hosts in HTTP/1.0": head("Host: a", "Host: a", LENGTH).replace(b"1.1", b"1.0"),
    "two lengths": head("Host: a", LENGTH, LENGTH),
    "two lengths in one": head("Host: a", f"{LENGTH}, {len(EVENT)}"),
    "a signed length": head("Host: a", f"Content-Length: +{len(EVENT)}"),
    "a negative length": head("Host: a", "Content-Length: -1"),
    "a hexadecimal length": head("Host: a", "Content-Length: 0x3"),
    "an empty length": head("Host: a", "Content-Length:"),
    "a length of other digits": head("Host: a", "Content-Length: \xb2"),
    "length and chunked": head("Host: a", LENGTH, "Transfer-Encoding: chunked"),
    "chunked and length": head("Host: a", "Transfer-Encoding: chunked", LENGTH),
    "chunked twice": head("Host: a", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    "chunked, chunked": head("Host: a", "Transfer-Encoding: chunked, chunked"),
    "nearly chunked": head("Host: a", "Transfer-Encoding: xchunked"),
    "another coding": head("Host: a", "Transfer-Encoding: gzip, chunked"),
    "identity": head("Host: a", "Transfer-Encoding: identity"),
    "identity and length": head("Host: a", "Transfer-Encoding: identity", LENGTH),
    "chunked in HTTP/1.0": head("Host: a", "Transfer-Encoding: chunked").replace(b"1.1", b"1.0"),
    "a folded header": head("Host: a", LENGTH, "Folded: a", " b"),
    "a folded host": head("Host:", "\ta", LENGTH),
    "a first header that begins with white space": head(" Host: a", LENGTH),
    "a space before the colon": head("Host: a", f"Content-Length : {len(EVENT)}"),
    "a header without colon": head("Host: a", LENGTH, "Nothing"),
    "a header without name": head("Host: a", LENGTH, ": nothing"),
    "a header whose name is no token": head("Host: a", LENGTH, "a(b): c"),
    "NUL in a value": head("Host: a", LENGTH, "Header: a\0b"),
    "a bare CR in a value": head("Host: a", LENGTH, "Header: a\rb"),
    "a bare LF between headers": head("Host: a\nOther: b", LENGTH),
    "bare LF": head("Host: a", LENGTH).replace(b"\r\n", b"\n") + b"\r\n",
    "HTTP/1.9": head("Host: a", LENGTH).replace(b"1.1", b"1.9"),
    "HTTP/2.0": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n",
    "two spaces": head("Host: a", LENGTH).replace(b"POST ", b"POST  "),
    "a path with a space": head("Host: a", LENGTH).replace(b"/event", b"/ev ent"),
    "a method that is no token": head("Host: a", LENGTH).replace(b"POST", b"PO(ST"),
    "two blank lines before": b"\r\n\r\n" + head("Host: a", LENGTH),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "a chunk without length": chunked(end=b"\r\n"),
    "a chunk with a signed length": chunked(end=b"+1\r\n"),
    "a chunk with 0x": chunked(end=b"0x1\r\n"),
    "a chunk that ends in LF": chunked(end=b"1\na\n0\n\n"),
    "a chunk that is longer than it says": chunked(end=b"1\r\nab\r\n"),
    "an endless chunk length": chunked(end=b"1" * 2000),
    "an endless trailer": chunked(end=b"0\r\n" + b"a: b\r\n" * 20_000),
}


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_what_two_servers_could_read_differently_is_400(served: Served, case: str) -> None:
    """And nothing that follows it on the connection is read."""
    connection = served.connect()
    connection.send(AMBIGUOUS[case] + EVENT + post())
    served.run()
    response = refusal(connection)
    assert response.status == 400
    assert response.problem["title"] == "Bad Request"
    assert served.stored() == []


@pytest.mark.parametrize("host", ["", "a", "a.example:8080", "127.0.0.1", "[::1]:80", "a:", "%41", "A-b_c"])
def test_one_host_is_needed_and_no_more_than_a_host(served: Served, host: str) -> None:
    """Whichever it is."""
    assert served.exchange(head(f"hOsT: {host}", LENGTH) + EVENT).status == 200


def test_one_blank_line_before_a_request_is_passed_over(served: Served) -> None:
    """Old clients send one after a body."""
    connection = served.connect()
    connection.send(b"\r\n" + post() + b"\r\n" + post())
    served.run()
    assert [response.status for response in connection.responses()] == [200, 200]


@pytest.mark.parametrize(
    "request_bytes",
    [
        post(EVENT, "Connection: close"),
        post(EVENT, "connection: Keep-Alive,Close"),
        post(EVENT, "Connection: x", "Connection: close"),
        post().replace(b"HTTP/1.1", b"HTTP/1.0"),
        post(EVENT, "Connection: keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0"),
        head(LENGTH).replace(b"HTTP/1.1", b"HTTP/1.0") + EVENT,
    ],
)
def test_a_connection_ends_after_its_answer_if_the_client_wants_so(served: Served, request_bytes: bytes) -> None:
    """And what follows is not read."""
    connection = served.connect()
    connection.send(request_bytes + post())
    served.run()
    assert connection.response().status == 200
    assert connection.response().headers["Connection"] == "close"
    assert connection.lost
    assert served.stored() == ["hello"]


def test_a_refused_client_may_go_on_sending_for_a_while(served: Served) -> None:
    """So that its answer is not overtaken by a reset; then it is cut off."""
    connection = served.connect()
    connection.send(b"nonsense\r\n\r\n")
    received = refusal(connection)
    connection.send(post() * 1000)
    served.run(LINGER - 0.2)
    assert [connection.lost, connection.aborted] == [False, False]
    assert connection.response() == received
    served.run(0.3)
    assert [connection.lost, connection.aborted] == [True, True]
    assert served.stored() == []


def test_a_refused_client_that_ends_is_let_go(served: Served) -> None:
    """At once."""
    connection = served.connect()
    connection.send(b"nonsense\r\n\r\n")
    connection.end()
    served.run()
    assert connection.lost
    assert not connection.aborted


@pytest.mark.parametrize("begin", [b"P", post()[:-1], head("Host: a", "Transfer-Encoding: chunked") + b"1\r\n"])
def test_a_request_that_does_not_go_on_is_408(served: Served, begin: bytes) -> None:
    """After the whole time that it may take."""
    connection = served.connect()
    served.run(5.0)
    connection.send(begin)
    served.run(9.9)
    assert connection.received == b""
    served.run(1.1)
    response = refusal(connection)
    assert response.status == 408
    assert response.problem["title"] == "Request Timeout"


@pytest.mark.parametrize("request_bytes", [post(), head("Host: a", "Transfer-Encoding: chunked") + b"1\r\n \r\n" * 50])
def test_a_request_that_drips_is_408(served: Served, request_bytes: bytes) -> None:
    """A byte now and then does not keep it alive."""
    connection = served.connect()
    for at in range(23):
        connection.send(request_bytes[at : at + 1])
        served.run(0.5)
    assert refusal(connection).status == 408
    assert served.stored() == []


def test_each_request_on_a_connection_has_its_own_time(served: Served) -> None:
    """Slow ones among them."""
    connection = served.connect()
    for _ in range(3):
        connection.send(post()[:-1])
        served.run(8.0)
        connection.send(post()[-1:])
        served.run(8.0)
    assert [response.status for response in connection.responses()] == [200, 200, 200]


def test_a_connection_without_a_request_is_closed_in_the_end(served: Served) -> None:
    """Without a word; one that was used just the same."""
    fresh, used = served.connect(), served.connect()
    used.send(post())
    served.run(IDLE - 1.0)
    assert [fresh.lost, used.lost] == [False, False]
    served.run(2.0)
    assert [fresh.lost, used.lost] == [True, True]
    assert fresh.received == b""
    assert used.response().status == 200


def test_requests_on_one_connection_are_answered_in_their_order(served: Served) -> None:
    """Sent all at once, good and bad."""
    connection = served.connect()
    requests = [post(), post(b"{}"), post(path="/none"), post(EVENT * 2, path="/events"), post()]
    connection.send(b"".join(requests))
    served.run()
    assert [response.status for response in connection.responses()] == [200, 400, 404, 400, 200]
    assert served.stored() == ["hello", "hello"]


def test_a_client_that_ends_gets_its_answers_first(served: Served) -> None:
    """Each that it asked for, and then the end."""
    connection = served.connect()
    connection.send(post() + post())
    connection.end()
    served.run()
    assert [response.status for response in connection.responses()] == [200, 200]
    assert connection.lost
    assert not connection.aborted


@pytest.mark.parametrize("begin", [b"", b"P", post()[:-1], post(path="/none")[:-1]])
def test_a_client_that_ends_without_a_whole_request_is_let_go(served: Served, begin: bytes) -> None:
    """Nobody can be meant by an answer."""
    connection = served.connect()
    connection.send(begin)
    connection.end()
    served.run()
    assert connection.lost
    assert connection.received == b""


@pytest.mark.parametrize("path", ["/event", "/none"])
def test_a_client_that_does_not_read_is_not_read_from(served: Served, path: str) -> None:
    """What it is owed stays within bounds, and it has its answers once it reads."""
    connection = served.connect()
    connection.reading = False
    total = 4000
    for _ in range(total):
        connection.send(post(path=path))
        served.run(0.002)
    assert connection.paused
    assert len(connection._unread) < 250_000
    stored = len(served.stored())
    assert stored < total
    connection.read()
    served.run(5.0)
    assert len(connection.responses()) == total
    assert stored == 0 or len(served.stored()) == total


def test_a_client_that_never_reads_is_cut_off(served: Served) -> None:
    """After the time that a request may take."""
    connection = served.connect()
    connection.reading = False
    connection.send(*[post(path="/none")] * 1000)
    served.run()
    assert connection.paused
    served.run(10.0 + LINGER + 1.0)
    assert connection.lost
    assert connection.aborted


def test_what_follows_a_waiting_request_is_not_read_without_bounds(served: Served) -> None:
    """The transport is paused meanwhile, and then goes on."""
    served.world.link.disconnect()
    connection = served.connect()
    for _ in range(3000):
        connection.send(post())
    assert connection.paused
    served.world.link.connect()
    served.run(5.0)
    assert [response.status for response in connection.responses()] == [200] * 3000
    assert len(served.stored()) == 3000


def test_answers_are_json_and_say_so(served: Served) -> None:
    """Also those of the server in front of the routes."""
    connection = served.connect()
    connection.send(b"nonsense\r\n\r\n")
    response = refusal(connection)
    assert list(response.headers) == ["Date", "Content-Type", "Content-Length", "Connection"]
    assert json.loads(response.body)["description"] == "The bytes are not an HTTP/1.1 request"
