"""
Tests for L{eventsvc.consumer.recent}: which entries are the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest

from eventsvc.consumer import recent
from eventsvc.consumer.recent import RecentEntries, Shell, digest_of
from eventsvc.event import EVENT_FIELD, Entry, place_of


def entry(number: int, value: bytes = b"x", name: bytes = b"EventStream") -> Entry:
    return Entry(f"{number}-0", {name: value})


def add(memory: RecentEntries, *entries: Entry) -> None:
    """Remember entries, as the account of open entries does."""
    memory.add(
        [each.id for each in entries], [each.fields.get(EVENT_FIELD) if each.fields else None for each in entries]
    )


def made(*entries: Entry) -> RecentEntries:
    """Return a memory of these entries, after a reconnection."""
    memory = RecentEntries()
    add(memory, *entries)
    memory.expect()
    return memory


@pytest.mark.parametrize(
    "other",
    [
        Entry("1-1", {b"EventStream": b"x"}),
        Entry("1-0", {b"EventStream": b"y"}),
        Entry("1-0", {b"CreateStream": b"x"}),
        Entry("1-0", {}),
        Entry("1-0", None),
    ],
)
def test_an_entry_is_known_by_its_id_and_its_fields(other: Entry) -> None:
    memory = made(entry(1))
    assert memory.recognises(Entry("1-0", {b"EventStream": b"x"}, 3, again=True))
    assert not memory.recognises(other)


def test_none_is_known_before_a_reconnection_and_after_newer_ones() -> None:
    memory = RecentEntries()
    add(memory, entry(1), entry(10))
    assert not memory.recognises(entry(1))
    memory.expect()
    for page in ([entry(9)], [entry(10)]):
        memory.note_new(page)
        assert memory.is_expecting
        assert memory.recognises(entry(1))
    memory.note_new([entry(11)])
    assert not memory.is_expecting
    assert not memory.recognises(entry(1))
    memory.expect()
    assert memory.recognises(entry(1))


def test_none_is_known_after_the_end_of_the_stream() -> None:
    memory = made(entry(1))
    memory.note_new([])
    assert not memory.is_expecting


def test_what_is_done_after_a_reconnection_is_known_too() -> None:
    memory = made(entry(1))
    add(memory, entry(2))
    assert memory.recognises(entry(2))


def test_places_are_numbers() -> None:
    """Not texts: 9 comes before 10."""
    assert place_of("9-10") < place_of("10-9") < place_of("10-10")


def test_what_is_gone_from_the_stream_is_not_remembered() -> None:
    gone = Entry("1-0", None)
    assert not made(gone).recognises(gone)


def test_what_has_no_event_is_never_known() -> None:
    """A marker is passed over each time, and what is malformed is set aside."""
    marker = Entry("1-0", {b"CreateStream": b"stream created"})
    assert not made(marker).recognises(marker)


def test_what_is_in_flight_at_a_reconnection_is_known_once_it_is_done() -> None:
    memory = RecentEntries()
    add(memory, entry(1))
    memory.expect(["5-0", "3-0"])
    memory.note_new([entry(4)])
    add(memory, entry(5))
    assert memory.recognises(entry(5))
    memory.note_new([entry(6)])
    assert not memory.is_expecting


def test_nothing_is_known_to_an_empty_memory() -> None:
    memory = made(entry(1))
    memory.clear()
    memory.expect()
    assert not memory.recognises(entry(1))


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest are forgotten, some at a time."""
    monkeypatch.setattr(recent, "MOST", 3_000)
    memory = RecentEntries()
    for number in range(1, 5_001):
        add(memory, entry(number))
    memory.expect()
    assert [number for number in range(1, 5_001) if memory.recognises(entry(number))] == [*range(2_001, 5_001)]


def netstrings(parts: Sequence[bytes]) -> bytes:
    return b"".join(str(len(part)).encode() + b":" + part for part in parts)


def test_a_digest_is_of_all_fields_in_their_order() -> None:
    fields = {b"a": b"\xff\0", b"": b"1:x"}
    assert digest_of(Entry("1-0", fields)) == hashlib.sha1(netstrings([b"a", b"\xff\0", b"", b"1:x"])).hexdigest()
    others = [{b"a": b"bc"}, {b"ab": b"c"}, {b"a": b"b", b"c": b""}, {b"c": b"", b"a": b"b"}, {}]
    assert len({digest_of(Entry("1-0", each)) for each in others}) == len(others)


def test_the_digest_of_what_is_gone_is_that_of_no_entry() -> None:
    assert digest_of(Entry("1-0", None)) == "-"


def test_an_entry_without_its_event_has_the_digest_of_the_event() -> None:
    assert digest_of(Shell("1-0", None, digest="abc")) == "abc"
