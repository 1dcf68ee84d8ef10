"""
Tests for L{eventsvc.web.channel}: which bytes are a valid request, and which are
refused, with and without the fast path.
"""

from __future__ import annotations

import pytest

from eventsvc.event import MAX_BYTES
from eventsvc.web.limits import MAX_HEAD_BYTES, MAX_HEADERS
from tests.support.http import EVENT, Served, head, post, refusal


def with_head_of(size: int) -> bytes:
    """Return a request whose head has this many bytes, without line ends."""
    short = post(EVENT, "Padding: ")
    lines = short.partition(b"\r\n\r\n")[0].split(b"\r\n")
    return post(EVENT, "Padding: " + "x" * (size - sum(map(len, lines))))


def test_a_head_of_the_limit_is_taken_and_one_of_a_byte_more_is_431(served: Served) -> None:
    """The limit is 16 KiB."""
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
    """The line is not buffered until it ends."""
    connection = served.connect()
    for at in range(0, len(endless), 1000):
        connection.send(endless[at : at + 1000])
    assert refusal(connection).status == 431


def test_as_many_headers_as_the_limit_are_taken_and_one_more_is_431(served: Served) -> None:
    """The limit is 100, including the headers of every request."""
    most = [f"Header-{number}: x" for number in range(MAX_HEADERS - 2)]
    assert served.post(EVENT, *most).status == 200
    connection = served.connect()
    connection.send(post(EVENT, *most, "One-More: x"))
    assert refusal(connection).status == 431


@pytest.mark.parametrize("length", [f"{MAX_BYTES + 1}", "9" * 30, "0" * 30])
def test_a_body_that_is_announced_too_large_is_413_before_it_is_read(served: Served, length: str) -> None:
    """The client does not get C{100 Continue}."""
    connection = served.connect()
    connection.send(head("Host: a", f"Content-Length: {length}", "Expect: 100-continue"))
    assert refusal(connection).problem["title"] == "Request body too large"


def test_a_chunked_body_is_413_once_it_is_too_large(served: Served) -> None:
    """However small the chunks are."""
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
    """Return a POST with a chunked body."""
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
    """However the bytes are split."""
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
    "a bare LF in a trailer": chunked(EVENT, end=b"0\r\na: b\n\nPOST /event HTTP/1.1\r\n\r\n"),
    "a bare LF before a trailer": chunked(EVENT, end=b"0\r\n\na: b\r\n\r\n"),
    "a bare CR in a trailer": chunked(EVENT, end=b"0\r\na: b\rc: d\r\n\r\n"),
    "NUL in a trailer": chunked(EVENT, end=b"0\r\na: b\0\r\n\r\n"),
    "a folded trailer": chunked(EVENT, end=b"0\r\na: b\r\n c\r\n\r\n"),
    "a trailer without colon": chunked(EVENT, end=b"0\r\nPOST /event HTTP/1.1\r\n\r\n"),
    "an endless trailer": chunked(end=b"0\r\n" + b"a: b\r\n" * 20_000),
}


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_what_two_servers_could_read_differently_is_400(served: Served, case: str) -> None:
    """Nothing after it on the connection is read."""
    connection = served.connect()
    connection.send(AMBIGUOUS[case] + EVENT + post())
    served.run()
    response = refusal(connection)
    assert response.status == 400
    assert response.problem["title"] == "Bad Request"
    assert served.stored() == []


@pytest.mark.parametrize("host", ["", "a", "a.example:8080", "127.0.0.1", "[::1]:80", "a:", "%41", "A-b_c"])
def test_one_host_is_needed_and_no_more_than_a_host(served: Served, host: str) -> None:
    """Whatever the host is."""
    assert served.exchange(head(f"hOsT: {host}", LENGTH) + EVENT).status == 200


@pytest.mark.parametrize(
    "target", ["http://a/event", "HTTP://a:80/event", "https://[::1]/event?x", "http://%41/%65vent"]
)
def test_a_target_may_name_its_host(served: Served, target: str) -> None:
    """As in a request for a proxy; the host does not change the path."""
    assert served.post(path=target).status == 200
    assert served.post(EVENT, path=target.replace("vent", "vents")).status == 200


@pytest.mark.parametrize(
    "target", ["http:///event", "http://a@b/event", "http://a b/event", "ftp://a/event", "http://a", "http://a//event"]
)
def test_a_target_with_a_host_that_is_none_or_another_path_is_no_event(served: Served, target: str) -> None:
    assert served.post(path=target).status in (400, 404)
    assert served.stored() == []


BEGUN = {
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "binary": b"\x00\x01",
    "a head with bare LF": b"POST /event HTTP/1.1\nHost: a\nContent-Length: 2\n\n{}",
    "a header with bare LF": b"POST /event HTTP/1.1\r\nHost: a\nContent-Length: 2",
    "a blank line with bare LF": b"\n",
    "a header with bare LF, of a batch": b"POST /events HTTP/1.1\r\nHost: a\n",
    "a CR that no LF follows": b"\rPOST",
}


@pytest.mark.parametrize("pieces", [1, 1000])
@pytest.mark.parametrize("case", BEGUN)
def test_what_no_more_bytes_can_make_a_request_is_400_at_once(served: Served, case: str, pieces: int) -> None:
    """The server does not wait for the end of the line."""
    connection = served.connect()
    size = -(-len(BEGUN[case]) // pieces)
    connection.send(*[BEGUN[case][at : at + size] for at in range(0, len(BEGUN[case]), size)])
    assert refusal(connection).status == 400


@pytest.mark.parametrize("pieces", [post(), post(path="/events"), b"\r\n" + post(), b"\r\n" + post(path="/events")])
def test_a_request_that_comes_byte_by_byte_is_not_taken_for_one(served: Served, pieces: bytes) -> None:
    connection = served.connect()
    connection.send(*[pieces[at : at + 1] for at in range(len(pieces))])
    served.run()
    assert connection.response().status == 200


def test_a_tls_client_is_told_that_there_is_none(served: Served) -> None:
    connection = served.connect()
    connection.send(BEGUN["a TLS hello"])
    assert refusal(connection).problem["description"] == "Expected HTTP without TLS on this port"


def test_one_blank_line_before_a_request_is_passed_over(served: Served) -> None:
    """Some old clients send one after a body."""
    connection = served.connect()
    connection.send(b"\r\n" + post() + b"\r\n" + post())
    served.run()
    assert [response.status for response in connection.responses()] == [200, 200]
