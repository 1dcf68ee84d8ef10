"""
Tests for L{eventsvc.web.fast_path} alone; it also passes the tests of the
channel, the routes and the site.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from twisted.logger import capturedLogs

from eventsvc.interfaces import Result
from eventsvc.producer.backlog import PendingRequest
from eventsvc.web.arrivals import READ_AHEAD
from eventsvc.web.destinations import Destinations
from eventsvc.web.fast_path import FastPath
from eventsvc.web.limits import LINGER
from eventsvc.web.phase import Phase
from eventsvc.web.post_head import PostReader
from eventsvc.web.request_heads import RequestHeads
from eventsvc.web.site import BoundedRequest, make_site
from tests.support.http import EVENT, Connection, Served, head, post, serving


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[BoundedRequest]:
    """Count the requests that twisted.web has begun to parse."""
    made: list[BoundedRequest] = []

    class Counted(BoundedRequest):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr("eventsvc.web.site.BoundedRequest", Counted)
    return made


@pytest.fixture
def served(parsed: list[BoundedRequest]) -> Iterator[Served]:
    with serving(make_site) as made:
        yield made


def statuses(connection: Connection) -> list[int]:
    """Return the status of each answer so far."""
    return [response.status for response in connection.responses()]


def numbered(number: int, *headers: str) -> bytes:
    """Return a POST of an event with a number as its description."""
    return post(b'{"description": "%d"}' % number, *headers)


# Its own requests


def test_good_and_bad_events_stay_on_the_fast_path(served: Served, parsed: list[BoundedRequest]) -> None:
    """The fast path answers both itself."""
    connection = served.connect()
    connection.send(post(), post(b"{}") + post(EVENT, "Idempotency-Key: a"), post(EVENT, "Idempotency-Key: a b"))
    served.run()
    assert statuses(connection) == [200, 400, 200, 400]
    assert parsed == []


def test_an_event_leaves_nothing_for_the_garbage_collector(served: Served) -> None:
    """Its objects are freed when it is answered, because garbage collection costs more than the rest."""
    connection = served.connect()
    connection.send(post())
    served.run()
    gc.collect()
    gc.disable()
    try:
        for _ in range(100):
            connection.send(post())
            served.run()
        assert gc.collect() < 100
    finally:
        gc.enable()
    assert statuses(connection) == [200] * 101


@pytest.mark.parametrize("size", [1, 7, 60])
def test_a_request_may_come_in_pieces(served: Served, parsed: list[BoundedRequest], size: int) -> None:
    """It is cut anywhere, with the next request attached."""
    connection = served.connect()
    data = numbered(0) + numbered(1) + numbered(2)
    connection.send(*[data[at : at + size] for at in range(0, len(data), size)])
    served.run()
    assert statuses(connection) == [200, 200, 200]
    assert served.stored() == ["0", "1", "2"]
    assert parsed == []


def test_a_large_body_in_many_pieces_is_looked_at_once(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at each piece would take time quadratic in its size."""
    connection = served.connect()
    data = post(EVENT.ljust(1_000_000))
    connection.send(data[:100])
    looks = []
    look = FastPath.submit

    def count(fast_path: FastPath, data: bytes) -> int:
        looks.append(len(data))
        return look(fast_path, data)

    monkeypatch.setattr(FastPath, "submit", count)
    connection.send(*[data[at : at + 1000] for at in range(100, len(data), 1000)])
    served.run()
    assert looks == [len(data)]
    assert statuses(connection) == [200]


def test_requests_of_one_read_go_out_in_one_batch_and_are_answered_in_order(served: Served) -> None:
    """This includes invalid ones."""
    connection = served.connect()
    connection.send(b"".join([numbered(0), post(b"{}"), numbered(1), post(b"[]"), numbered(2)]))
    assert connection.received == b""
    served.run()
    assert statuses(connection) == [200, 400, 200, 400, 200]
    assert [response.headers.get("Event-Id") for response in connection.responses()] == ["1", None, "2", None, "3"]
    assert served.world.link.operations == ["append"]


def test_an_answer_that_is_known_too_early_waits_for_those_before_it(served: Served) -> None:
    """Answers go out in the order of the requests."""
    waiting: list[PendingRequest] = []

    def submit(
        events: object, keys: object, answer: Callable[[PendingRequest, Result], None], since: object
    ) -> PendingRequest:
        waiting.append(PendingRequest((), (), answer=answer))
        return waiting[-1]

    appender: Any = SimpleNamespace(submit=submit)
    first = attrs.evolve(served.api.posts.destinations.first, appender=appender)
    served.site.fast_path = partial(FastPath, RequestHeads(PostReader(Destinations(first, {}))))
    connection = served.connect()
    connection.send(post() + post() + post(b"{}") + post())
    written = []
    for number in (2, 0, 1):
        waiting[number].settle((number,))
        written.append([response.headers.get("Event-Id") for response in connection.responses()])
    assert written == [[], ["0"], ["0", "1", None, "2"]]


def test_what_comes_after_them_waits_until_they_are_answered(served: Served) -> None:
    """So one read bounds the pipelining."""
    served.world.link.disconnect()
    connection = served.connect()
    connection.send(numbered(0) + numbered(1), *[numbered(number) for number in range(2, 1000)])
    served.run()
    assert served.world.appender.backlog.events == 2
    assert connection.paused
    assert len(connection.protocol._ahead) < READ_AHEAD + 200
    served.world.link.connect()
    served.run(5.0)
    assert statuses(connection) == [200] * 1000
    assert served.stored() == [str(number) for number in range(1000)]


def test_a_key_waits_for_the_requests_before_it(served: Served) -> None:
    """So a repetition right after its request gets the first answer."""
    connection = served.connect()
    connection.send(numbered(0, "Idempotency-Key: a") * 3 + numbered(1) + numbered(0, "Idempotency-Key: b"))
    served.run()
    assert [response.headers["Event-Id"] for response in connection.responses()] == ["1", "1", "1", "4", "5"]
    assert served.stored() == ["0", "1", "0"]


def test_many_wrong_keys_in_one_read_are_all_answered(served: Served) -> None:
    """None waits for another, and there is no recursion."""
    connection = served.connect()
    connection.send(post(EVENT, "Idempotency-Key: a b") * 2000)
    assert statuses(connection) == [400] * 2000


def test_a_request_has_no_timer_of_its_own(served: Served) -> None:
    """One sweep per second checks all deadlines."""
    connections = [served.connect() for _ in range(50)]
    before = len(served.world.clock.getDelayedCalls())
    served.world.link.disconnect()
    for connection in connections:
        connection.send(post())
    served.run(0.01)
    assert len(served.world.clock.getDelayedCalls()) == before + 1  # that of the appender's line


def test_a_fault_in_answering_ends_the_connection_and_not_the_appender(served: Served) -> None:
    """Other connections get their answers."""
    bad, good = served.connect(), served.connect()
    bad.protocol._fast._write_now = lambda data: 1 // 0
    bad.send(post())
    good.send(post())
    with capturedLogs() as logs:
        served.run()
    assert bad.aborted
    assert statuses(good) == [200]
    assert ["unexpected" in event["log_format"] for event in logs if "log_failure" in event] == [True]
    assert served.world.appender.is_running


def test_a_client_that_never_reads_is_cut_off_with_what_it_still_asked_for(served: Served) -> None:
    """After the deadline of a request and that of a last answer."""
    connection = served.connect()
    connection.reading = False
    while not connection.protocol.paused:
        connection.send(numbered(0))
        served.run(0.002)
    connection.send(post(b"{}"), numbered(1))
    stored = served.stored()
    served.run(10.0 + 1.0 + LINGER)
    assert connection.aborted
    assert served.stored() == stored


# Requests of other kinds between its own

OTHERS = [
    post(path="/events"),
    post(path="/event?a"),
    post(EVENT, "Expect: 100-continue"),
    post(b"", "X: y", path="/none"),
    b"\r\n" + post(),
    b"GET /health/ready HTTP/1.1\r\nHost: a\r\n\r\n",
    head("Host: a", "Transfer-Encoding: chunked") + b"%x\r\n%b\r\n0\r\n\r\n" % (len(EVENT), EVENT),
]


@pytest.mark.parametrize("other", [*OTHERS, post(EVENT, "Connection: close")])
def test_anything_else_is_for_twisted_web_after_the_earlier_answers(
    served: Served, parsed: list[BoundedRequest], other: bytes
) -> None:
    """Answers go out in the order of the requests."""
    connection = served.connect()
    connection.send(numbered(0) + numbered(1) + other[:10], other[10:])
    assert parsed == []
    served.run()
    assert len(parsed) == 1
    assert statuses(connection)[:2] == [200, 200]
    assert len(connection.responses()) >= 3
    assert served.stored()[:2] == ["0", "1"]


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("size", [1, 50, 10_000])
def test_after_any_other_request_the_fast_path_goes_on(
    served: Served, parsed: list[BoundedRequest], other: bytes, size: int
) -> None:
    """However the bytes are split."""
    connection = served.connect()
    data = numbered(0) + other + numbered(1) + numbered(2) + other + other + numbered(3)
    connection.send(*[data[at : at + size] for at in range(0, len(data), size)])
    served.run()
    assert len(parsed) == 3
    final = [status for status in statuses(connection) if status != 100]
    assert [final[0], *final[2:4], final[6]] == [200] * 4
    assert len(final) == 7
    assert [text for text in served.stored() if text != "hello"] == ["0", "1", "2", "3"]
    connection.send(numbered(4))
    served.run()
    assert len(parsed) == 3
    assert served.stored()[-1] == "4"


@pytest.mark.parametrize("blank", [b"\r\n", b"\r"])
def test_the_request_behind_a_blank_line_is_for_twisted_web(
    served: Served, parsed: list[BoundedRequest], blank: bytes
) -> None:
    """twisted.web skips one such line, even if the request comes later; until then the connection is idle."""
    connection = served.connect()
    connection.send(blank)
    served.run(1.0)
    connection.send(b"\n"[: 2 - len(blank)])
    served.run(11.0)
    connection.send(post(), b"\r\n", post(), post())
    served.run()
    assert statuses(connection) == [200, 200, 200]
    assert len(parsed) == 2


def test_any_number_of_other_requests_in_one_read_are_answered(served: Served) -> None:
    """There is no recursion."""
    connection = served.connect()
    connection.send(b"GET / HTTP/1.1\r\nHost:a\r\n\r\n" * 3000)
    served.run()
    assert statuses(connection) == [404] * 3000


def test_many_other_requests_in_one_read_do_not_hold_up_other_connections(served: Served) -> None:
    """They take turns, so a probe is answered however many connections have such a read."""
    connection = served.connect()
    connection.send(b"GET / HTTP/1.1\r\nHost:a\r\n\r\n" * 100)
    assert statuses(connection) == [404]
    another = served.connect()
    another.send(b"GET /health/live HTTP/1.1\r\nHost:a\r\n\r\n")
    assert statuses(another) == [200]
    served.run()
    assert statuses(connection) == [404] * 100


def test_a_client_goes_away_while_its_requests_take_turns(served: Served) -> None:
    connection = served.connect()
    connection.send(b"GET / HTTP/1.1\r\nHost:a\r\n\r\n" * 100 + post())
    connection.vanish()
    served.run()
    assert statuses(connection) == [404]
    assert served.stored() == []


def test_a_client_that_ends_while_its_requests_take_turns_gets_all_answers(served: Served) -> None:
    connection = served.connect()
    connection.send(b"GET / HTTP/1.1\r\nHost:a\r\n\r\n" * 100 + post())
    connection.end()
    served.run()
    assert statuses(connection) == [404] * 100 + [200]
    assert connection.lost


def test_its_own_requests_wait_behind_another_within_bounds(served: Served, parsed: list[BoundedRequest]) -> None:
    """They go out in one batch once the other request is answered."""
    served.world.link.disconnect()
    connection = served.connect()
    connection.send(post(path="/events"), *[numbered(number) for number in range(1000)])
    served.run()
    assert connection.paused
    assert len(connection.protocol._ahead) < READ_AHEAD + 200
    served.world.link.connect()
    served.run(5.0)
    assert statuses(connection) == [200] * 1001
    assert served.stored() == ["hello", *[str(number) for number in range(1000)]]
    assert len(parsed) == 1


@pytest.mark.parametrize("begin", [b"G", b"PO ", b"POST /events", b"\r"])
def test_what_cannot_become_its_own_is_for_twisted_web_at_once(served: Served, begin: bytes) -> None:
    """It does not wait for a whole head."""
    connection = served.connect()
    connection.send(begin)
    assert connection.protocol.phase is Phase.PARSING


def test_the_time_of_a_request_does_not_begin_again_with_the_other_parser(served: Served) -> None:
    """No request gets twice the time."""
    connection = served.connect()
    connection.send(b"POST /event")
    served.run(6.0)
    connection.send(b"s HTTP/1.1\r\n")
    assert connection.protocol.phase is Phase.PARSING
    served.run(3.9)
    assert connection.received == b""
    served.run(0.2)
    assert statuses(connection) == [408]


def test_a_connection_counts_once_whatever_comes_on_it(served: Served) -> None:
    """Whichever parser takes the requests."""
    served.site.max_connections = 2
    changed, stayed = served.connect(), served.connect()
    changed.send(post(path="/events"))
    served.run()
    assert len(served.site.connections) == 2
    assert statuses(stayed) == []
    served.connect()
    served.run()
    assert len(served.site.connections) == 2
    assert [changed.lost, stayed.lost] == [False, True]
    changed.vanish()
    assert len(served.site.connections) == 1


def test_a_client_that_ends_while_answers_are_owed_gets_them(served: Served) -> None:
    """Whichever parser takes the requests."""
    connection = served.connect()
    connection.send(post() + post(path="/none"))
    connection.end()
    served.run()
    assert statuses(connection) == [200, 404]
    assert connection.lost


def test_all_requests_under_way_are_answered_when_the_site_ends(served: Served) -> None:
    """Only the last answer says C{Connection: close}."""
    served.world.link.disconnect()
    connection = served.connect()
    connection.send(post() * 3, post())
    served.site.drain()
    served.world.link.connect()
    served.run()
    assert statuses(connection) == [200, 200, 200]
    closes = [response.headers.get("Connection") for response in connection.responses()]
    assert closes == [None, None, "close"]
    assert connection.lost
    assert served.stored() == ["hello"] * 3


def test_nothing_is_done_after_the_last_answer(served: Served) -> None:
    """Not even for requests in the same read."""
    served.site.drain()
    connection = served.connect()
    connection.send(post(b"{}") + post(EVENT, "Idempotency-Key: a") + post())
    served.run()
    assert statuses(connection) == [400]
    assert connection.lost
    assert served.stored() == []
