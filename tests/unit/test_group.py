"""
Tests for what every L{IEventGroup} guarantees, on the one in memory and on the
one on a real server.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

import attrs
import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, succeed
from zope.interface.verify import verifyObject

from eventsvc.consumer.recent import digest_of
from eventsvc.event import EVENT_FIELD, MARKER_FIELD, MARKER_VALUE, Entry
from eventsvc.interfaces import Claimed, IEventGroup, Refused, Unknown
from eventsvc.redis.group import RedisEventGroup
from eventsvc.redis.silence import REPLY_TIMEOUT
from tests.support.backends import Backend, OnServer

MARKER = {MARKER_FIELD: MARKER_VALUE}
HOUR = 3_600.0
OPERATIONS = {
    "read": (1, 0.0),
    "read_pending": ("", 1),
    "list_pending": ("", 1),
    "claim": (0.0, "0-0", 1),
    "count_delivery": (["1-0"], 1),
    "renew": ({"1-0": ""},),
    "release": (["1-0"],),
    "acknowledge": (["1-0"],),
    "set_aside": ("1-0", "failed", "", 1),
    "remove_stale": (0.0,),
    "trim": (1,),
    "memory": (),
    "hold_name": ("token", 1.0),
    "leave": ("token",),
    "measure": (),
}


def event(text: str) -> dict[bytes, bytes]:
    """Return the fields of an entry with an event."""
    return {EVENT_FIELD: text.encode()}


def add(backend: Backend, *texts: str) -> list[str]:
    """Add events, and return their ids."""
    return [backend.add(event(text)) for text in texts]


async def opened(backend: Backend, name: str = "group", consumer: str = "consumer") -> IEventGroup:
    """Return a consumer of a group, ready to read."""
    group = await backend.group(name, consumer)
    await backend.wait(group.open())
    return group


async def read(backend: Backend, group: IEventGroup, count: int = 100) -> Sequence[str]:
    """Read new entries, and return their ids."""
    return [entry.id for entry in await backend.wait(group.read(count, 0.0))]


@pytest_twisted.ensureDeferred
async def test_it_is_what_it_says(backend: Backend) -> None:
    """It provides the interface."""
    assert verifyObject(IEventGroup, await backend.group())


@pytest_twisted.ensureDeferred
async def test_a_group_begins_with_the_first_entry(backend: Backend) -> None:
    """It is created once, with the stream if missing, and reads all earlier entries."""
    group, other = await backend.group(), await backend.group(consumer="other")
    late = await backend.group("late")
    assert await backend.wait(group.open()) is True
    assert await backend.wait(group.open()) is False
    assert await backend.wait(other.open()) is False
    ids = add(backend, "a", "b")
    assert await backend.wait(late.open()) is True
    assert await read(backend, group) == ids
    assert await read(backend, late) == ids


@pytest_twisted.ensureDeferred
async def test_new_entries_come_once_and_in_order(backend: Backend) -> None:
    """At most the requested number, each to one consumer of the group."""
    group, other = await opened(backend), await opened(backend, consumer="other")
    a, b, c = add(backend, "a", "b", "c")
    odd = {b"\xff": b"\x00\r\n", b"EventStream": b"007"}
    d = backend.add(odd)
    assert await backend.wait(group.read(2, 0.0)) == [Entry(a, event("a")), Entry(b, event("b"))]
    assert await backend.wait(other.read(1, 0.05)) == [Entry(c, event("c"))]
    assert await backend.wait(group.read(9, 0.05)) == [Entry(d, odd)]
    assert not await backend.wait(group.read(9, 0.0))
    assert not await backend.wait(group.read(9, 0.05))
    assert backend.pending() == {a: ("consumer", 1), b: ("consumer", 1), c: ("other", 1), d: ("consumer", 1)}


@pytest_twisted.ensureDeferred
async def test_a_waiting_read_gets_what_comes(backend: Backend) -> None:
    """The read returns before its wait is over."""
    group = await opened(backend)
    reading = group.read(9, 20.0)
    ids = add(backend, "a")
    assert [entry.id for entry in await backend.wait(reading)] == ids


@pytest_twisted.ensureDeferred
async def test_own_pending_entries_are_listed(backend: Backend) -> None:
    """Only those of this consumer, page by page, without counting a delivery."""
    group, other = await opened(backend), await opened(backend, consumer="other")
    a, b, c, d = add(backend, "a", "b", "c", "d")
    assert await read(backend, group, 3) == [a, b, c]
    assert await read(backend, other) == [d]
    backend.remove(b)
    for _ in range(2):
        assert await backend.wait(group.read_pending("", 2)) == [
            Entry(a, event("a"), 2, again=True),
            Entry(b, None, 2, again=True),
        ]
        assert await backend.wait(group.read_pending(b, 2)) == [Entry(c, event("c"), 2, again=True)]
        assert not await backend.wait(group.read_pending(c, 2))
    assert backend.pending()[a] == ("consumer", 1)


@pytest_twisted.ensureDeferred
async def test_own_entries_that_are_taken_up_are_not_claimed(backend: Backend) -> None:
    """Reading them resets their idle time; listing their ids does not."""
    group, other = await opened(backend), await opened(backend, consumer="other")
    a, b, c = add(backend, "a", "b", "c")
    await read(backend, group)
    for id in (a, b, c):
        backend.leave_idle(id, 40.0)
    await backend.wait(group.read_pending("", 1))
    assert await backend.wait(group.list_pending("", 2)) == [a, b]
    assert await backend.wait(group.list_pending(b, 2)) == [c]
    assert not await backend.wait(group.list_pending(c, 2))
    page = await backend.wait(other.claim(30.0, "0-0", 10))
    assert [entry.id for entry in page.entries] == [b, c]
    assert backend.pending() == {a: ("consumer", 1), b: ("other", 1), c: ("other", 1)}


@pytest_twisted.ensureDeferred
async def test_pages_end_after_their_bytes(backend: Backend) -> None:
    """Each page has at least one entry; an entry that is not returned is not claimed."""
    group, other = await opened(backend), await opened(backend, consumer="other")
    ids = add(backend, *["x" * 1_000] * 5)
    await read(backend, group)
    assert [entry.id for entry in await backend.wait(group.read_pending("", 9, 1))] == ids[:1]
    assert [entry.id for entry in await backend.wait(group.read_pending("", 9, 1_100))] == ids[:2]
    assert [entry.id for entry in await backend.wait(group.read_pending(ids[1], 9, 9_999))] == ids[2:]
    for size, claimed in ((1, 1), (1_100, 3), (9_999, 5)):
        page = await backend.wait(other.claim(0.0, ids[claimed - (claimed + 1) // 2], 9, size))
        assert page.entries
        assert [owner for owner, _ in backend.pending().values()] == ["other"] * claimed + ["consumer"] * (5 - claimed)
    assert page.cursor == "0-0"


@pytest_twisted.ensureDeferred
async def test_a_name_is_held_by_one_process(backend: Backend) -> None:
    """As long as it renews it; each name in each group is independent."""
    group, other = await opened(backend), await opened(backend, consumer="other")
    assert await backend.wait(group.hold_name("one", 60.0)) == 0
    assert 50.0 < await backend.wait(group.hold_name("two", 90.0)) <= 60.0
    assert await backend.wait(other.hold_name("two", 60.0)) == 0
    assert await backend.wait((await opened(backend, "late")).hold_name("two", 60.0)) == 0
    assert await backend.wait(group.hold_name("one", 90.0)) == 0
    assert 80.0 < await backend.wait(group.hold_name("two", 60.0)) <= 90.0
    assert await backend.wait(group.hold_name("one", 0.001)) == 0
    while await backend.wait(group.hold_name("two", 60.0)):
        pass
    assert await backend.wait(group.hold_name("one", 60.0)) > 50.0


@pytest_twisted.ensureDeferred
async def test_the_share_of_memory_in_use_is_told(backend: Backend) -> None:
    """It is 0 without a limit."""
    group = await opened(backend)
    assert (await backend.wait(group.memory())).share == 0.0
    backend.use_memory(0.5)
    try:
        assert 0.4 < (await backend.wait(group.memory())).share < 0.6
    finally:
        backend.use_memory(0.0)


@pytest.mark.parametrize("backend", ["server"], indirect=True)
@pytest_twisted.ensureDeferred
async def test_without_the_right_to_ask_memory_is_not_short(backend: OnServer) -> None:
    """Trimming by length continues."""
    group = await opened(backend)
    backend.use_memory(0.5)
    backend.client.execute_command("ACL", "SETUSER", "default", "-info")
    try:
        assert (await backend.wait(group.memory())).share == 0.0
    finally:
        backend.client.execute_command("ACL", "SETUSER", "default", "+info")
        backend.use_memory(0.0)


@pytest_twisted.ensureDeferred
async def test_what_is_acknowledged_is_pending_no_more(backend: Backend) -> None:
    """Even if another consumer owns it; an id that is not pending is ignored."""
    group, other = await opened(backend), await opened(backend, consumer="other")
    a, b = add(backend, "a", "b")
    await read(backend, group)
    await backend.wait(other.acknowledge([a]))
    await backend.wait(group.acknowledge([a, "999999-0"]))
    assert backend.pending() == {b: ("consumer", 1)}
    assert not await read(backend, group)


@pytest_twisted.ensureDeferred
async def test_idle_entries_are_claimed_page_by_page(backend: Backend) -> None:
    """Only those idle for long enough; a claim counts no delivery and resets the idle time."""
    group, other = await opened(backend), await opened(backend, consumer="other")
    a, b, c, d = add(backend, "a", "b", "c", "d")
    await read(backend, other)
    assert await backend.wait(group.claim(30.0, "0-0", 10)) == Claimed("0-0", [], [])
    for id, idle in ((a, 40.0), (b, 20.0), (c, 40.0), (d, 40.0)):
        backend.leave_idle(id, idle)
    first = await backend.wait(group.claim(30.0, "0-0", 2))
    assert first.entries == [Entry(a, event("a"), 2, again=True), Entry(c, event("c"), 2, again=True)]
    second = await backend.wait(group.claim(30.0, first.cursor, 2))
    assert second == Claimed("0-0", [Entry(d, event("d"), 2, again=True)], [])
    assert backend.pending() == {a: ("consumer", 1), b: ("other", 1), c: ("consumer", 1), d: ("consumer", 1)}
    assert not (await backend.wait(other.claim(30.0, "0-0", 10))).entries


@pytest_twisted.ensureDeferred
async def test_a_claim_tells_of_what_is_lost(backend: Backend) -> None:
    """An entry that was trimmed while pending is reported once, and leaves a dead letter."""
    group, other = await opened(backend), await opened(backend, consumer="other")
    a, b = add(backend, "a", "b")
    await read(backend, other)
    for id in (a, b):
        backend.leave_idle(id, 40.0)
    backend.remove(a)
    page = await backend.wait(group.claim(30.0, "0-0", 10))
    assert (page.trimmed, [entry.id for entry in page.entries]) == ([a], [b])
    assert [(letter["id"], letter["reason"]) for letter in backend.dead()] == [(a, "trimmed")]
    assert not (await backend.wait(group.claim(0.0, "0-0", 10))).trimmed
    assert set(backend.pending()) == {b}


@pytest_twisted.ensureDeferred
async def test_deliveries_are_counted_when_told(backend: Backend) -> None:
    """The count is kept with the entry, and its idle time is reset."""
    group, other = await opened(backend), await opened(backend, consumer="other")
    (a,) = add(backend, "a")
    await read(backend, group)
    backend.leave_idle(a, 40.0)
    await backend.wait(group.count_delivery([a], 7))
    assert await backend.wait(group.read_pending("", 9)) == [Entry(a, event("a"), 8, again=True)]
    assert not (await backend.wait(other.claim(30.0, "0-0", 10))).entries
    await backend.wait(group.acknowledge([a]))
    await backend.wait(group.count_delivery([a], 8))
    assert backend.pending() == {}


@pytest_twisted.ensureDeferred
async def test_what_is_renewed_is_not_claimed(backend: Backend) -> None:
    """Only entries still ours; the others are reported and left to their owner."""
    group, other = await opened(backend), await opened(backend, consumer="other")
    a, b, c, d = add(backend, "a", "b", "c", "d")
    await read(backend, group, 3)
    await read(backend, other)
    await backend.wait(group.acknowledge([c]))
    for id in (a, b, d):
        backend.leave_idle(id, 40.0)
    assert await backend.wait(group.renew({a: "", c: "", d: ""})) == [c, d]
    assert [entry.id for entry in (await backend.wait(other.claim(30.0, "0-0", 10))).entries] == [b, d]
    assert await backend.wait(group.renew({a: "", b: ""})) == [b]
    assert backend.pending() == {a: ("consumer", 1), b: ("other", 1), d: ("other", 1)}


@pytest_twisted.ensureDeferred
async def test_what_is_released_is_claimed_at_once(backend: Backend) -> None:
    """Whatever the idle time of the claim; entries of other consumers are not touched."""
    group, other = await opened(backend), await opened(backend, consumer="other")
    a, b, c = add(backend, "a", "b", "c")
    await read(backend, group, 2)
    await read(backend, other)
    await backend.wait(group.release([a, c, "999999-0"]))
    page = await backend.wait(other.claim(24 * HOUR, "0-0", 10))
    assert page.entries == [Entry(a, event("a"), 2, again=True)]
    assert backend.pending() == {a: ("other", 1), b: ("consumer", 1), c: ("other", 1)}


@pytest.mark.parametrize("touch", ["renew", "release", "count_delivery", "read_pending"])
@pytest_twisted.ensureDeferred
async def test_an_entry_removed_by_hand_stays_pending_until_its_loss_is_recorded(backend: Backend, touch: str) -> None:
    """Whatever the consumer that has it in flight does meanwhile."""
    group = await opened(backend)
    (a,) = add(backend, "a")
    await read(backend, group)
    backend.remove(a)
    arguments: dict[str, tuple[Any, ...]] = {
        "count_delivery": ([a], 2),
        "read_pending": ("", 9),
        "renew": ({a: "-"},),
    }
    await backend.wait(getattr(group, touch)(*arguments.get(touch, ([a],))))
    assert set(backend.pending()) == {a}


@pytest_twisted.ensureDeferred
async def test_a_delivery_is_not_counted_for_another_owner(backend: Backend) -> None:
    """A consumer that claimed the entry meanwhile keeps it."""
    group, other = await opened(backend), await opened(backend, consumer="other")
    (a,) = add(backend, "a")
    await read(backend, group)
    await backend.wait(other.claim(0.0, "0-0", 10))
    before = backend.pending()
    await backend.wait(group.count_delivery([a], 7))
    assert backend.pending() == before


@pytest_twisted.ensureDeferred
async def test_what_is_set_aside_is_a_dead_letter(backend: Backend) -> None:
    """It is moved once, with its reason, whatever the error text."""
    group = await opened(backend)
    a, b = add(backend, "a", "b")
    await read(backend, group)
    backend.remove(b)
    assert await backend.wait(group.set_aside(a, "failed", "ValueError: ä\n", 5)) is True
    assert await backend.wait(group.set_aside(a, "failed", "again", 6)) is False
    assert await backend.wait(group.set_aside(b, "trimmed", "it is gone", 1)) is True
    assert backend.dead() == [
        {"id": a, "reason": "failed", "error": "ValueError: ä\n", "deliveries": "5"},
        {"id": b, "reason": "trimmed", "error": "it is gone", "deliveries": "1"},
    ]
    assert backend.pending() == {}


@pytest_twisted.ensureDeferred
async def test_only_the_owner_sets_aside(backend: Backend) -> None:
    """The consumer that claimed the entry may be handling it."""
    group, other = await opened(backend), await opened(backend, consumer="other")
    (a,) = add(backend, "a")
    await read(backend, group)
    await backend.wait(other.claim(0.0, "0-0", 10))
    assert await backend.wait(group.set_aside(a, "failed", "late", 1)) is False
    assert (backend.dead(), backend.pending()) == ([], {a: ("other", 1)})
    assert await backend.wait(other.set_aside(a, "failed", "", 1)) is True
    assert (len(backend.dead()), backend.pending()) == (1, {})


@pytest_twisted.ensureDeferred
async def test_an_entry_is_set_aside_whole_or_not_at_all(backend: Backend) -> None:
    """If the dead letter cannot be written, the entry stays pending."""
    group = await opened(backend)
    (a,) = add(backend, "a")
    await read(backend, group)
    with backend.out_of_memory(), pytest.raises(Refused):
        await backend.wait(group.set_aside(a, "failed", "", 1))
    assert (list(backend.pending()), backend.dead()) == ([a], [])


@pytest_twisted.ensureDeferred
async def test_consumers_that_left_nothing_are_removed(backend: Backend) -> None:
    """Those idle for long and without pending entries, except ourselves."""
    group, busy, empty = [await opened(backend, consumer=name) for name in ("consumer", "busy", "empty")]
    add(backend, "a", "b")
    await read(backend, busy, 1)
    await backend.wait(empty.acknowledge(await read(backend, empty)))
    assert not await read(backend, group)
    assert not await backend.wait(group.remove_stale(HOUR))
    assert await backend.wait(group.remove_stale(0.0)) == ["empty"]
    assert not await backend.wait(group.remove_stale(0.0))
    assert len(backend.pending()) == 1


@pytest_twisted.ensureDeferred
async def test_a_group_that_is_gone_begins_anew(backend: Backend) -> None:
    """The next call fails; then the group is created again, from the marker on."""
    group, _ = await opened(backend), await backend.log()
    add(backend, "a")
    backend.wipe()
    with pytest.raises((Refused, Unknown)):
        await read(backend, group)
    await backend.come_back()
    add(backend, "b")
    assert await backend.wait(group.open()) is True
    entries = await backend.wait(group.read(9, 0.0))
    assert [entry.fields for entry in entries] == [MARKER, event("b")]


@pytest_twisted.ensureDeferred
async def test_nothing_but_refused_or_unknown_comes_back(backend: Backend) -> None:
    """From any operation, when the group or the connection is gone."""
    group = await opened(backend)
    for trouble in (backend.wipe, backend.disconnect):
        trouble()
        for name, arguments in OPERATIONS.items():
            with suppress(Refused, Unknown):
                await backend.wait(getattr(group, name)(*arguments))
    assert await backend.wait(group.open()) is True


@pytest_twisted.ensureDeferred
async def test_a_read_can_be_interrupted(backend: Backend) -> None:
    """The read fails with Unknown; the group is usable again soon."""
    group = await opened(backend)
    reading = group.read(9, 20.0)
    group.interrupt()
    with pytest.raises(Unknown):
        await backend.wait(reading)
    assert await backend.wait(group.open()) is False
    assert await read(backend, group) == []


@attrs.define
class Deadlines:
    """A fake connection for reads, which records the deadlines of replies."""

    given: list[float] = attrs.field(factory=list)
    connects: int = 0

    def call(self, *arguments: object, timeout: float) -> Deferred[object]:
        self.given.append(timeout)
        return succeed(None)


@pytest_twisted.ensureDeferred
async def test_a_read_has_its_wait_and_then_as_long_as_any_reply() -> None:
    """A deadline without the wait would break the connection of an idle consumer again and again."""
    connection = Deadlines()
    group = RedisEventGroup(cast(Any, connection), "stream", "group", "consumer")
    for block in (0.0, 0.1, 5.0, 60.0):
        await group.read(1, block)
    assert connection.given == [REPLY_TIMEOUT, 0.1 + REPLY_TIMEOUT, 5.0 + REPLY_TIMEOUT, 60.0 + REPLY_TIMEOUT]


@pytest_twisted.ensureDeferred
async def test_a_renewal_tells_which_entries_are_others(backend: Backend) -> None:
    """By the digest of their fields, whatever bytes these have; one that was removed has its own."""
    group, other = await opened(backend), await opened(backend, consumer="other")
    texts = ["a", "b", "c", "d"]
    odd = {b"\xff": b"\x00\r\n", b"": b"1:x", b"EventStream": b"7" * 1_000}
    a, b, c, d = [*add(backend, *texts[:3]), backend.add(odd)]
    await read(backend, group)
    backend.remove(c)
    for id in (a, b, d):
        backend.leave_idle(id, 40.0)
    gone = digest_of(Entry(c, None))
    assert await backend.wait(
        group.renew({a: digest_of(Entry(a, event("a"))), b: digest_of(Entry(b, event("x"))), c: gone})
    ) == [b]
    assert await backend.wait(group.renew({d: digest_of(Entry(d, odd)), a: gone, c: "abc"})) == [a, c]
    assert [entry.id for entry in (await backend.wait(other.claim(30.0, "0-0", 2))).entries] == [b]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest_twisted.ensureDeferred
async def test_on_another_connection_nothing_is_done_until_the_group_is_opened(
    backend: Backend, operation: str
) -> None:
    """The ids in an operation may be those of other entries there."""
    group = await opened(backend)
    ids = add(backend, "a", "b")
    assert await read(backend, group, 1) == ids[:1]
    before = backend.pending()
    await backend.come_back()
    arguments = [ids[:1] if each == ["1-0"] else each for each in OPERATIONS[operation]]
    with pytest.raises(Unknown):
        await backend.wait(getattr(group, operation)(*arguments))
    assert (backend.pending(), len(backend.dead())) == (before, 0)
    assert await backend.wait(group.open()) is False
    await backend.wait(getattr(group, operation)(*arguments))
