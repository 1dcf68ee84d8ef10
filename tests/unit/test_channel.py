"""
Tests for L{eventsvc.web.channel}: the states, deadlines and end of a connection,
with and without the fast path.
"""

from __future__ import annotations

import json

import pytest

from eventsvc.web.limits import FIRST_BYTE, IDLE, LINGER
from tests.support.http import BUFFER, EVENT, Served, head, post, refusal

LENGTH = f"Content-Length: {len(EVENT)}"


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
    """Later requests are not read."""
    connection = served.connect()
    connection.send(request_bytes + post())
    served.run()
    assert connection.response().status == 200
    assert connection.response().headers["Connection"] == "close"
    assert connection.lost
    assert served.stored() == ["hello"]


def test_a_refused_client_may_go_on_sending_for_a_while(served: Served) -> None:
    """So a reset does not overtake its answer; after a while it is cut off."""
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
    """The connection closes at once."""
    connection = served.connect()
    connection.send(b"nonsense\r\n\r\n")
    connection.end()
    served.run()
    assert connection.lost
    assert not connection.aborted


@pytest.mark.parametrize("begin", [b"P", post()[:-1], head("Host: a", "Transfer-Encoding: chunked") + b"1\r\n"])
def test_a_request_that_does_not_go_on_is_408(served: Served, begin: bytes) -> None:
    """The answer comes at the deadline of the request."""
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
    """An occasional byte does not extend the deadline."""
    connection = served.connect()
    for at in range(23):
        connection.send(request_bytes[at : at + 1])
        served.run(0.5)
    assert refusal(connection).status == 408
    assert served.stored() == []


def test_each_request_on_a_connection_has_its_own_time(served: Served) -> None:
    """This includes slow requests."""
    connection = served.connect()
    for _ in range(3):
        connection.send(post()[:-1])
        served.run(8.0)
        connection.send(post()[-1:])
        served.run(8.0)
    assert [response.status for response in connection.responses()] == [200, 200, 200]


def test_a_request_that_begins_where_another_ends_has_its_own_time(served: Served) -> None:
    """Even if the earlier request was slow and invalid."""
    connection = served.connect()
    wrong = post(b"{}")
    connection.send(wrong[:-1])
    for _ in range(3):
        served.run(8.0)
        connection.send(wrong[-1:] + wrong[:-1])
    served.run(8.0)
    connection.send(wrong[-1:])
    assert [response.status for response in connection.responses()] == [400] * 4


def test_the_time_of_a_request_begins_when_those_before_it_are_answered(served: Served) -> None:
    """The wait for earlier answers does not count."""
    served.world.link.disconnect()
    connection = served.connect()
    connection.send(post() + post()[:-1])
    served.run(4.0)
    served.world.link.connect()
    served.run(9.5)
    connection.send(post()[-1:])
    served.run()
    assert [response.status for response in connection.responses()] == [200, 200]


def test_a_connection_without_a_request_is_closed_in_the_end(served: Served) -> None:
    """It is closed without an answer; a new connection after a shorter time."""
    fresh, used, otherwise = served.connect(), served.connect(), served.connect()
    used.send(post())
    otherwise.send(post(path="/none"))
    served.run(FIRST_BYTE - 1.0)
    assert [fresh.lost, used.lost, otherwise.lost] == [False, False, False]
    served.run(2.0)
    assert [fresh.lost, used.lost, otherwise.lost] == [True, False, False]
    served.run(IDLE - FIRST_BYTE - 2.0)
    assert [used.lost, otherwise.lost] == [False, False]
    served.run(2.0)
    assert [used.lost, otherwise.lost] == [True, True]
    assert fresh.received == b""
    assert used.response().status == 200


def test_a_new_connection_may_take_its_time_once_it_has_begun(served: Served) -> None:
    """After its first byte, a request has the usual deadline."""
    connection = served.connect()
    served.run(FIRST_BYTE - 1.0)
    connection.send(post()[:-1])
    served.run(9.0)
    connection.send(post()[-1:])
    served.run()
    assert connection.response().status == 200


def test_requests_on_one_connection_are_answered_in_their_order(served: Served) -> None:
    """Valid and invalid requests are sent at once."""
    connection = served.connect()
    requests = [post(), post(b"{}"), post(path="/none"), post(EVENT * 2, path="/events"), post()]
    connection.send(b"".join(requests))
    served.run()
    assert [response.status for response in connection.responses()] == [200, 400, 404, 400, 200]
    assert served.stored() == ["hello", "hello"]


def test_a_repetition_right_behind_its_request_gets_the_same_answer(served: Served) -> None:
    """The key can be used again once the first answer is written."""
    connection = served.connect()
    connection.send(post(EVENT, "Idempotency-Key: a") * 3)
    served.run()
    assert [response.headers.get("Event-Id") for response in connection.responses()] == ["1", "1", "1"]
    assert served.stored() == ["hello"]


def test_a_client_that_ends_gets_its_answers_first(served: Served) -> None:
    """It gets every answer, then the end of the connection."""
    connection = served.connect()
    connection.send(post() + post())
    connection.end()
    served.run()
    assert [response.status for response in connection.responses()] == [200, 200]
    assert connection.lost
    assert not connection.aborted


@pytest.mark.parametrize("begin", [b"", b"P", post()[:-1], post(path="/none")[:-1]])
def test_a_client_that_ends_without_a_whole_request_is_let_go(served: Served, begin: bytes) -> None:
    """There is no complete request to answer."""
    connection = served.connect()
    connection.send(begin)
    connection.end()
    served.run()
    assert connection.lost
    assert connection.received == b""


@pytest.mark.parametrize("path", ["/event", "/none"])
def test_a_client_that_does_not_read_is_not_read_from(served: Served, path: str) -> None:
    """The unsent answers are bounded, and arrive once it reads."""
    connection = served.connect()
    connection.reading = False
    total = 4000
    for _ in range(total):
        connection.send(post(path=path))
        served.run(0.002)
    assert connection.paused
    assert len(connection._unread) < BUFFER + 1_000
    stored = len(served.stored())
    assert stored < total
    connection.read()
    served.run(5.0)
    assert len(connection.responses()) == total
    assert stored == 0 or len(served.stored()) == total


@pytest.mark.parametrize("path", ["/event", "/none"])
def test_a_client_that_sends_all_at_once_and_reads_late_has_its_answers(served: Served, path: str) -> None:
    """Even though it sends nothing more."""
    connection = served.connect()
    connection.reading = False
    connection.send(post(path=path) * 2000)
    served.run(1.0)
    connection.read()
    served.run(5.0)
    assert len(connection.responses()) == 2000


def test_a_client_that_never_reads_is_cut_off(served: Served) -> None:
    """It is cut off at the deadline of a request."""
    connection = served.connect()
    connection.reading = False
    connection.send(*[post(path="/none")] * 1000)
    served.run()
    assert connection.paused
    served.run(10.0 + LINGER + 1.0)
    assert connection.lost
    assert connection.aborted


def test_what_follows_a_waiting_request_is_not_read_without_bounds(served: Served) -> None:
    """The transport is paused meanwhile, then resumed."""
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
    """Including those that the server gives before routing."""
    connection = served.connect()
    connection.send(b"nonsense\r\n\r\n")
    response = refusal(connection)
    assert list(response.headers) == ["Date", "Content-Type", "Content-Length", "Connection"]
    assert json.loads(response.body)["description"] == "The bytes are not an HTTP/1.1 request"
