"""
Conditions that a run must meet, such as C{p99<50ms} or C{errors<0.1%}.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Final

import attrs

_COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_SECONDS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_SHARE: Final = {"%": 0.01}
_RATE: Final = {"/s": 1.0}
#: The figures and their units, each with its value in the unit of the figure.
_FIGURES: Final[Mapping[str, Mapping[str, float]]] = {
    "max": _SECONDS,
    "mean": _SECONDS,
    "errors": _SHARE,
    "refused": _SHARE,
    "unknown": _SHARE,
    "dropped": _SHARE,
    "rate": _RATE,
}
_FORM: Final = re.compile(
    r"\s*([a-z]+|p[0-9]{1,2}(?:\.[0-9]{1,4})?)\s*(<=|>=|<|>)\s*([0-9]{1,12}(?:\.[0-9]{1,9})?)\s*(\S*)\s*"
)


@attrs.frozen
class Threshold:
    """
    A condition on a figure of a run.

    @ivar figure: C{p99} or another percentile of the latency, C{max}, C{mean}, or
        C{errors}, C{refused}, C{unknown}, C{dropped} (shares of the events), or
        C{rate} (events stored per second).
    @ivar limit: in seconds, as a share, or per second.
    @ivar text: the condition as it was given.
    """

    figure: str
    comparison: str
    limit: float
    text: str

    @property
    def percentile(self) -> float | None:
        """The percentile of the latency, from 0 to 100; C{None} for another figure."""
        return float(self.figure[1:]) if self.figure[1:2].isdigit() else None

    def holds(self, value: float | None) -> bool:
        """Return whether a value meets the condition; no value never does."""
        return value is not None and _COMPARISONS[self.comparison](value, self.limit)

    def show(self, value: float | None) -> str:
        """Return a value of the figure in the unit that is usual for it."""
        if value is None:
            return "no data"
        units = _units_of(self.figure)
        if units is _SECONDS:
            return show_milliseconds(value)
        return f"{value:,.1f}/s" if units is _RATE else f"{value * 100:.3g}%"


def parse_thresholds(text: str) -> tuple[Threshold, ...]:
    """
    Parse conditions with commas between them; an empty text has none.

    @raise ValueError: one is no condition, or its unit is not one of its figure.
    """
    return tuple([_parse(part) for part in text.split(",")]) if text else ()


def _parse(text: str) -> Threshold:
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError
    figure, comparison, number, unit = found.groups()
    return Threshold(figure, comparison, float(number) * _units_of(figure)[unit], text.strip())


def _units_of(figure: str) -> Mapping[str, float]:
    """
    Return the units of a figure.

    @raise KeyError: there is no such figure.
    """
    return _SECONDS if figure[1:2].isdigit() and float(figure[1:]) > 0 else _FIGURES[figure]


def show_milliseconds(seconds: float | None) -> str:
    """Return a duration with three digits, in milliseconds."""
    if seconds is None:
        return "-"
    milliseconds = seconds * 1e3
    digits = 2 if milliseconds < 10 else 1 if milliseconds < 100 else 0
    return f"{milliseconds:,.{digits}f} ms"
