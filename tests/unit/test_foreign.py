"""
Tests with foreign producers and consumers on the same stream and in the same
group, at the same time: plain XADD, XREADGROUP and XACK.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import pytest_twisted

from eventsvc.consumer.delivery import decide
from eventsvc.event import EVENT_FIELD, MARKER_FIELD, MARKER_VALUE, Entry, Notification, encode_notification
from eventsvc.interfaces import Refused, Unknown
from eventsvc.submission import Submission
from tests.support.backends import STREAM, OnServer, opened
from tests.support.processes import Server
from tests.support.producer_harness import until

DEAD = "{NotificationStream}:dead"
STAMP = "2025-02-25T22:06:25.478310425Z"


@pytest.fixture
def backend(server: Server) -> Iterator[OnServer]:
    """A stream on a real server."""
    made = OnServer(server)
    yield made
    pytest_twisted.blockon(made.leave())


async def append(backend: OnServer, *notifications: Notification) -> None:
    """Append events as our producer does."""
    log = await backend.log()
    requests = [Submission((each.id,), (encode_notification(each),)) for each in notifications]
    await log.append(b"producer", 1, requests, len(requests))


def foreign_read(backend: OnServer, count: int = 100, start: str = ">") -> list[tuple[bytes, Any]]:
    """Return what a foreign consumer reads from the same group."""
    found = backend.client.xreadgroup("group", "foreign", {STREAM: start}, count)
    return found[0][1] if found else []


@pytest_twisted.ensureDeferred
async def test_events_of_a_foreign_producer_are_handled(backend: OnServer) -> None:
    """A plain XADD is enough, whatever other members and fields it has."""
    group = await opened(backend)
    message = {"source": "elsewhere", "id": 7, "timestamp": STAMP, "description": "hello", "more": [1]}
    id = backend.client.xadd(STREAM, {"trace": "x", "EventStream": json.dumps(message, indent=1)}).decode()
    (entry,) = await group.read(9, 0.0)
    assert decide(entry, 5) == Notification(7, "hello", STAMP, id)


@pytest_twisted.ensureDeferred
async def test_our_events_are_read_by_a_foreign_consumer(backend: OnServer) -> None:
    """It sees the marker and one field per event, and its XACK counts like ours."""
    group = await opened(backend)
    await append(backend, Notification(7, "hello", STAMP), Notification(8, "again", STAMP))
    entries = foreign_read(backend)
    assert [fields for _, fields in entries] == [
        {MARKER_FIELD: MARKER_VALUE},
        {b"EventStream": b'{"id":7,"description":"hello","timestamp":"%s"}' % STAMP.encode()},
        {b"EventStream": b'{"id":8,"description":"again","timestamp":"%s"}' % STAMP.encode()},
    ]
    assert not await group.read(9, 0.0)
    assert backend.client.xack(STREAM, "group", *(id for id, _ in entries)) == 3
    assert (await group.measure()).pending == 0


@pytest_twisted.ensureDeferred
async def test_each_event_comes_to_one_of_both(backend: OnServer) -> None:
    """In one group they share the events, and nothing is left pending."""
    group = await opened(backend)
    ids = [backend.add({EVENT_FIELD: b"%d" % number}) for number in range(100)]
    seen: list[str] = []
    while True:
        theirs = [id.decode() for id, _ in foreign_read(backend, 7)]
        ours = [entry.id for entry in await group.read(5, 0.0)]
        seen += theirs + ours
        if not theirs and not ours:
            break
        if theirs:
            backend.client.xack(STREAM, "group", *theirs)
        if ours:
            await group.acknowledge(ours)
    assert seen == ids
    assert backend.pending() == {}


@pytest_twisted.ensureDeferred
async def test_what_a_foreign_consumer_left_is_claimed(backend: OnServer) -> None:
    """Its reads count as deliveries, and it may claim entries that we leave."""
    group = await opened(backend)
    a, b = [backend.add({EVENT_FIELD: text}) for text in (b"a", b"b")]
    foreign_read(backend)
    foreign_read(backend, start="0")
    page = await group.claim(0.0, "0-0", 1)
    assert page.entries == [Entry(a, {EVENT_FIELD: b"a"}, 3, again=True)]
    await group.claim(0.0, "0-0", 9)
    await group.release([a, b])
    _, entries, _ = backend.client.xautoclaim(STREAM, "group", "foreign", 3_600_000)
    assert [id.decode() for id, _ in entries] == [a, b]
    assert await group.renew({a: "", b: ""}) == [a, b]


@pytest_twisted.ensureDeferred
async def test_what_a_foreign_consumer_has_done_is_done(backend: OnServer) -> None:
    """An entry of ours that it acknowledges is neither delivered again nor set aside."""
    group = await opened(backend)
    a, b = [backend.add({EVENT_FIELD: text}) for text in (b"a", b"b")]
    await group.read(9, 0.0)
    backend.client.xack(STREAM, "group", a)
    assert [entry.id for entry in await group.read_pending("", 9)] == [b]
    assert await group.set_aside(a, "failed", "", 1) is False
    assert not backend.client.exists(DEAD)


@pytest_twisted.ensureDeferred
async def test_a_foreign_trim_is_noticed(backend: OnServer) -> None:
    """An entry that was trimmed while it was ours comes again without its fields."""
    group = await opened(backend)
    a, b = [backend.add({EVENT_FIELD: text}) for text in (b"a", b"b")]
    await group.read(9, 0.0)
    backend.client.xtrim(STREAM, 1, approximate=False)
    assert await group.read_pending("", 9) == [
        Entry(a, None, 2, again=True),
        Entry(b, {EVENT_FIELD: b"b"}, 2, again=True),
    ]


@pytest_twisted.ensureDeferred
async def test_a_dead_letter_holds_the_entry(backend: OnServer) -> None:
    """It has the consumer, the reason, and every field byte for byte."""
    group = await opened(backend)
    odd = {EVENT_FIELD: b"\xff\x00", b"": b"", b"reason": b"mine", b"\xfe": b"x" * 1_000_000}
    id = backend.add(odd)
    await group.read(9, 0.0)
    assert await group.set_aside(id, "malformed", "half \ud800", 1)
    ((_, letter),) = backend.client.xrange(DEAD)
    about = {b"reason": b"malformed", b"error": b"half ?", b"deliveries": b"1", b"id": id.encode()}
    ours = {b"group": b"group", b"consumer": b"consumer"}
    assert letter == {**about, **ours, **{b"field:" + name: value for name, value in odd.items()}}
    assert set(backend.client.keys()) == {STREAM.encode(), DEAD.encode()}


@pytest_twisted.ensureDeferred
async def test_an_entry_of_many_fields_can_be_set_aside(backend: OnServer) -> None:
    """One call in a script cannot carry so many fields; they are kept all the same."""
    group = await opened(backend)
    id = backend.add({b"%d" % number: b"x" for number in range(20_000)})
    await group.read(9, 0.0)
    assert await group.set_aside(id, "malformed", "too much", 1)
    ((_, letter),) = backend.client.xrange(DEAD)
    assert len(letter[b"packed"]) > 20_000 * 2
    assert backend.pending() == {}


@pytest_twisted.ensureDeferred
async def test_another_kind_of_key_is_left_alone(backend: OnServer) -> None:
    """If the key of the stream has another type, every read fails until that is fixed."""
    group = await backend.group()
    backend.client.set(STREAM, "mine")
    for ask in (group.open, lambda: group.read(1, 0.0), lambda: group.trim(1)):
        with pytest.raises(Refused, match="something else in the place of the stream"):
            await ask()
    assert backend.client.get(STREAM) == b"mine"
    backend.wipe()
    assert await group.open() is True


@pytest.mark.parametrize(
    "trouble",
    [
        lambda client: client.xgroup_destroy(STREAM, "group"),
        lambda client: client.flushall(),
        lambda client: client.delete(STREAM),
        lambda client: client.set(STREAM, "mine"),
        lambda client: client.client_kill_filter(_type="normal", skipme=True),
    ],
    ids=["group destroyed", "wiped", "deleted", "another kind of key", "killed"],
)
@pytest_twisted.ensureDeferred
async def test_a_waiting_read_is_told_of_trouble(backend: OnServer, trouble: Callable[[Any], object]) -> None:
    """A blocking read fails at once, not at the end of its wait."""
    group = await opened(backend)
    reading = group.read(9, 20.0)
    await until(lambda: backend.client.info("clients")["blocked_clients"])
    trouble(backend.client)
    with pytest.raises((Refused, Unknown)):
        await reading
    backend.wipe()
    assert await group.open() is True
