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
    What one subject did in one round.

    @ivar rate: events a second.
    @ivar cpu: microseconds of processor time of the service per event.
    @ivar memory: resident megabytes of the service afterwards.
    @ivar p50: seconds from request to answer, as C{p99}.
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
    """The median of the ratios of each round."""
    return median(figure(a) / figure(b) for a, b in zip(ours, theirs, strict=True))


def show(rounds: Rounds, figure: Figure, unit: float = 1.0, digits: int = 0) -> str:
    """A median and, behind it, the least and the most."""
    values = [figure(sample) / unit for sample in rounds]
    return f"{median(values):,.{digits}f} ({min(values):,.{digits}f}-{max(values):,.{digits}f})"


@attrs.frozen
class Bar:
    """
    What a ratio is wanted to be.

    @ivar at_most: the limit is an upper one.
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
    """One benchmark, as it is shown."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    bars: Sequence[Bar] = ()
    note: str = ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, with its columns aligned."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in lines)
