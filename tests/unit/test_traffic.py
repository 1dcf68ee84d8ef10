"""
Tests for L{eventsvc.simulator.traffic}.
"""

from __future__ import annotations

import re
from itertools import islice, pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsvc.cloudevent import decode_structured
from eventsvc.event import Event
from eventsvc.event_message import decode_event, encode_event
from eventsvc.simulator.traffic import Events, arrivals, describe


@given(st.floats(0.001, 1e6), st.integers(0, 10**15))
def test_the_same_seed_gives_the_same_traffic(rate: float, seed: int) -> None:
    """A run can be repeated, and time only goes forward."""
    first, second = (list(islice(arrivals(rate, Random(seed)), 50)) for _ in range(2))
    assert first == second
    assert all(before <= after for before, after in pairwise([0.0, *first]))


def test_another_seed_gives_other_traffic() -> None:
    """Two simulators with different seeds are not in step."""
    assert next(arrivals(5.0, Random(1))) != next(arrivals(5.0, Random(2)))


@pytest.mark.parametrize("rate", [0.1, 5.0, 5_000.0])
def test_events_come_at_the_rate_and_in_bursts(rate: float) -> None:
    """The mean gap matches the rate, and gaps vary as in a Poisson process."""
    times = list(islice(arrivals(rate, Random(7)), 10_000))
    gaps = [(after - before) * rate for before, after in pairwise([0.0, *times])]
    assert sum(gaps) / len(gaps) == pytest.approx(1.0, abs=0.05)
    assert sum(gap > 1.0 for gap in gaps) / len(gaps) == pytest.approx(0.368, abs=0.02)


@given(st.integers(1, 10**15), st.integers(0, 10**15))
def test_an_event_says_its_number(number: int, seed: int) -> None:
    """Events are distinct, reproducible and valid EMs."""
    text = describe(number, Random(seed))
    assert text.endswith(f" ({number})")
    assert text == describe(number, Random(seed))
    assert decode_event(encode_event(Event(text))).description == text


@given(st.sampled_from(["PLAIN", "CLOUDEVENTS", "MIXED"]), st.integers(0, 10**15))
def test_events_of_each_form_are_valid_and_can_be_made_again(form: str, seed: int) -> None:
    made = [[Events(form, "run").make(number, Random(seed)) for number in range(1, 21)] for _ in range(2)]
    assert made[0] == made[1]
    kinds = [(event.cloudevent is not None, event.data is not None) for event in made[0]]
    assert kinds.count((True, False)) == {"PLAIN": 0, "CLOUDEVENTS": 20, "MIXED": 2}[form]
    assert kinds.count((False, True)) == {"PLAIN": 0, "CLOUDEVENTS": 0, "MIXED": 7}[form]
    for event in made[0]:
        decode = decode_structured if event.cloudevent is not None else decode_event
        assert decode(encode_event(event)) == event
        assert (event.type is None) == (event.key is None)


def test_plain_events_are_those_of_their_descriptions() -> None:
    assert Events().make(7, Random(1)) == Event(describe(7, Random(1)))


def test_no_two_cloudevents_are_taken_for_one() -> None:
    """Neither within a run nor in another, whose numbers are the same."""
    made = [Events("CLOUDEVENTS", run).make(number, Random(1)) for run in ("1", "2") for number in range(100)]
    assert len({event.identity for event in made}) == 200


@pytest.mark.parametrize("rate", [0.25, 3.0, 2_500.0])
def test_constant_arrivals_have_equal_gaps(rate: float) -> None:
    times = list(islice(arrivals(rate, Random(1), "CONSTANT"), 1_000))
    assert times == pytest.approx([number / rate for number in range(1, 1_001)])


@pytest.mark.parametrize(
    ("rate", "times"),
    [(3.0, [1.0] * 3 + [2.0] * 3), (0.5, [2.0, 4.0, 6.0]), (2.4, [2 / 2.4] * 2 + [4 / 2.4] * 2)],
)
def test_a_burst_has_all_of_a_second_at_once(rate: float, times: list[float]) -> None:
    """The mean rate is kept, also if it is no whole number."""
    assert list(islice(arrivals(rate, Random(1), "BURST"), len(times))) == pytest.approx(times)


@given(st.sampled_from(["PLAIN", "CLOUDEVENTS", "MIXED"]), st.integers(0, 300), st.integers(0, 300), st.integers())
def test_events_have_data_of_the_sizes_asked_for(form: str, least: int, more: int, seed: int) -> None:
    events = Events(form, "run", (least, least + more)).make_batch(1, 12, Random(seed))
    assert len(events) == 12
    for event in events:
        text = encode_event(event)
        decode = decode_structured if event.cloudevent is not None else decode_event
        assert decode(text) == event
        if least > 12:
            (filled,) = re.findall(rb'"([0-9a-f]{13,})"', text)
            assert least <= len(filled) <= least + more


def test_a_batch_of_mixed_events_has_one_form() -> None:
    """CloudEvents and others go in batches of their own, in the same share as single events."""
    batches = [Events("MIXED").make_batch(first, 10, Random(1)) for first in range(1, 1_001, 10)]
    kinds = [{event.cloudevent is not None for event in batch} for batch in batches]
    assert (kinds.count({True}), kinds.count({False})) == (10, 90)
