"""
Charts over time as SVG.  All charts of a page share their width and their time axis.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

import attrs

WIDTH: Final = 900
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 8, 16, 22
#: Seconds between two labels of the time axis.
_STEPS: Final = (1, 2, 5, 10, 20, 50, 100, 300, 600, 1_800, 3_600)
#: Space between two charts.
_GAP: Final = 10

#: The colours and the text of charts, for a light and a dark page.
STYLE: Final = """\
:root { color-scheme: light dark; --ink: #1b1f24; --quiet: #6a737d; --paper: #fff; --rule: #e1e4e8; --shade: #f3d9b1;
  --ok: #1a8f4c; --refused: #c77700; --unknown: #cf222e; --out: #1f6feb; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --quiet: #9aa4ae; --paper: #16191d; --rule: #2c3238; --shade: #4a3a1c;
    --ok: #4cc38a; --refused: #f0a83c; --unknown: #ff6b6b; --out: #6cb0ff; } }
svg { display: block; width: 100%; margin: .4rem 0; }
svg text { font: 11px system-ui, sans-serif; fill: var(--quiet); }
svg .mark { text-anchor: end; } svg .second { text-anchor: middle; }
svg .fault { fill: var(--shade); opacity: .55; }
svg .change { stroke: var(--ink); }
svg .grid { stroke: var(--rule); }
svg path.dot { stroke-width: 3; stroke-linecap: round; opacity: .7; }
svg path.key { stroke-width: 3; stroke-linecap: round; }
svg polyline { fill: none; stroke-width: 1.5; }
svg .ok { stroke: var(--ok); } svg .refused { stroke: var(--refused); } svg .unknown { stroke: var(--unknown); }
svg .out { stroke: var(--out); } svg .line { stroke: var(--ink); }
svg .dashed { stroke-dasharray: 5 3; }
"""

#: Times in seconds, and values.
Points = Sequence[tuple[float, float]]


@attrs.frozen
class Series:
    """
    A line or a cloud of dots.

    @ivar kind: the classes of the stylesheet, such as C{ok}.
    @ivar gap: seconds without a point after which a line is interrupted.
    """

    name: str
    kind: str
    points: Points
    gap: float = math.inf


@attrs.frozen
class Frame:
    """
    What all charts of a page share; times are in seconds.

    @ivar began: the time at which the axis has 0.
    @ivar ago: whether the axis has minutes before C{began}, instead of seconds after it.
    @ivar fault: the times that are shaded; C{None} for none.
    @ivar changes: times that are marked on the axis.
    @ivar width: that of the charts; text keeps its size, so it is larger on the screen if they are narrow.
    """

    span: tuple[float, float]
    began: float = 0.0
    fault: tuple[float, float] | None = None
    changes: Sequence[float] = ()
    ago: bool = False
    width: int = WIDTH


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
    width: int = WIDTH

    def x(self, moment: float) -> float:
        begin, end = self.span
        return _LEFT + (self.width - _LEFT - _RIGHT) * (moment - begin) / max(end - begin, 1e-9)

    def y(self, value: float) -> float:
        if self.least is None:
            share = value / self.most
        else:
            value = min(max(value, self.least), self.most)
            share = math.log(value / self.least) / math.log(self.most / self.least)
        return self.height - _BOTTOM - (self.height - _TOP - _BOTTOM) * share


def draw_lines(title: str, series: Sequence[Series], frame: Frame) -> str:
    """Draw lines from 0 to the largest value, which is at least 1, so that trifles look like trifles."""
    most = max([1.0, *(value for each in series for _, value in each.points)])
    axes = Axes(frame.span, most, 120, width=frame.width)
    return _draw(
        title, axes, [(0.0, "0"), (most, _number(most))], [_line(each, axes) for each in series], series, frame
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2g}"


def draw_durations(title: str, series: Sequence[Series], frame: Frame, dots: bool = False) -> str:
    """
    Draw durations in seconds on a logarithmic scale.

    @param dots: whether each point is a dot of its own, and not a corner of a line.
    """
    values = [value for each in series for _, value in each.points]
    most = max(20.0 if dots else _round_up(max(values, default=1.0)), 0.002)
    least = 0.001 if dots else min(0.001, _round_down(min(values, default=0.001)))
    axes = Axes(frame.span, most, 210, least, frame.width)
    marks = [(value, _name(value)) for value in _DECADES if least <= value <= most]
    draw = _dots if dots else _line
    return _draw(title, axes, marks, [draw(each, axes) for each in series], series, frame)


_DECADES: Final = (1e-6, 1e-5, 1e-4, 0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)


def _round_up(value: float) -> float:
    return next((decade for decade in _DECADES if decade >= value), _DECADES[-1])


def _round_down(value: float) -> float:
    return next((decade for decade in reversed(_DECADES) if decade <= value), _DECADES[0])


def _name(seconds: float) -> str:
    return f"{seconds:g} s" if seconds >= 0.001 else f"{seconds * 1e3:g} ms"


def _dots(series: Series, axes: Axes) -> str:
    dots = "".join(f"M{axes.x(at):.1f} {axes.y(value):.1f}h0" for at, value in series.points)
    return f'<path class="dot {series.kind}" d="{dots}"/>'


def _line(series: Series, axes: Axes) -> str:
    lines: list[list[str]] = [[]]
    last = -math.inf
    for at, value in series.points:
        if at - last > series.gap:
            lines.append([])
        lines[-1].append(f"{axes.x(at):.1f},{axes.y(value):.1f}")
        last = at
    return "".join(f'<polyline class="{series.kind}" points="{" ".join(line)}"/>' for line in lines if line)


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


def _draw(
    title: str,
    axes: Axes,
    marks: Iterable[tuple[float, str]],
    shapes: Iterable[str],
    legend: Sequence[Series],
    frame: Frame,
) -> str:
    bottom = axes.height - _BOTTOM
    parts = [f'<svg viewBox="0 0 {axes.width} {axes.height}" role="img" aria-label="{escape(title)}">']
    if frame.fault is not None:
        begin, end = (axes.x(moment) for moment in frame.fault)
        wide = f'width="{max(end - begin, 1):.1f}"'
        parts.append(f'<rect class="fault" x="{begin:.1f}" y="{_TOP}" {wide} height="{bottom - _TOP}"/>')
    parts.append(f'<text x="{_LEFT}" y="11">{escape(title)}</text>')
    ticks = "".join(f"M{axes.x(moment):.1f} {bottom}v4" for moment in frame.changes)
    parts.append(f'<path class="change" d="{ticks}"/>')
    for value, words in marks:
        y = axes.y(value)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{axes.width - _RIGHT}"/>')
        parts.append(f'<text class="mark" x="{_LEFT - 5}" y="{y + 4:.1f}">{escape(words)}</text>')
    parts += _minutes_ago(axes, frame.began) if frame.ago else _seconds(axes, frame.began)
    parts += shapes
    at = axes.width - _RIGHT
    for series in reversed(legend):
        at -= 22 + 7 * len(series.name)
        parts.append(
            f'<path class="key {series.kind}" d="M{at} 7h10"/><text x="{at + 14}" y="11">{escape(series.name)}</text>'
        )
    return "".join([*parts, "</svg>"])


def _seconds(axes: Axes, began: float) -> list[str]:
    """Return the labels of the time axis."""
    begin, end = (moment - began for moment in axes.span)
    step = next(
        (step for step in _STEPS if (end - begin) / step <= 20),
        int((end - begin) / 20) + 1,
    )
    return [
        f'<text class="second" x="{axes.x(began + second):.1f}" y="{axes.height - 4}">{second}</text>'
        for second in range(0, int(end) + 1, step)
        if second >= begin
    ]


def _minutes_ago(axes: Axes, began: float) -> list[str]:
    """Return the labels of a time axis that ends now."""
    minutes = int((began - axes.span[0]) / 60)
    step = next((step for step in (1, 5, 10) if minutes / step <= 10), 30)
    return [
        f'<text class="second" x="{axes.x(began - 60 * ago):.1f}" y="{axes.height - 4}">-{ago} min</text>'
        for ago in range(step, minutes + 1, step)
    ]
