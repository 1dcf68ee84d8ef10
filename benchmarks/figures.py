"""
Figures of several rounds: medians, spread, and ratios taken round by round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

import attrs


@attrs.frozen
class Sample:
    """
    The result of one service in one round.

    @ivar rate: events per second.
    @ivar cpu: CPU time of the service per event, in microseconds.
    @ivar memory: resident memory of the service afterwards, in megabytes.
    @ivar p50: median time from request to answer, in seconds.
    @ivar p99: 99th percentile of that time, in seconds.
    """

    rate: float
    cpu: float
    memory: float
    p50: float = 0.0
    p99: float = 0.0


Rounds = Sequence[Sample]
Figure = Callable[[Sample], float]


def cpu(sample: Sample) -> float:
    return sample.cpu


def rate(sample: Sample) -> float:
    return sample.rate


def p99(sample: Sample) -> float:
    return sample.p99


def ratio(ours: Rounds, theirs: Rounds, figure: Figure) -> float:
    """Return the median of the ratios of all rounds."""
    return median(figure(a) / figure(b) for a, b in zip(ours, theirs, strict=True))


def show(rounds: Rounds, figure: Figure, unit: float = 1.0, digits: int = 0) -> str:
    """Return the median and, in parentheses, the minimum and maximum."""
    values = [figure(sample) / unit for sample in rounds]
    return f"{median(values):,.{digits}f} ({min(values):,.{digits}f}-{max(values):,.{digits}f})"


@attrs.frozen
class Bar:
    """
    The target of a ratio.

    @ivar at_most: whether the limit is an upper one.
    """

    words: str
    value: float
    limit: float
    at_most: bool = True

    @property
    def met(self) -> bool:
        return self.value <= self.limit if self.at_most else self.value >= self.limit

    def row(self) -> Sequence[str]:
        sign = "at most" if self.at_most else "at least"
        return [self.words, f"{self.value:.2f}", f"{sign} {self.limit:.2f}", "yes" if self.met else "**no**"]


@attrs.frozen
class Section:
    """The results of one benchmark, for display."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    bars: Sequence[Bar] = ()
    note: str = ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with aligned columns."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in lines)
