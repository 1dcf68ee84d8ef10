"""
Charts of a run as SVG: latency by outcome, rates in and out, backlog.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

import attrs

from chaos.evidence import Evidence
from eventsvc.outcome import Outcome
from eventsvc.testing.history import Op

WIDTH: Final = 900
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 8, 16, 18
#: Space between two charts.
_GAP: Final = 10
#: Seconds of one step of a line.
_STEP: Final = 0.25

Points = Sequence[tuple[float, float]]


@attrs.frozen
class Frame:
    """The times that all charts of a run share, in seconds."""

    span: tuple[float, float]
    fault: tuple[float, float]
    began: float
    changes: Sequence[float]


@attrs.frozen
class Axes:
    """
    Maps times and values to positions in a chart.

    @ivar span: the first and the last time, in seconds.
    @ivar most: the largest value; the least is 0, or C{least} on a
        logarithmic scale.
    @ivar least: C{None} for a linear scale.
    """

    span: tuple[float, float]
    most: float
    height: int
    least: float | None = None

    def x(self, moment: float) -> float:
        begin, end = self.span
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (moment - begin) / max(end - begin, 1e-9)

    def y(self, value: float) -> float:
        if self.least is None:
            share = value / self.most
        else:
            value = min(max(value, self.least), self.most)
            share = math.log(value / self.least) / math.log(self.most / self.least)
        return self.height - _BOTTOM - (self.height - _TOP - _BOTTOM) * share


def draw_charts(evidence: Evidence, began: float = 0.0, changes: Sequence[float] = ()) -> Sequence[str]:
    """
    Draw all charts of a run as SVG, with the same time axis.

    @param began: the time at which the axis has 0.
    @param changes: times at which a fault began or ended.
    """
    ops = evidence.history.ops
    handled = sorted(line.at for line in evidence.lines if line.id is not None)
    begun = sorted(op.invoked for op in ops)
    ended = sorted(op.ended for op in ops if op.ended is not None)
    stored = sorted(op.ended for op in ops if op.outcome is Outcome.OK and op.ended is not None)
    moments = [*begun, *ended, *handled, *evidence.fault]
    span = min(moments), max(moments)
    frame = Frame(span, evidence.fault, began, [at for at in changes if span[0] <= at <= span[1]])
    times = _steps(frame.span)
    rates = [("stored", "ok", _rate(stored, times)), ("handled", "out", _rate(handled, times))]
    waiting = [
        ("not answered", "unknown", _difference(begun, ended, times)),
        ("stored, not handled", "out", _difference(stored, _first_handled(evidence), times)),
    ]
    return [_dots(ops, frame), _lines("events per second", rates, frame), _lines("events waiting", waiting, frame)]


def stack(charts: Sequence[str], style: str) -> str:
    """Stack charts vertically in one self-contained SVG."""
    placed, height = [], 0
    for chart in charts:
        tall = int(chart.partition(f'viewBox="0 0 {WIDTH} ')[2].partition('"')[0])
        placed.append(chart.replace("<svg ", f'<svg y="{height}" height="{tall}" ', 1))
        height += tall + _GAP
    return "".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"><style>{style}</style>',
            '<rect width="100%" height="100%" fill="var(--paper)"/>',
            *placed,
            "</svg>\n",
        ]
    )


def _first_handled(evidence: Evidence) -> list[float]:
    """Return the times at which events that were answered 200 were first handled, in ascending order."""
    confirmed = {op.id for op in evidence.history.ops if op.outcome is Outcome.OK}
    first: dict[int, float] = {}
    for line in evidence.lines:
        if line.id in confirmed and line.id is not None:
            first.setdefault(line.id, line.at)
    return sorted(first.values())


def _difference(come: Sequence[float], gone: Sequence[float], times: Sequence[float]) -> Points:
    """Return at each time how many had come and not gone."""
    return [(at, max(0.0, float(bisect_right(come, at) - bisect_right(gone, at)))) for at in times]


def _steps(span: tuple[float, float]) -> list[float]:
    begin, end = span
    return [begin + _STEP * number for number in range(int((end - begin) / _STEP) + 2)]


def _rate(moments: Sequence[float], times: Sequence[float]) -> Points:
    counts = Counter(int((moment - times[0]) // _STEP) for moment in moments)
    return [(at, counts[number] / _STEP) for number, at in enumerate(times)]


def _dots(ops: Sequence[Op], frame: Frame) -> str:
    axes = Axes(frame.span, 20.0, 210, least=0.001)
    marks = [(value, f"{value:g} s") for value in (0.001, 0.01, 0.1, 1.0, 10.0)]
    shapes = []
    for outcome in Outcome:
        dots = [
            f"M{axes.x(op.invoked):.1f} {axes.y(op.ended - op.invoked):.1f}h0"
            for op in ops
            if op.outcome is outcome and op.ended is not None
        ]
        shapes.append(f'<path class="dot {outcome.value}" d="{"".join(dots)}"/>')
    legend = [(outcome.value, outcome.value) for outcome in Outcome]
    return _svg("time to answer", axes, marks, shapes, legend, frame)


def _lines(title: str, series: Sequence[tuple[str, str, Points]], frame: Frame) -> str:
    most = max((value for _, _, points in series for _, value in points), default=0.0) or 1.0
    axes = Axes(frame.span, most, 120)
    marks = [(0.0, "0"), (most, f"{most:.0f}")]
    shapes = []
    for _, kind, points in series:
        corners = " ".join(f"{axes.x(at):.1f},{axes.y(value):.1f}" for at, value in points)
        shapes.append(f'<polyline class="{kind}" points="{corners}"/>')
    return _svg(title, axes, marks, shapes, [(name, kind) for name, kind, _ in series], frame)


def _svg(
    title: str,
    axes: Axes,
    marks: Iterable[tuple[float, str]],
    shapes: Iterable[str],
    legend: Iterable[tuple[str, str]],
    frame: Frame,
) -> str:
    begin, end = (axes.x(moment) for moment in frame.fault)
    bottom = axes.height - _BOTTOM
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {axes.height}" role="img" aria-label="{escape(title)}">',
        f'<rect class="fault" x="{begin:.1f}" y="{_TOP}" width="{max(end - begin, 1):.1f}" height="{bottom - _TOP}"/>',
        f'<text x="{_LEFT}" y="11">{escape(title)}</text>',
    ]
    ticks = "".join(f"M{axes.x(moment):.1f} {bottom}v4" for moment in frame.changes)
    parts.append(f'<path class="change" d="{ticks}"/>')
    for value, words in marks:
        y = axes.y(value)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"/>')
        parts.append(f'<text class="mark" x="{_LEFT - 5}" y="{y + 4:.1f}">{escape(words)}</text>')
    parts += _seconds(axes, frame.began)
    parts += shapes
    at = WIDTH - _RIGHT
    for name, kind in reversed(list(legend)):
        at -= 22 + 7 * len(name)
        parts.append(f'<path class="key {kind}" d="M{at} 7h10"/><text x="{at + 14}" y="11">{escape(name)}</text>')
    return "".join([*parts, "</svg>"])


def _seconds(axes: Axes, began: float) -> list[str]:
    """Return the labels of the time axis."""
    begin, end = (moment - began for moment in axes.span)
    step = next((step for step in (1, 2, 5, 10, 20, 50) if (end - begin) / step <= 20), 100)
    return [
        f'<text class="second" x="{axes.x(began + second):.1f}" y="{axes.height - 4}">{second}</text>'
        for second in range(0, int(end) + 1, step)
        if second >= begin
    ]
