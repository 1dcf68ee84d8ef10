"""
Tests for L{eventsvc.simulator.thresholds}.
"""

from __future__ import annotations

import pytest

from eventsvc.simulator.thresholds import Threshold, parse_thresholds, show_milliseconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("p99<50ms", ("p99", "<", 0.05)),
        (" p99.9 <= 1.5s ", ("p99.9", "<=", 1.5)),
        ("p50>500us", ("p50", ">", 0.0005)),
        ("mean<2ms", ("mean", "<", 0.002)),
        ("max>=1s", ("max", ">=", 1.0)),
        ("errors<0.1%", ("errors", "<", 0.001)),
        ("dropped<=0%", ("dropped", "<=", 0.0)),
        ("rate>=20000/s", ("rate", ">=", 20_000.0)),
    ],
)
def test_a_condition_is_a_figure_a_comparison_and_a_limit(text: str, expected: tuple[str, str, float]) -> None:
    """Limits are in seconds, as shares, or per second."""
    (found,) = parse_thresholds(text)
    assert (found.figure, found.comparison) == expected[:2]
    assert found.limit == pytest.approx(expected[2])
    assert found.text == text.strip()


def test_several_conditions_have_commas_between_them() -> None:
    assert [each.text for each in parse_thresholds("p99<5ms, errors<1%,max<1s")] == ["p99<5ms", "errors<1%", "max<1s"]
    assert parse_thresholds("") == ()


@pytest.mark.parametrize(
    "text",
    [
        *("p99", "p99<", "p99<50", "p99<50m", "p99<50 %", "p99=50ms", "p99<-5ms", "p99<1e3ms", "p99<nanms"),
        *("p0<1ms", "p100<1ms", "p<1ms", "p99.99999<1ms", "P99<1ms", "q99<1ms", "p99<1ms,", ",", " "),
        *("p99<\u0665ms", "p99<1ms;max<1s", "p99<1ms max<1s", "50ms>p99"),
        *("errors<1", "errors<1ms", "rate>5", "rate>5%", "lost<1", "p99<" + "9" * 400 + "ms"),
    ],
)
def test_what_is_no_condition_is_refused(text: str) -> None:
    """Above all a number without its unit, which could mean anything."""
    with pytest.raises((ValueError, KeyError)):
        parse_thresholds(text)


@pytest.mark.parametrize(
    ("comparison", "below", "equal", "above"),
    [("<", True, False, False), ("<=", True, True, False), (">", False, False, True), (">=", False, True, True)],
)
def test_a_condition_holds_as_it_says(comparison: str, below: bool, equal: bool, above: bool) -> None:
    threshold = Threshold("max", comparison, 1.0, "")
    assert [threshold.holds(value) for value in (0.9, 1.0, 1.1)] == [below, equal, above]


@pytest.mark.parametrize("comparison", ["<", "<=", ">", ">="])
def test_no_data_meets_no_condition(comparison: str) -> None:
    """A run that measured nothing has proved nothing."""
    threshold = Threshold("errors", comparison, 1.0, "")
    assert not threshold.holds(None)
    assert threshold.show(None) == "no data"


@pytest.mark.parametrize(
    ("figure", "value", "text"),
    [
        ("p99", 0.0068, "6.80 ms"),
        ("max", 0.0214, "21.4 ms"),
        ("mean", 1.5, "1,500 ms"),
        ("errors", 0.0012, "0.12%"),
        ("rate", 20_123.44, "20,123.4/s"),
    ],
)
def test_a_value_has_the_unit_of_its_figure(figure: str, value: float, text: str) -> None:
    assert Threshold(figure, "<", 1.0, "").show(value) == text


def test_a_percentile_is_told_from_other_figures() -> None:
    assert parse_thresholds("p99.9<1s")[0].percentile == 99.9
    assert parse_thresholds("max<1s")[0].percentile is None
    assert show_milliseconds(None) == "-"
