"""
Tests for L{eventsvc.web.site}: many connections, internal errors, and the end of
the server.
"""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from twisted.logger import LogLevel, capturedLogs

from eventsvc.testing import Fate
from eventsvc.web.health import Health
from eventsvc.web.limits import GRACE, LINGER
from tests.support.http import EVENT, MAKERS, Served, post, serving
from tests.support.producer_world import make_world


@pytest.mark.parametrize("path", ["/event", "/events"])
def test_a_fault_of_our_own_is_500_and_its_cause_is_in_the_log(served: Served, path: str) -> None:
    """The traceback is logged, and nothing of it is sent."""

    def fail(*_: Any) -> Any:
        raise LookupError("a secret")

    served.world.appender.new_id = fail
    with capturedLogs() as logs:
        response = served.post(path=path)
    assert response.status == 500
    assert response.problem["title"] == "Internal Server Error"
    assert b"secret" not in response.body
    (event,) = [event for event in logs if event["log_level"] >= LogLevel.error]
    assert event["log_format"] == "unexpected error in a request; it is answered 500"
    assert "a secret" in event["log_failure"].getTraceback()
    assert served.stored() == []


def test_after_a_fault_of_our_own_the_connection_goes_on(served: Served) -> None:
    """The next request may succeed."""
    good = served.world.appender.wall_clock
    served.world.appender.wall_clock = lambda: 1 // 0
    connection = served.connect()
    with capturedLogs():
        connection.send(post())
        served.run()
    served.world.appender.wall_clock = good
    connection.send(post())
    served.run()
    assert [response.status for response in connection.responses()] == [500, 200]


def test_figures_that_fail_are_a_fault_of_our_own() -> None:
    """The answer is still JSON."""
    health = Health(is_live=lambda: True, not_ready=lambda: "", metrics=lambda: b"%d" % (1 // 0))
    with serving(health=health) as served, capturedLogs() as logs:
        response = served.exchange(post(path="/metrics").replace(b"POST", b"GET"))
    assert response.status == 500
    assert response.problem["title"] == "Internal Server Error"
    assert any("ZeroDivisionError" in event["log_failure"].getTraceback() for event in logs if "log_failure" in event)


@pytest.mark.parametrize("make", MAKERS)
def test_a_request_that_takes_too_long_is_answered_all_the_same(make: Any) -> None:
    """Its events may or may not be stored; its connection stays open."""
    world = make_world([Fate.SILENT], wait=100.0)
    with serving(make, world) as served:
        connection = served.connect()
        connection.send(post())
        served.run(9.9)
        assert connection.received == b""
        served.run(1.1)
        response = connection.response()
        assert response.status == 503
        assert response.problem["stored"] == "unknown"
        assert response.problem["description"] == "The request took too long"
        assert world.appender.backlog.when_settled().called
        world.link.cut()
        connection.send(post(b'{"description": "next"}'))
        served.run(1.0)
        assert connection.responses()[1].status == 200
        assert served.stored() == ["next"]


def test_what_a_client_that_went_away_had_asked_for_is_not_begun(served: Served) -> None:
    """It left the queue before it was sent, and nothing is logged."""
    served.world.link.disconnect()
    for path in ("/event", "/events"):
        connection = served.connect()
        connection.send(post(path=path))
        served.run()
        connection.vanish()
    stayed = served.connect()
    stayed.send(post(b'{"description": "stayed"}'))
    with capturedLogs() as logs:
        served.world.link.connect()
        served.run()
    assert stayed.response().status == 200
    assert served.stored() == ["stayed"]
    assert [event for event in logs if event["log_level"] >= LogLevel.warn] == []


def test_what_a_client_that_went_away_had_asked_for_is_stored_if_it_was_sent(served: Served) -> None:
    """An event that was sent cannot be withdrawn."""
    connection = served.connect()
    connection.send(post())
    served.run(0.0005)
    connection.vanish()
    served.run()
    assert served.stored() == ["hello"]


@attrs.define
class Drain:
    """Records whether a site has drained."""

    done: bool = False

    def begin(self, served: Served) -> None:
        served.site.drain().addCallback(self._end)

    def _end(self, _: None) -> None:
        self.done = True


@pytest.fixture
def drain() -> Drain:
    return Drain()


def test_a_site_without_connections_ends_at_once(served: Served, drain: Drain) -> None:
    """There is nothing to wait for."""
    drain.begin(served)
    assert drain.done


def test_idle_connections_end_after_a_grace(served: Served, drain: Drain) -> None:
    """New or used: a request may be on its way."""
    fresh, used = served.connect(), served.connect()
    used.send(post())
    served.run()
    drain.begin(served)
    served.run(GRACE - 0.1)
    assert [fresh.lost, used.lost, drain.done] == [False, False, False]
    served.run(0.2)
    assert [fresh.lost, used.lost, drain.done] == [True, True, True]


def test_the_grace_can_be_longer(served: Served, drain: Drain) -> None:
    """Behind a load balancer, clients with many connections take seconds to use each of them."""
    connection = served.connect()
    served.site.grace = 5 * GRACE
    drain.begin(served)
    served.run(4.9 * GRACE)
    assert not connection.lost
    served.run(0.2 * GRACE)
    assert connection.lost


def test_a_request_that_comes_within_the_grace_has_its_answer(served: Served, drain: Drain) -> None:
    """It is the last on its connection, and says so."""
    connection = served.connect()
    drain.begin(served)
    served.run(GRACE / 2)
    connection.send(post())
    served.run()
    assert connection.response().status == 200
    assert connection.response().headers["Connection"] == "close"
    assert connection.lost
    assert drain.done


def test_a_request_in_progress_gets_its_answer_before_the_end(served: Served, drain: Drain) -> None:
    """It is the last on its connection, and says so."""
    served.world.link.disconnect()
    connection = served.connect()
    connection.send(post())
    drain.begin(served)
    served.run(1.0)
    assert not drain.done
    served.world.link.connect()
    served.run()
    assert connection.response().status == 200
    assert connection.response().headers["Connection"] == "close"
    assert connection.lost
    assert drain.done


@pytest.mark.parametrize("cut", [1, 30, -1])
def test_a_request_that_has_begun_may_end(served: Served, drain: Drain, cut: int) -> None:
    """Its client does not know that the site drains."""
    connection = served.connect()
    connection.send(post()[:cut])
    drain.begin(served)
    served.run(1.0)
    assert not connection.lost
    connection.send(post()[cut:])
    served.run()
    assert connection.response().status == 200
    assert connection.response().headers["Connection"] == "close"
    assert drain.done


def test_the_end_does_not_wait_for_ever(served: Served, drain: Drain) -> None:
    """It waits at most for the duration of a request and the reading of its answer."""
    dripping, deaf = served.connect(), served.connect()
    dripping.send(b"POST")
    deaf.reading = False
    deaf.send(post(path="/none") * 2000)
    drain.begin(served)
    served.run(GRACE + 10.0 + 2 * LINGER + 1.0)
    assert drain.done
    assert dripping.response().status == 408


def test_all_that_wait_for_the_end_are_told(served: Served) -> None:
    """Including the second waiter."""
    served.connect()
    ends = [Drain(), Drain()]
    for each in ends:
        each.begin(served)
    served.run(GRACE)
    assert [each.done for each in ends] == [True, True]


def test_a_connection_that_comes_at_the_end_is_closed(served: Served, drain: Drain) -> None:
    """It was accepted before listening ended."""
    served.connect()
    drain.begin(served)
    served.run(GRACE)
    connection = served.connect()
    served.run()
    assert connection.lost


def test_there_is_no_access_log(served: Served) -> None:
    """Nothing is logged for a normal request."""
    with capturedLogs() as logs:
        served.site.doStart()
        assert served.post(EVENT).status == 200
        assert served.post(b"{}").status == 400
        served.site.doStop()
    assert [event for event in logs if event["log_level"] > LogLevel.debug] == []
