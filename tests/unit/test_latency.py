"""
Tests for L{eventsvc.simulator.latency} and L{eventsvc.simulator.recorder}.
"""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eventsvc.outcome import Outcome
from eventsvc.simulator.attempt import Attempt
from eventsvc.simulator.latency import Latencies
from eventsvc.simulator.recorder import MOST_INTERVALS, Recorder

SECONDS = st.lists(st.floats(1e-6, 3_600), min_size=1, max_size=300)


def latencies_of(*seconds: float) -> Latencies:
    latencies = Latencies()
    for each in seconds:
        latencies.record(each)
    return latencies


@given(SECONDS, st.sampled_from([50.0, 90.0, 99.0, 99.9]))
@example([number / 1e3 for number in range(1, 161)], 99.0)
@example([number / 1e3 for number in range(1, 131)], 99.0)
@example([0.001, 0.002, 0.003], 50.0)
def test_a_percentile_is_that_of_the_sorted_values(seconds: list[float], percent: float) -> None:
    """To three digits; and C{None} where there are fewer than 1 / (1 - q) values."""
    found = latencies_of(*seconds).percentile(percent)
    if len(seconds) < 100 / (100 - percent) - 1e-6:
        assert found is None
    else:
        assert found is not None
        rank = len(seconds) * percent / 100  # between two values, either will do
        least, most = (sorted(seconds)[max(0, each - 1)] for each in (math.floor(rank + 1e-9), math.ceil(rank - 1e-9)))
        assert least * 0.998 - 1.1e-6 <= found <= most * 1.002 + 1.1e-6


@pytest.mark.parametrize(("percent", "enough"), [(50.0, 2), (90.0, 10), (95.0, 20), (99.0, 100), (99.9, 1_000)])
def test_too_few_values_have_no_percentile(percent: float, enough: int) -> None:
    assert latencies_of(*[1.0] * (enough - 1)).percentile(percent) is None
    assert latencies_of(*[1.0] * enough).percentile(percent) == pytest.approx(1.0, rel=1e-3)


@given(SECONDS, SECONDS)
def test_what_is_merged_is_as_if_recorded_together(first: list[float], second: list[float]) -> None:
    """Percentiles are never averaged."""
    merged = latencies_of(*first)
    merged.merge(latencies_of(*second))
    assert merged.encode() == latencies_of(*first, *second).encode()


@given(SECONDS)
def test_what_is_encoded_comes_back(seconds: list[float]) -> None:
    latencies = latencies_of(*seconds)
    again = Latencies.decode(latencies.encode())
    assert again.encode() == latencies.encode()
    assert (again.count, again.percentile(50)) == (len(seconds), latencies.percentile(50))
    assert again.most == latencies.most == pytest.approx(max(seconds), rel=2e-3, abs=1e-6)


@pytest.mark.parametrize(
    "text", ["x", "HISTFAAA", "HISTFAAAAAA=", "é", "A" * 1_000, "HISTFAAAABl4nJNpmSzMwMDAxAABzFCaEUoz2X+AsQAyRgHH"]
)
def test_a_text_that_is_no_histogram_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="not an HDR histogram"):
        Latencies.decode(text)


def test_nothing_recorded_has_no_figures() -> None:
    assert (Latencies().count, Latencies().mean, Latencies().most) == (0, None, None)
    assert Latencies.decode("").count == 0


@pytest.mark.parametrize(("seconds", "kept"), [(0.0, 1e-6), (-1.0, 1e-6), (1e9, 3_600.0)])
def test_extreme_values_are_kept_at_the_edge(seconds: float, kept: float) -> None:
    """A clock that goes back, or a request that takes days, is no error."""
    assert latencies_of(seconds).most == pytest.approx(kept, rel=1e-3)


def attempt(ended: float, late: float = 0.01, outcome: Outcome | None = Outcome.OK, events: int = 1) -> Attempt:
    return Attempt(ended - late, ended - late / 2, ended, outcome, events)


def test_attempts_are_recorded_over_time_and_as_a_whole() -> None:
    """Latency is from the intended time, service from the request; refused and dropped ones have neither."""
    recorder = Recorder(100.0)
    recorder.record(attempt(100.5, 0.2, events=10))
    recorder.record(attempt(102.5, 0.4))
    recorder.record(attempt(102.6, 0.001, Outcome.REFUSED))
    recorder.record(attempt(102.7, 5.0, Outcome.UNKNOWN, 3))
    recorder.record(attempt(102.8, 0.0, None, 7))
    shown = [(each.ok, each.refused, each.unknown, each.dropped) for each in recorder.intervals()]
    assert shown == [(10, 0, 0, 0), (0, 0, 0, 0), (1, 1, 3, 7)]
    assert [Latencies.decode(each.latency).count for each in recorder.intervals()] == [1, 0, 2]
    assert (recorder.requests, recorder.latency.count) == (4, 3)
    assert recorder.latency.most == pytest.approx(5.0, rel=1e-3)
    assert recorder.service.most == pytest.approx(2.5, rel=1e-3)


@pytest.mark.parametrize("seconds", [599, 601, 5_000, 1_000_000])
def test_however_long_a_run_is_its_intervals_are_few(seconds: int) -> None:
    """Pairs become one: nothing is lost but detail."""
    recorder = Recorder(0.0)
    random = Random(seconds)
    moments = sorted(random.uniform(0, seconds) for _ in range(500))
    for moment in moments:
        recorder.record(attempt(moment))
    intervals = recorder.intervals()
    assert len(intervals) <= MOST_INTERVALS
    assert len(intervals) * recorder.step >= moments[-1]
    assert sum(each.ok for each in intervals) == 500
    assert sum(Latencies.decode(each.latency).count for each in intervals) == 500
    for number, each in enumerate(intervals):
        begin, end = number * recorder.step, (number + 1) * recorder.step
        assert each.ok == sum(begin <= moment < end for moment in moments)


def test_the_latest_latencies_are_those_of_the_last_intervals() -> None:
    recorder = Recorder(0.0)
    for second in range(10):
        recorder.record(attempt(second + 0.5, late=second + 1.0))
    assert recorder.latest().count == 2
    assert recorder.latest().most == pytest.approx(10.0, rel=1e-3)
