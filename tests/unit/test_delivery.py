"""
Tests for L{eventsvc.consumer.delivery}: every entry is handled, passed over or set
aside, and nothing else.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from eventsvc.consumer.delivery import Pace, PassOver, Retry, SetAside, after_failure, decide
from eventsvc.event import EVENT_FIELD, MARKER_FIELD, MARKER_VALUE, Entry, Notification, encode_notification

NOTIFICATION = Notification(7, "hello", "2025-02-25T22:06:25.478310425Z", "5-0")
DATA = encode_notification(NOTIFICATION)
MARKER = {MARKER_FIELD: MARKER_VALUE}
COUNTS = st.integers(1, 10**15)


@given(COUNTS, COUNTS)
def test_a_new_event_is_handled(deliveries: int, most: int) -> None:
    """What is read for the first time goes to the handler, with where it stands."""
    assert decide(Entry("5-0", {EVENT_FIELD: DATA}, deliveries), most) == replace(NOTIFICATION, deliveries=deliveries)


@pytest.mark.parametrize("others", [{b"more": b"x"}, MARKER])
def test_fields_of_others_do_not_matter(others: dict[bytes, bytes]) -> None:
    """An entry with an event is an event, whatever else it carries."""
    assert decide(Entry("5-0", {**others, EVENT_FIELD: DATA}), 5) == NOTIFICATION


@given(st.binary())
def test_the_marker_is_passed_over(value: bytes) -> None:
    """The marker is not an event, whatever its value."""
    assert decide(Entry("1-0", {MARKER_FIELD: value}), 5) == PassOver()
    assert decide(Entry("1-0", {MARKER_FIELD: value}, 2, again=True), 5) == PassOver()


@given(st.dictionaries(st.binary(), st.binary(), min_size=1, max_size=3))
def test_an_entry_without_an_event_is_set_aside(fields: dict[bytes, bytes]) -> None:
    """The error names the fields, so that an operator can find the writer."""
    action = decide(Entry("5-0", {name + b"?": value for name, value in fields.items()}), 5)
    assert isinstance(action, SetAside)
    assert action.reason == "malformed"
    assert action.error.startswith("no field 'EventStream' among ")


def test_the_fields_there_are_are_named() -> None:
    action = decide(Entry("5-0", {b"other": b"1", b"x\xff": b"2"}), 5)
    assert action == SetAside("malformed", r"no field 'EventStream' among 'other', 'x\xff'")


@given(st.binary())
def test_what_cannot_be_decoded_is_set_aside(data: bytes) -> None:
    """No handler could ever process it, so it is not retried."""
    action = decide(Entry("5-0", {EVENT_FIELD: b"!" + data}), 5)
    assert isinstance(action, SetAside)
    assert (action.reason, bool(action.error)) == ("malformed", True)


def test_a_trimmed_entry_is_set_aside() -> None:
    """An event that was lost while it was pending leaves a trace."""
    assert decide(Entry("5-0", None, 2, again=True), 5) == SetAside(
        "trimmed", "the entry was trimmed while it was pending"
    )


@pytest.mark.parametrize("fields", [{EVENT_FIELD: DATA}, None, {b"x": b"y"}])
@pytest.mark.parametrize("most", [1, 5])
def test_an_event_that_ends_the_process_is_given_up(fields: dict[bytes, bytes] | None, most: int) -> None:
    """
    It is tried the permitted number of times and once more: the read before the first
    attempt counts too.
    """
    last = Entry("5-0", {EVENT_FIELD: DATA}, most + 1, again=True)
    assert decide(last, most) == replace(NOTIFICATION, deliveries=most + 1)
    action = decide(Entry("5-0", fields, most + 2, again=True), most)
    assert action == SetAside("failed", f"given up after {most + 1} deliveries that did not end")


@given(COUNTS, COUNTS, st.floats(0, 1))
def test_a_failure_is_retried_until_it_is_the_last(deliveries: int, most: int, jitter: float) -> None:
    """After the last delivery it is set aside; before, it is retried within 10 seconds."""
    action = after_failure(deliveries, most, "ValueError: no", jitter)
    if deliveries >= most:
        assert action == SetAside("failed", "ValueError: no")
    else:
        assert isinstance(action, Retry)
        assert 0.05 <= action.after <= 10.0


@given(st.floats(0, 1))
def test_pauses_double(jitter: float) -> None:
    """Each pause is twice the one before, up to 10 seconds."""
    found = [after_failure(count, 100, "", jitter) for count in range(1, 20)]
    pauses = [action.after for action in found if isinstance(action, Retry)]
    assert pauses[0] == pytest.approx(0.1 * (0.5 + 0.5 * jitter))
    for before, after in pairwise(pauses):
        assert after == pytest.approx(min(before * 2, 10.0 * (0.5 + 0.5 * jitter)))


def test_a_pace_begins_small_and_doubles() -> None:
    """Quick handlers get large batches, but not at once, and never above the limit."""
    pace = Pace(15.0)
    sizes = []
    for _ in range(12):
        sizes.append(pace.size)
        pace.observe(pace.size, 0.0)
    assert sizes == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_000, 1_000]


def test_a_slow_handler_gets_no_more_than_it_can_do() -> None:
    """No entry is in flight so long that another consumer would claim it."""
    pace = Pace(15.0)
    for _ in range(10):
        pace.observe(pace.size, 0.001)
    pace.observe(1_000, 3_000.0)
    assert pace.size == 5
    for _ in range(10):
        pace.observe(1_000, 0.001)
    pace.observe(10, 0.5)
    assert pace.size == 300
    pace.observe(1, 60.0)
    assert pace.size == 1


@given(
    st.floats(0.001, 1e8),
    st.integers(1, 5_000),
    st.lists(st.tuples(st.integers(0, 10**6), st.floats(-1.0, 1e9))),
)
def test_a_pace_stays_in_its_bounds(span: float, least: int, rounds: list[tuple[int, float]]) -> None:
    """Whatever was measured, even no elapsed time, the next size is valid."""
    pace = Pace(span, least)
    for handled, seconds in rounds:
        before = pace.size
        pace.observe(handled, seconds)
        assert least <= pace.size <= max(least, min(1_000, 2 * before))
