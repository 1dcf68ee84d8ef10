"""
The views of the dashboard: which parts a page has, and what each part is given.

A view lives for one request, or for as long as a browser follows it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol

import attrs
from markupsafe import Markup

from eventsvc.charts import Frame, Series, draw_durations, draw_lines
from eventsvc.dashboard import words
from eventsvc.dashboard.point import PLACES, STEP, Point
from eventsvc.dashboard.rates import SILENT, per_second
from eventsvc.dashboard.source import PAGE_BYTES, Source
from eventsvc.dashboard.story import EventRow, Filter, make_row

#: Rows of a table of events, and how many entries, and bytes of them, are searched for them at once.
ROWS: Final = 50
_SEARCHED: Final = 10_000
_SEARCHED_BYTES: Final = 20_000_000
_PAGE: Final = 500
#: The width of a chart: two are side by side, or one fills a telephone.
_CHART: Final = 600
#: The spans of the charts, in seconds, by the word in the URL.
SPANS: Final = {"5m": 300.0, "15m": 900.0, "1h": 3600.0}


class View(Protocol):
    """
    A page that is kept up to date.

    @cvar parts: names of templates, each of which is a part that can be replaced.
    @cvar every: seconds from one look to the next.
    """

    parts: ClassVar[Sequence[str]]
    every: ClassVar[float]

    async def look(self) -> Mapping[str, Any]:
        """Return what the parts are given now."""


@attrs.define
class OverviewView:
    """Figures, alarms, charts, groups and processes of a stream."""

    parts: ClassVar[Sequence[str]] = ("status", "alarms", "tiles", "charts", "groups", "processes")
    every: ClassVar[float] = 1.0
    source: Source
    remedies: Mapping[str, Any]
    query: Mapping[str, str]

    async def look(self) -> Mapping[str, Any]:
        span = SPANS.get(self.query.get("span", ""), SPANS["15m"])
        return {
            **process_context(self.source),
            "remedies": self.remedies,
            "charts": draw_charts(self.source.watched.hour, span),
        }


@attrs.define
class ProcessesView:
    """Every process, with all its figures."""

    parts: ClassVar[Sequence[str]] = ("status", "processes", "figures")
    every: ClassVar[float] = 1.0
    source: Source

    async def look(self) -> Mapping[str, Any]:
        return process_context(self.source)


@attrs.define
class StatusView:
    """Only the line at the top; the rest of the page stays as it is."""

    parts: ClassVar[Sequence[str]] = ("status",)
    every: ClassVar[float] = 1.0
    source: Source

    async def look(self) -> Mapping[str, Any]:
        return {"overview": self.source.watched.overview}


@attrs.define
class EventsView:
    """
    The newest events that a filter admits, as they come.

    @ivar before: an entry id; only older ones are shown, and none that come.
    """

    parts: ClassVar[Sequence[str]] = ("status", "events")
    every: ClassVar[float] = 0.5
    source: Source
    filter: Filter
    before: str = ""
    _rows: deque[EventRow] = attrs.field(factory=lambda: deque(maxlen=ROWS), init=False)
    _newest: str = attrs.field(default="", init=False)
    _oldest: str = attrs.field(default="", init=False)
    _is_whole: bool = attrs.field(default=False, init=False)
    _began: bool = attrs.field(default=False, init=False)

    async def look(self) -> Mapping[str, Any]:
        if not self._began:
            await self._search()
        elif not self.before:
            await self._follow()
        return {
            "overview": self.source.watched.overview,
            "rows": self._rows,
            "filter": self.filter,
            "before": self.before,
            "oldest": self._oldest,
            "is_whole": self._is_whole,
            "searched_to": words.clock(words.entry_time(self._oldest)) if self._oldest else "",
        }

    async def _search(self) -> None:
        """Search for rows, the newest first, up to a bound."""
        before, left, left_bytes = self.before, _SEARCHED, _SEARCHED_BYTES
        self._rows.clear()
        self._is_whole = False
        while left > 0 and left_bytes > 0 and len(self._rows) < ROWS:
            page = await self.source.events.read_newest(before, min(_PAGE, left))
            if not page:
                self._is_whole = True
                break
            self._newest = self._newest or page[0].id
            left, left_bytes = left - len(page), left_bytes - sum(entry.size for entry in page)
            for entry in page:
                before = entry.id
                if self.filter.admits(entry):
                    self._rows.append(make_row(entry))
                    if len(self._rows) == ROWS:
                        break
        self._oldest, self._began = before, True

    async def _follow(self) -> None:
        """Add what came since the last look; if that is much, the newest of it."""
        page = await self.source.events.read_after(self._newest or "0-0", 2 * _PAGE)
        if len(page) == 2 * _PAGE or sum(entry.size for entry in page) >= PAGE_BYTES:
            self._newest = ""
            await self._search()
            return
        for entry in page:
            self._newest = entry.id
            if self.filter.admits(entry):
                self._rows.appendleft(make_row(entry))


def process_context(source: Source) -> Mapping[str, Any]:
    """Return what the parts on processes and groups are given."""
    overview = source.watched.overview
    rows = []
    for seen in overview.processes:
        beat = seen.heartbeat
        before = overview.earlier.get(beat.id)
        rows.append(
            {
                "beat": beat,
                "age": seen.age,
                "state": "silent" if seen.age >= SILENT else "unwell" if beat.problem else "ready",
                "rate": per_second("accepted" if "accepted" in beat.figures else "handled", before, beat),
                "cpu": per_second("cpu_seconds", before, beat),
            }
        )
    return {"overview": overview, "processes": rows, "hour": source.watched.hour}


def draw_charts(hour: Sequence[Point], span: float) -> Sequence[Markup]:
    """Return the charts of the last seconds, as SVG."""
    last = hour[-1].number if hour else 0
    points = [point for point in hour if point.number > last - min(span / STEP, PLACES)]
    frame = Frame((STEP * last - span, STEP * last), began=STEP * last, ago=True, width=_CHART)

    def series(name: str, kind: str, field: str) -> Series:
        known = [(STEP * each.number, value) for each in points if (value := getattr(each, field)) is not None]
        return Series(name, kind, known, gap=3 * STEP)

    def percentiles(title: str, field: str) -> str:
        lines = [series("p50", "ok", f"{field}_p50"), series("p99", "refused dashed", f"{field}_p99")]
        return draw_durations(title, lines, frame)

    flow = [
        series("accepted", "ok", "accepted"),
        series("handled", "out dashed", "handled"),
        series("refused", "unknown", "refused"),
    ]
    waiting = [series("pending", "out", "pending"), series("dead letters", "unknown dashed", "dead")]
    charts = [
        draw_lines("events per second", flow, frame),
        draw_lines("oldest unread event, in seconds", [series("oldest unread", "unknown", "unread_age")], frame),
        percentiles("time to store a batch", "append"),
        percentiles("age of events when handled", "age"),
        draw_lines("entries", waiting, frame),
    ]
    return list(map(Markup, charts))
