"""
Tests for L{eventsvc.web.turns}: requests that find the queue full, with and without the fast path.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from twisted.logger import capturedLogs

from eventsvc.event_message import decode_event, decode_events
from eventsvc.interfaces import QueueFull
from eventsvc.producer.backlog import PendingRequest
from eventsvc.web import post_head
from eventsvc.web.arrivals import READ
from eventsvc.web.site import make_site
from eventsvc.web.turns import SMALL, Turn, Turns
from tests.support.http import MAKERS, Connection, Served, post, serving
from tests.support.producer_world import make_world

both = pytest.mark.parametrize("make", MAKERS)


def event(name: object, size: int = 0) -> bytes:
    """Return an event of at least this size that begins with its name."""
    return b'{"description": "%b"}' % f"{name} ".encode().ljust(size, b"x")


def single(name: object, *headers: str) -> bytes:
    return post(event(name), *headers)


def batch(name: object, events: int, *headers: str, size: int = 0) -> bytes:
    return post(b"\n".join([event(name, size)] * events), *headers, path="/events")


def names(served: Served) -> list[str]:
    """Return the names of the events in the stream."""
    return [text.split()[0] for text in served.stored()]


def statuses(connection: Connection) -> list[int]:
    return [response.status for response in connection.responses()]


def send(served: Served, data: bytes) -> Connection:
    connection = served.connect()
    connection.send(data)
    return connection


@both
def test_nobody_is_refused_while_the_log_takes_events(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting costs little: no request is parsed more than twice."""
    parsed: Counter[bytes] = Counter()

    def count(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
        def counted(body: bytes) -> Any:
            parsed[body] += 1
            return decode(body)

        return counted

    monkeypatch.setattr(post_head, "decode_event", count(decode_event))
    monkeypatch.setattr(post_head, "decode_events", count(decode_events))
    with serving(make, make_world(queue_events=10, batch_events=5)) as served:
        clients = [send(served, batch(f"b{number}", 4) if number % 2 else single(number)) for number in range(100)]
        served.run(4.0)
        assert [statuses(client) for client in clients] == [[200]] * 100
        assert max(parsed.values()) <= 2
        assert len(served.stored()) == 250


@both
@pytest.mark.parametrize(
    ("request_bytes", "stored"),
    [
        (single("late"), "no"),
        (batch("late", 3), "no"),
        (batch("late", 1, size=2 * SMALL), "no"),
        (single("late", "Idempotency-Key: a"), "unknown"),
        (batch("late", 3, "Idempotency-Key: a"), "unknown"),
    ],
)
def test_who_finds_no_room_is_refused_when_its_time_is_over(make: Any, request_bytes: bytes, stored: str) -> None:
    """Not before its deadline, and its events are counted."""
    with serving(make, make_world(queue_events=4, wait=5.0)) as served:
        served.world.link.disconnect()
        first = send(served, batch("first", 4))
        served.run(0.1)
        late = send(served, request_bytes)
        served.run(4.85)
        assert [first.received, late.received] == [b"", b""]
        served.run(0.1)
        assert statuses(first) == [503]
        assert late.received == b""
        blocked = send(served, batch("blocked", 4))  # there is room by now, but for one of them only
        served.run(0.1)
        assert late.response().problem["stored"] == stored
        served.world.link.connect()
        served.run(1.0)
        assert statuses(blocked) == [200]
        assert set(names(served)) == {"blocked"}


@both
def test_the_time_in_the_line_is_part_of_the_time_for_redis(make: Any) -> None:
    """A request that is queued late keeps its own deadline, and so do the others."""
    with serving(make, make_world(queue_events=1, wait=5.0)) as served:
        served.world.link.disconnect()
        first = send(served, single("first"))
        served.run(3.0)
        second = send(served, single("second"))
        served.run(1.9)
        assert first.received == b""
        served.run(0.2)
        assert statuses(first) == [503]
        served.run(2.8)
        assert second.received == b""
        served.run(0.2)
        assert second.response().problem["stored"] == "no"


@both
def test_what_is_no_event_is_400_when_its_turn_comes(make: Any) -> None:
    """It is not parsed earlier."""
    with serving(make, make_world(queue_events=2)) as served:
        served.world.link.disconnect()
        send(served, batch("first", 2))
        send(served, single("waits"))
        wrong = [send(served, post(b"{}", path=path)) for path in ("/event", "/events")]
        served.run(1.0)
        assert [each.received for each in wrong] == [b"", b""]
        served.world.link.connect()
        served.run(1.0)
        assert [statuses(each) for each in wrong] == [[400], [400]]


@both
def test_each_line_keeps_its_order(make: Any) -> None:
    with serving(make, make_world(queue_events=2, batch_events=1)) as served:
        clients = [send(served, single(number)) for number in range(20)]
        served.run(1.0)
        assert [statuses(client) for client in clients] == [[200]] * 20
        assert names(served) == [f"{number}" for number in range(20)]


@both
def test_large_requests_do_not_starve_small_ones(make: Any) -> None:
    """Nor the reverse: each kind has its share of the bytes."""
    with serving(make, make_world(queue_events=10, batch_events=10)) as served:
        served.world.link.disconnect()
        large = [send(served, batch(f"large{number}", 10, size=1_000)) for number in range(30)]
        small = [send(served, single(f"small{number}")) for number in range(30)]
        served.run(0.1)
        served.world.link.connect()
        served.run(4.0)
        assert [statuses(client) for client in large + small] == [[200]] * 60
        order = names(served)
        assert order.index("small29") < order.index("large5")
        assert order.index("large1") < order.index("small0")


@both
def test_small_requests_do_not_starve_large_ones(make: Any) -> None:
    with serving(make, make_world(queue_events=10, batch_events=10)) as served:
        served.world.link.disconnect()
        small = [send(served, single(f"small{number}")) for number in range(1_000)]
        large = [send(served, batch(f"large{number}", 10, size=1_000)) for number in range(2)]
        served.run(0.1)
        served.world.link.connect()
        served.run(4.0)
        assert [statuses(client) for client in small + large] == [[200]] * 1_002
        assert names(served).index("large0") < 50
        assert names(served).index("large1") < 500


@both
def test_who_needs_more_room_than_there_is_goes_first_when_there_is(make: Any) -> None:
    """Later requests do not use up the room bit by bit."""
    with serving(make, make_world(queue_events=10, batch_events=1)) as served:
        served.world.link.disconnect()
        send(served, batch("first", 6))
        served.run(0.1)
        second = send(served, batch("second", 10))
        served.run(0.1)
        later = [send(served, batch(f"later{number}", 1)) for number in range(5)]
        served.world.link.connect()
        served.run(1.0)
        assert [statuses(client) for client in [second, *later]] == [[200]] * 6
        assert names(served)[6:16] == ["second"] * 10


@both
def test_who_goes_away_leaves_the_line(make: Any) -> None:
    """Its event is not stored, and it delays nobody."""
    with serving(make, make_world(queue_events=1)) as served:
        served.world.link.disconnect()
        send(served, single("first"))
        gone = [send(served, data) for data in (single("gone"), batch("gone", 1), batch("gone", 1, size=2 * SMALL))]
        stayed = send(served, single("stayed"))
        served.run(0.1)
        for each in gone:
            each.vanish()
        served.world.link.connect()
        served.run(1.0)
        assert statuses(stayed) == [200]
        assert names(served) == ["first", "stayed"]


@both
def test_a_client_that_ends_while_it_waits_has_its_answer(make: Any) -> None:
    with serving(make, make_world(queue_events=1)) as served:
        served.world.link.disconnect()
        send(served, single("first"))
        clients = [send(served, data) for data in (single("second"), batch("third", 1))]
        for client in clients:
            client.end()
        served.run(1.0)
        served.world.link.connect()
        served.run(1.0)
        assert [statuses(client) for client in clients] == [[200], [200]]
        assert [client.lost for client in clients] == [True, True]


@both
def test_requests_of_one_connection_are_answered_in_order(make: Any) -> None:
    """Whichever of them had to wait; the bytes read after them are bounded."""
    with serving(make, make_world(queue_events=2, batch_events=1)) as served:
        client = send(served, b"".join([single(number) for number in range(10)]))
        for number in range(10, 500):
            client.send(single(number))
        assert client.paused
        served.run(4.0)
        assert statuses(client) == [200] * 500
        assert names(served) == [f"{number}" for number in range(500)]


@both
def test_a_key_behind_requests_that_wait_is_still_one_request(make: Any) -> None:
    with serving(make, make_world(queue_events=1, batch_events=1)) as served:
        data = single("first") + single("keyed", "Idempotency-Key: a") * 3 + single("last")
        client = send(served, data)
        served.run(2.0)
        assert statuses(client) == [200] * 5
        assert names(served) == ["first", "keyed", "last"]


@both
def test_the_time_of_a_request_may_be_over_before_that_for_redis(make: Any) -> None:
    """It was not submitted, so nothing is stored."""
    with serving(make, make_world(queue_events=1, wait=100.0), timeout=2.0) as served:
        served.world.link.disconnect()
        send(served, single("first"))
        clients = [send(served, data) for data in (single("second"), batch("third", 1))]
        served.run(1.9)
        assert [client.received for client in clients] == [b"", b""]
        served.run(1.2)
        assert [client.response().problem["stored"] for client in clients] == ["no", "no"]


@both
def test_the_end_of_the_server_waits_for_those_in_the_line(make: Any) -> None:
    """Their answers close their connections."""
    with serving(make, make_world(queue_events=1)) as served:
        served.world.link.disconnect()
        clients = [send(served, data) for data in (single("first") * 2, single("second") * 2, batch("third", 1))]
        drained: list[None] = []
        served.site.drain().addCallback(drained.append)
        served.run(2.0)
        assert drained == []
        served.world.link.connect()
        served.run(1.0)
        all_of_one_read = [200, 200] if make is make_site else [200]
        assert [statuses(client) for client in clients] == [all_of_one_read, all_of_one_read, [200]]
        for client in clients:
            closes = [response.headers.get("Connection") for response in client.responses()]
            assert closes == [None] * (len(closes) - 1) + ["close"]
        assert drained == [None]


def test_an_answer_is_not_the_last_while_another_request_of_its_read_waits() -> None:
    """Even when the server drains."""
    with serving(make_site, make_world(queue_events=1)) as served:
        served.world.link.disconnect()
        client = send(served, single("first") + single("second"))
        served.site.drain()
        served.run(6.0)
        assert [response.headers.get("Connection") for response in client.responses()] == [None, "close"]
        assert client.lost


@both
def test_a_client_that_does_not_read_takes_no_place(make: Any) -> None:
    """Its requests wait until it reads, and others continue."""
    with serving(make, make_world(queue_events=1)) as served:
        deaf = served.connect()
        deaf.reading = False
        while not deaf._producer_paused:
            deaf.send(post(b"{}"))
        served.world.link.disconnect()
        send(served, single("first"))
        deaf.send(single("deaf"))
        other = send(served, single("other"))
        served.world.link.connect()
        served.run(1.0)
        assert statuses(other) == [200]
        deaf.read()
        served.run(1.0)
        assert statuses(deaf)[-1] == 200
        assert names(served) == ["first", "other", "deaf"]


def test_a_connection_has_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its client sends or receives meanwhile; little of that is read."""
    with serving(make_site, make_world(queue_events=1)) as served:
        joins: list[int] = []
        join = Turns.join

        def joining(turns: Turns, *arguments: Any) -> Turn:
            turn = join(turns, *arguments)
            joins.append(len(turns._small))
            return turn

        monkeypatch.setattr(Turns, "join", joining)
        served.world.link.disconnect()
        first, second = send(served, single("1") + single("2")), send(served, single("3"))
        for client in first, second:
            client.send(*[single("more")] * 100)
            assert client.paused
        assert len(joins) == 2
        served.world.link.connect()
        served.run(4.0)
        assert [statuses(client) for client in (first, second)] == [[200] * 102, [200] * 101]
        assert max(joins) == 2


@pytest.mark.parametrize("path", ["/event", "/events"])
def test_who_goes_away_is_forgotten(path: str) -> None:
    """At once, so the next request need not wait."""
    with serving(make_site, make_world(queue_events=1)) as served:
        served.world.link.disconnect()
        send(served, single("first"))
        gone = send(served, post(event("gone"), path=path))
        is_open = [served.api.posts.destinations.first.turns.is_open]
        gone.vanish()
        is_open.append(served.api.posts.destinations.first.turns.is_open)
        assert is_open == [False, True]


@both
def test_little_is_read_behind_a_request_that_waits(make: Any) -> None:
    """Thousands of connections may be waiting."""
    with serving(make, make_world(queue_events=1)) as served:
        served.world.link.disconnect()
        for path in "/event", "/events":
            client = send(served, post(event("waits"), path=path))
            client.send(b"".join([single("more")] * 100)[:READ], b"P")
            assert client.paused


def test_what_came_later_takes_its_place_behind_others() -> None:
    """Even if the turn of the earlier request ends with the queue full again."""
    with serving(make_site, make_world(queue_events=1, batch_events=1)) as served:
        served.world.link.disconnect()
        send(served, single("first"))
        client = send(served, single("a") + single("b"))
        other = send(served, single("other"))
        client.send(single("c"))
        served.world.link.connect()
        served.run(1.0)
        assert [statuses(each) for each in (client, other)] == [[200] * 3, [200]]
        assert names(served) == ["first", "a", "b", "other", "c"]


@both
def test_what_came_later_has_a_time_of_its_own(make: Any) -> None:
    """Even on the same connection."""
    with serving(make, make_world(queue_events=1, wait=5.0)) as served:
        served.world.link.disconnect()
        served.world.appender.backlog.put(PendingRequest((1,), (b"",), answer=lambda *_: None), since=100.0)
        client = send(served, single("first"))
        served.run(3.0)
        client.send(single("second"))
        served.run(2.1)
        assert statuses(client) == [503]
        served.run(1.9)
        assert statuses(client) == [503]
        served.run(3.1)
        assert statuses(client) == [503, 503]


def test_a_turn_that_fails_holds_up_nobody() -> None:
    """The error is logged."""
    world = make_world(queue_events=1)
    turns = Turns(world.appender)
    called: list[bool] = []
    turns.join(1, lambda _: 1 // 0)
    turns.join(1, called.append)
    with capturedLogs() as logs:
        world.post("first")
        world.run(0.1)
    assert called == [False]
    assert ["log_failure" in event for event in logs] == [True]
    assert turns.is_open
    world.appender.stop()


def test_a_place_that_is_given_up_by_another_turn_is_not_called() -> None:
    world = make_world(queue_events=10)
    turns = Turns(world.appender)
    called: list[str] = []
    places: list[Turn] = []
    turns.join(1, lambda _: places[0].leave())
    places.append(turns.join(1, lambda _: called.append("second")))
    turns.join(1, lambda _: called.append("third"))
    world.post("first")
    world.run(0.1)
    assert called == ["third"]
    world.appender.stop()


def test_who_has_left_is_forgotten() -> None:
    """Its timer is cancelled, and the next request may try at once."""
    world = make_world()
    calls = world.clock.getDelayedCalls()
    turns = Turns(world.appender)
    is_open = [turns.is_open]
    turn = turns.join(1, lambda _: None)
    is_open.append(turns.is_open)
    turn.leave()
    is_open.append(turns.is_open)
    assert is_open == [True, False, True]
    assert world.clock.getDelayedCalls() == calls
    world.appender.stop()


def test_who_does_not_fit_is_not_overtaken() -> None:
    """It stays at the head of its line, and is called once there is enough room."""
    world = make_world(queue_events=10)
    turns = Turns(world.appender)
    called: list[str] = []

    def call(is_over: bool) -> None:
        called.append("first")
        if len(called) == 1:
            turns.again(first, QueueFull("", 100, 1))

    first = turns.join(1, call)
    turns.join(1, lambda _: called.append("second"))
    for _ in range(3):
        world.post("event")
        world.run(0.1)
    assert called == ["first"]
    world.run(5.0)
    assert called == ["first", "first", "second"]
    world.appender.stop()


def test_each_of_both_lines_is_refused_in_its_time() -> None:
    world = make_world(wait=5.0)
    turns = Turns(world.appender)
    called: list[tuple[float, int]] = []

    def note(size: int, is_over: bool) -> None:
        called.append((round(world.clock.seconds(), 3), size))

    for size in 1, SMALL + 1, 2, SMALL + 2:
        turns.join(size, partial(note, size))
        world.run(1.0)
    world.run(10.0)
    assert called == [(5.0, 1), (6.0, SMALL + 1), (7.0, 2), (8.0, SMALL + 2)]
    world.appender.stop()


def test_the_head_of_the_line_is_refused_in_its_time_though_it_was_called_before() -> None:
    world = make_world(queue_events=10, wait=5.0)
    turns = Turns(world.appender)
    called: list[bool] = []

    def call(is_over: bool) -> None:
        called.append(is_over)
        if not is_over:
            turns.again(turn, QueueFull("", 100, 1))

    turn = turns.join(1, call)
    world.run(1.0)
    world.post("first")
    world.run(3.9)
    assert called == [False]
    world.run(0.2)
    assert called == [False, True]
    world.appender.stop()
    assert world.clock.getDelayedCalls() == []
