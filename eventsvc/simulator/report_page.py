"""
Runs side by side, as one HTML page that needs nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Final

from eventsvc.charts import STYLE, Frame, Series, draw_durations, draw_lines
from eventsvc.simulator.latency import Latencies
from eventsvc.simulator.saved_run import Run, Verdict
from eventsvc.simulator.summary import PERCENTILES, describe_followed
from eventsvc.simulator.thresholds import show_milliseconds

#: The classes of the lines of each run, and the names of the runs.
_KINDS: Final = ("out", "unknown", "ok", "refused")
#: The most runs on one page.
MOST_RUNS: Final = len(_KINDS)
_STYLE: Final = """\
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th { font-weight: 600; color: var(--quiet); text-align: right; } th:first-child { text-align: left; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid var(--rule); }
td { text-align: right; white-space: nowrap; }
.held { color: var(--ok); } .broke { color: var(--unknown); font-weight: 600; }
p, li { max-width: 60rem; }
"""


def make_page(runs: Sequence[tuple[str, Run]]) -> str:
    """
    Return the page.

    @param runs: each with its name; at least one, at most L{MOST_RUNS}.
    """
    names, only = [name for name, _ in runs], [run for _, run in runs]
    title = f"eventsvc: load, {' and '.join(names)}"
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f'<title>{escape(title)}</title><meta name="viewport" content="width=device-width">',
        f"<style>{STYLE}{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        "<p>Latency counts from the time at which a request was to be made, so it includes the wait of requests that "
        "were made late. Refused requests have none. A percentile is left out where there are too few requests for "
        "it.</p>",
        _table(names, only),
        "<h2>Over time, in seconds</h2>",
        *_charts(runs),
        "<h2>Distribution</h2>",
        "<p>Each row shows the latency that this share of the requests did not exceed.</p>",
        _distribution(names, only),
        *[_problems(name, run) for name, run in runs if run.problems],
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def check_histograms(run: Run) -> None:
    """
    Check that all distributions of a run can be read.

    @raise ValueError: one cannot.
    """
    after = run.followed.handled_after if run.followed else ""
    for text in (run.latency, run.service, after, *[each.latency for each in run.intervals]):
        Latencies.decode(text)


def _table(names: Sequence[str], runs: Sequence[Run]) -> str:
    settings = dict.fromkeys(name for run in runs for name in run.settings)
    counts = ("sent", "ok", "refused", "unknown", "dropped", "requests")
    latencies = [Latencies.decode(run.latency) for run in runs]
    services = [Latencies.decode(run.service) for run in runs]
    rows = [
        _row("", names, head=True),
        _row("began, UTC", [f"{run.began[:19]}Z" for run in runs]),
        _row("target", [run.target for run in runs]),
        _row("version", [run.version for run in runs]),
        *[_row(name, [_setting(run, name) for run in runs]) for name in settings],
        _row("seconds", [f"{run.seconds:,.1f}" for run in runs]),
        _compare("offered, events/s", [run.offered for run in runs], _rate),
        _compare("stored, events/s", [run.achieved for run in runs], _rate),
        *[_row(name, [f"{getattr(run, name):,}" for run in runs]) for name in counts],
        *[_compare(f"latency p{each:g}", [found.percentile(each) for found in latencies]) for each in PERCENTILES],
        _compare("latency max", [found.most for found in latencies]),
        _compare("service p50", [found.percentile(50) for found in services]),
        _compare("service p99", [found.percentile(99) for found in services]),
    ]
    if any(run.followed for run in runs):
        after = [Latencies.decode(run.followed.handled_after if run.followed else "") for run in runs]
        rows += [
            _row("group", [describe_followed(run.followed) if run.followed else "-" for run in runs]),
            _compare("handled p50", [found.percentile(50) for found in after]),
            _compare("handled p99", [found.percentile(99) for found in after]),
        ]
    if any(run.thresholds for run in runs):
        cells = ["<br>".join(map(_show_verdict, run.thresholds)) or "-" for run in runs]
        rows.append(_row("thresholds", cells, markup=True))
    return _wide(rows)


def _setting(run: Run, name: str) -> str:
    value = run.settings.get(name)
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else f"{value}"


def _rate(value: float) -> str:
    return f"{value:,.1f}"


def _show_verdict(verdict: Verdict) -> str:
    """Return a verdict as markup."""
    kind, words = ("held", "met") if verdict.held else ("broke", "NOT met")
    return f'<span class="{kind}">{words}: {escape(f"{verdict.threshold} ({verdict.shown})")}</span>'


def _compare(name: str, values: Sequence[float | None], show: Callable[[float], str] = show_milliseconds) -> str:
    """Return a row in which each value but the first says how it differs from the first."""
    cells = ["-" if value is None else show(value) for value in values]
    for number, value in enumerate(values):
        if number and value is not None and values[0]:
            cells[number] += f" ({(value / values[0] - 1) * 100:+.0f}%)"
    return _row(name, cells)


def _wide(rows: Sequence[str]) -> str:
    return f'<div class="wide"><table>{"".join(rows)}</table></div>'


def _row(name: str, cells: Sequence[str], head: bool = False, markup: bool = False) -> str:
    tag = "th" if head else "td"
    inner = "".join(f"<{tag}>{cell if markup else escape(cell)}</{tag}>" for cell in cells)
    return f"<tr><th>{escape(name)}</th>{inner}</tr>"


def _charts(runs: Sequence[tuple[str, Run]]) -> Sequence[str]:
    end = max(len(run.intervals) * run.step for _, run in runs)
    frame = Frame((0.0, end))
    rates, latencies = [], []
    for (name, run), kind in zip(runs, _KINDS):
        whole = [each for number, each in enumerate(run.intervals) if run.seconds >= (number + 0.5) * run.step]
        at = [(number + 0.5) * run.step for number in range(len(whole))]
        rates.append(Series(f"{name} stored", kind, list(zip(at, _per_second(run, [each.ok for each in whole])))))
        failed = _per_second(run, [each.refused + each.unknown + each.dropped for each in whole])
        if any(failed):
            rates.append(Series(f"{name} not stored", f"{kind} dashed", list(zip(at, failed))))
        for percent, least, style in ((50.0, 2, f"{kind} dashed"), (99.0, 100, kind)):
            points = [
                (moment, value)
                for moment, found in _in_groups(run, least)
                if (value := found.percentile(percent)) is not None
            ]
            latencies.append(Series(f"{name} p{percent:g}", style, points))
    return [draw_lines("events per second", rates, frame), draw_durations("latency", latencies, frame)]


def _per_second(run: Run, counts: Sequence[int]) -> Sequence[float]:
    """Return counts of intervals as rates; the last interval ended with the run."""
    lengths = [min(run.step, run.seconds - number * run.step) for number in range(len(counts))]
    return [count / length for count, length in zip(counts, lengths)]


def _in_groups(run: Run, least: int) -> Iterator[tuple[float, Latencies]]:
    """Yield the latencies of intervals with their middle, so many together that they have at least C{least}."""
    first, found = 0, Latencies()
    for end, each in enumerate(run.intervals, 1):
        found.merge(Latencies.decode(each.latency))
        if found.count >= least:
            yield (first + end) / 2 * run.step, found
            first, found = end, Latencies()


def _distribution(names: Sequence[str], runs: Sequence[Run]) -> str:
    latencies = [Latencies.decode(run.latency) for run in runs]
    rows = [_row("", names, head=True)]
    for percent in (10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95, 99.99, 99.999):
        values = [found.percentile(percent) for found in latencies]
        if any(value is not None for value in values):
            rows.append(_row(f"{percent:g}%", [show_milliseconds(value) for value in values]))
    return _wide(rows)


def _problems(name: str, run: Run) -> str:
    items = "".join(f"<li>{count:,} x {escape(why)}</li>" for why, count in run.problems.items())
    return f"<h2>Not stored in {escape(name)}</h2><ul>{items}</ul>"
