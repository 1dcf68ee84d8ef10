"""
Tests for the pure parts of L{eventsvc.dashboard}, as tables.
"""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsvc.dashboard import words
from eventsvc.dashboard.alarms import find_alarms
from eventsvc.dashboard.percentiles import merge, percentile, subtract
from eventsvc.dashboard.point import Point, decode_point, encode_point
from eventsvc.dashboard.rates import Rates, find_rates, per_second
from eventsvc.dashboard.story import Delivery, StoredEntry, is_after, make_row, tell_story
from eventsvc.event import EVENT_FIELD, MARKER_FIELD
from eventsvc.heartbeat import SeenHeartbeat, Spread
from eventsvc.stream_state import GroupState, ServerState
from tests.support.dashboard_world import make_heartbeat, make_letter, make_state, make_text

BOUNDS = (0.001, 0.01, 0.1, 1.0)


@pytest.mark.parametrize(
    ("counts", "share", "value"),
    [
        ((0, 0, 0, 0, 0), 0.5, None),
        ((1, 0, 0, 0, 0), 0.5, None),  # fewer than 1 / (1 - share)
        ((2, 0, 0, 0, 0), 0.5, 0.0005),
        ((0, 99, 0, 0, 0), 0.99, None),
        ((0, 99, 0, 1, 0), 0.99, 0.01),
        ((0, 98, 0, 2, 0), 0.99, 0.55),
        ((0, 0, 0, 0, 10), 0.5, 1.0),  # above the last bound
        ((0, 0, 4, 0, 0), 0.5, 0.055),
    ],
)
def test_a_percentile_is_as_good_as_the_bounds(counts: tuple[int, ...], share: float, value: float | None) -> None:
    found = percentile(Spread(BOUNDS, counts), share)
    assert found == (None if value is None else pytest.approx(value))
    assert percentile(None, share) is None


@given(st.lists(st.integers(0, 1_000), min_size=5, max_size=5), st.floats(0, 0.999))
def test_a_percentile_is_within_the_bounds(counts: list[int], share: float) -> None:
    found = percentile(Spread(BOUNDS, counts), share)
    assert found is None or 0.0 <= found <= 1.0


def test_spreads_are_merged_and_subtracted() -> None:
    """Those with other bounds, of another version, are left out."""
    one, two, other = Spread(BOUNDS, (1, 2, 3, 4, 5)), Spread(BOUNDS, (1, 1, 1, 1, 1)), Spread((1.0,), (7, 7))
    assert merge([one, two, other]) == Spread(BOUNDS, [2, 3, 4, 5, 6])
    assert merge([]) is None
    assert subtract(one, two).counts == [0, 1, 2, 3, 4]
    assert subtract(two, one).counts == [0, 0, 0, 0, 0]
    assert subtract(one, other) == subtract(one, None) == one


def test_rates_are_those_of_all_processes_that_are_not_silent() -> None:
    def at(id: str, uptime: float, handled: float) -> Any:
        return make_heartbeat(id, uptime=uptime, figures={"handled": handled})

    earlier = {"a": at("a", 10.0, 100.0), "b": at("b", 5.0, 50.0), "still": at("still", 9.0, 9.0)}
    now = [
        SeenHeartbeat(at("a", 12.0, 120.0), 0.0),  # 10 a second
        SeenHeartbeat(at("b", 15.0, 0.0), 0.0),  # nobody counts down
        SeenHeartbeat(at("new", 2.0, 6.0), 0.0),  # 3 a second since its start
        SeenHeartbeat(at("still", 9.0, 9.0), 0.0),  # has left no other heartbeat yet
        SeenHeartbeat(at("dead", 100.0, 1e9), 30.0),
        SeenHeartbeat(at("seen for the first time", 1e5, 1e9), 0.0),  # its average is not what it does now
    ]
    assert find_rates(now, earlier) == Rates(handled=13.0)
    assert find_rates([], {}) == Rates()
    assert per_second("accepted", None, at("a", 1.0, 1.0)) is None
    assert per_second("handled", None, at("a", 0.0, 1.0)) is None
    assert per_second("handled", None, at("a", 10.1, 1.0)) is None


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        *((None, "-"), (0, "0 s"), (0.0004, "0.4 ms"), (0.0123, "12 ms"), (0.999, "999 ms"), (1.25, "1.2 s")),
        *((41.2, "41 s"), (119, "119 s"), (121, "2 min"), (7_300, "2 h"), (200_000, "2 d"), (1e12, "11,574,074 d")),
    ],
)
def test_durations_have_a_sensible_unit(seconds: float | None, said: str) -> None:
    assert words.duration(seconds) == said


@pytest.mark.parametrize(
    ("value", "said"), [(None, "-"), (0, "0"), (0.25, "0.25"), (17.84, "17.8"), (20.0, "20"), (1204.4, "1,204")]
)
def test_rates_have_the_digits_that_matter(value: float | None, said: str) -> None:
    assert words.rate(value) == said


def test_sizes_and_times() -> None:
    assert [words.size(value) for value in (None, 0, 1023, 1536, 3 << 20, 5 << 30)] == [
        *("-", "0 B", "1023 B", "1.5 KiB", "3.0 MiB", "5.0 GiB")
    ]
    assert words.clock(1795819782.478) == "2026-11-27 22:49:42.478"
    assert words.clock(None) == "-"
    assert words.clock(1e30) == "1e+30"


@pytest.mark.parametrize(
    "point", [Point(number=1), Point(number=2, accepted=1 / 3, pending=2.0, dead=0.0, age_p99=1e-9)]
)
def test_a_point_is_read_as_it_was_written(point: Point) -> None:
    """But for digits that no chart shows."""
    read = decode_point(b"%d " % point.number + encode_point(point))
    assert read is not None
    assert read.number == point.number
    assert read.accepted == (None if point.accepted is None else pytest.approx(point.accepted, rel=1e-3))
    assert (read.pending, read.dead, read.age_p99) == (point.pending, point.dead, point.age_p99)


@pytest.mark.parametrize("record", [b"", b"1", b"1 {}", b'1 {"number":"1"}', b'1 {"number":1,"i":"x"}', b"\xff \xff"])
def test_another_record_is_no_point(record: bytes) -> None:
    assert decode_point(record) is None


# Alarms


def behind(unread: float = 0.0, pending: float = 0.0, consumers: int = 1, name: str = "group") -> GroupState:
    usual = make_state().groups[0]
    measures = attrs.evolve(usual.measures, unread_age=unread, pending_age=pending)
    return attrs.evolve(usual, name=name, measures=measures, consumer_count=consumers)


def seen(age: float = 0.0, **more: Any) -> SeenHeartbeat:
    return SeenHeartbeat(make_heartbeat(**more), age)


@pytest.mark.parametrize(
    ("state", "processes", "rates", "names"),
    [
        (make_state(), [seen()], Rates(refused=0.0, unknown=0.0), []),
        (make_state(), [], Rates(), []),
        (None, [], Rates(), []),
        (make_state(), [seen(10.0, problem="old")], Rates(), ["AProcessIsSilent"]),
        (make_state(), [seen(problem="no right")], Rates(), ["AConsumerIsNotReady"]),
        (make_state(), [seen(problem="away", role="producer")], Rates(), ["EventsAreRefused"]),
        (make_state(), [seen(problem="x", figures={"pausing": 1.0})], Rates(), ["AHandlerIsFailing"]),
        (make_state(), [seen(role="producer", figures={"lost": 2.0})], Rates(), ["EventsMayBeLost"]),
        (make_state(), [], Rates(refused=0.1), ["EventsAreRefused"]),
        (make_state(), [], Rates(unknown=0.1), ["EventsAreUnconfirmed"]),
        (make_state(behind(unread=59.9, pending=599.0)), [], Rates(), []),
        (make_state(behind(unread=60.0)), [], Rates(), ["ConsumersAreBehind"]),
        (make_state(behind(unread=60.0, consumers=0)), [], Rates(), ["NoConsumer"]),
        (make_state(behind(unread=60.0, consumers=0)), [seen(group="group")], Rates(), ["ConsumersAreBehind"]),
        (make_state(behind(unread=60.0, consumers=0)), [seen(20.0, group="group")], Rates(), None),
        (make_state(behind(pending=600.0)), [], Rates(), ["AnEventIsStuck"]),
        (make_state(dead=1), [], Rates(), ["DeadLetters"]),
        (make_state(dead=10_001), [], Rates(), ["ManyDeadLetters"]),
        (make_state(dead=None, length=None), [], Rates(), []),
        (make_state(server=ServerState(memory=90, max_memory=100)), [], Rates(), ["RedisIsNearlyFull"]),
        (make_state(server=ServerState(memory=100, max_memory=100)), [], Rates(), ["RedisIsFull"]),
        (make_state(server=ServerState(memory=100, max_memory=0)), [], Rates(), []),
        (make_state(server=ServerState(memory=None, max_memory=None)), [], Rates(), []),
    ],
)
def test_alarms(state: Any, processes: Any, rates: Rates, names: list[str] | None) -> None:
    found = [alarm.name for alarm in find_alarms(state, processes, rates)]
    assert found == (["NoConsumer", "AProcessIsSilent"] if names is None else names)


def test_while_redis_is_away_that_is_the_only_alarm() -> None:
    found = find_alarms(make_state(dead=1), [seen(60.0)], Rates(refused=1.0), "Redis cannot be reached")
    assert [(alarm.name, alarm.severity, alarm.detail) for alarm in found] == [
        ("RedisIsAway", "critical", "Redis cannot be reached")
    ]


# Events


def entry(text: bytes, id: str = "5-0") -> StoredEntry:
    return StoredEntry(id, ((EVENT_FIELD, text),))


def test_rows_are_bounded_and_a_large_id_keeps_its_digits() -> None:
    text = make_text(2**63 - 1, "d" * 10_000, type=f'"{"t" * 255}"', data=f'"{"x" * 10_000}"')
    row = make_row(entry(text, "1795819782478-3"))
    assert (row.event_id, row.at, row.size) == ("9223372036854775807", 1795819782.478, len(text) + len(EVENT_FIELD))
    assert max(len(cell) for cell in (row.type, row.summary, row.payload)) < 250


@pytest.mark.parametrize(
    ("stored", "summary"),
    [
        (entry(b""), "(not an event)"),
        (entry(b"\xff{"), "(not an event)"),
        (StoredEntry("1-0", ()), "(not an event)"),
        (StoredEntry("1-0", ((b"\xff", b"\xff"),)), "(not an event)"),
        (StoredEntry("1-0", ((MARKER_FIELD, b"stream created"),)), "(the stream was created)"),
        (entry(make_text(1, "\\ud83d")), "(not an event)"),
    ],
)
def test_what_is_no_event_is_a_row_too(stored: StoredEntry, summary: str) -> None:
    assert make_row(stored).summary == summary


GROUP = attrs.evolve(make_state().groups[0], last="5-0")


@pytest.mark.parametrize(
    ("id", "delivery", "letter", "names"),
    [
        ("5-0", None, None, ["accepted", "stored", "acknowledged"]),
        ("5-1", None, None, ["accepted", "stored", "not delivered yet"]),
        ("10-0", None, None, ["accepted", "stored", "not delivered yet"]),
        ("5-0", Delivery("c", 41.0, 4), None, ["accepted", "stored", "delivered", "not acknowledged"]),
        ("5-0", None, make_letter("6-0", original="5-0"), ["accepted", "stored", "dead"]),
        ("5-0", None, make_letter("6-0", group="x"), ["accepted", "stored", "acknowledged", "dead"]),
    ],
)
def test_the_way_of_an_event(id: str, delivery: Any, letter: Any, names: list[str]) -> None:
    steps = tell_story(entry(make_text(1, "a"), id), [(GROUP, delivery)], letter, now=20.0)
    assert [step.name for step in steps] == names


def test_an_entry_that_is_no_event_has_a_way_too() -> None:
    steps = tell_story(
        entry(b"no", "1-0"), [(GROUP, None), (attrs.evolve(GROUP, name="b", last="0-0"), None)], None, 0.0
    )
    assert [step.name for step in steps] == ["stored", "acknowledged", "not delivered yet"]


@pytest.mark.parametrize(
    ("id", "other", "after"),
    [("2-0", "1-9", True), ("10-0", "9-0", True), ("1-10", "1-9", True), ("1-1", "1-1", False), ("1-0", "1-1", False)],
)
def test_ids_are_compared_as_numbers(id: str, other: str, after: bool) -> None:
    assert is_after(id, other) is after
